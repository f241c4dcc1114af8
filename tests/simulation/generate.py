"""From a seed to a plan."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal, TypeAlias, TypeVar

from tests.simulation.enrich import enriched, happens
from tests.simulation.plan import Answer, Deed, Options, Plan
from tests.simulation.words import AnswerKind, DeedKind, End, Token

__all__ = ["generate"]

_UNWATCHED_SHARE, _UNWATCHED = 5, 4
"""One seed in so many is played without anything that looks at single events."""

_TRIO_SHARE = 10
"""One seed in so many runs on trio, which is slower by half."""

_KINDS: dict[AnswerKind, int] = {
    "stream": 62,
    "status": 16,
    "refuse": 8,
    "connect-timeout": 4,
    "no-headers": 4,
    "slow-headers": 6,
}
_STATUSES: dict[int, int] = {503: 12, 500: 2, 502: 2, 429: 8, 409: 4, 404: 4, 408: 2, 410: 2, 204: 1}
_ENDS: dict[End, int] = {"drop": 5, "cut": 2, "eof": 4, "stall": 3}
_TOKENS: dict[Token, int] = {
    "event": 40,
    "other": 5,
    "heartbeat": 4,
    "echo": 3,
    "beat": 3,
    "comment": 4,
    "twice": 4,
    "skip": 3,
    "vanish": 3,
    "retry": 2,
    "pause": 12,
}
_PAUSES = (0.25, 0.25, 1.0, 2.5, 4.0, 9.0, 27.0, 34.0)
_RETRIES = (0, 50, 800, 2500, 9000, 90_000)
_DEEDS: dict[DeedKind, int] = {"slow": 4, "cancel": 4, "cancel-task": 3, "raise": 2, "crash": 2}

Numbers: TypeAlias = tuple[float, float, float, float]
_BACKOFFS: tuple[Numbers, ...] = (
    (1.0, 2.0, 5.0, 0.1),
    (1.0, 2.0, 5.0, 0.1),
    (0.5, 3.0, 8.0, 0.5),
    (2.0, 1.0, 2.0, 1.0),
    (0.1, 2.0, 1.0, 0.0),
)
_MODES: dict[Literal["always", "replay", "off"], int] = {"always": 8, "replay": 1, "off": 1}
_RUN_SECONDS = 150.0

_T = TypeVar("_T")


def generate(seed: int) -> Plan:
    """
    Return the plan of *seed*: five to twelve answers, ten to forty events, a consumer that misbehaves.

    That of an odd seed has more in it, see `enrich`; one in five has nothing that looks at single events.
    """
    random = Random(seed)
    options = _options(random)
    answers = tuple(_answer(random, options) for _ in range(random.randint(5, 12)))
    plan = Plan(
        seed=seed,
        backend="trio" if seed % _TRIO_SHARE == 0 else "asyncio",
        options=options,
        answers=answers,
        deeds=_deeds(random),
    )
    # Every other seed; the rest of them, and whatever is drawn above, mean what they meant before there was this.
    plan = enriched(plan, random) if seed % 2 else plan
    return _unwatched(plan) if seed % _UNWATCHED_SHARE == _UNWATCHED else plan


def _unwatched(plan: Plan) -> Plan:
    """Take away all that looks at single events, and make reads larger: the plan is played in batches."""
    rising = plan.seed // _UNWATCHED_SHARE % 4 < 2
    options = replace(plan.options, unwatched=True, rising=rising, sequence=False, checkpoint=False, raises=0)
    return replace(
        plan,
        options=replace(options, filtered=False),
        answers=tuple(replace(each, chunk=each.chunk and 60 * each.chunk) for each in plan.answers),
    )


def _options(random: Random) -> Options:
    return Options(
        sequence=happens(random, 0.6),
        dedup=_pick(random, _MODES),
        dedup_window=random.choice((1000, 1000, 12)),
        checkpoint=happens(random, 0.7),
        ack=random.choice(("auto", "auto", "manual")),
        stall_timeout=random.choice((30.0, 30.0, 10.0)),
        event_timeout=random.choice((None, None, None, 20.0, 45.0)),
        stall_on=random.choice(("bytes", "bytes", "frames", "events")),
        on_eof="complete" if happens(random, 0.06) else "reconnect",
        max_retries=random.choice((5, 5, 3, 2, 1, 0, None)),
        max_server_delay=random.choice((60.0, 60.0, 7.0)),
        backoff=random.choice(_BACKOFFS),
        compression=happens(random, 0.2),
        filtered=happens(random, 0.3),
        again=random.choice((0, 2, 5)),
    )


def _answer(random: Random, options: Options) -> Answer:
    kind = _pick(random, _KINDS)
    away = random.choice((0, 0, 0, 1, 2, 4))
    if kind == "status":
        return Answer(
            kind=kind,
            away=away,
            status=_pick(random, _STATUSES),
            retry_after=random.choice((None, None, 0, 1, 3, 12, 100)),
            as_date=happens(random, 0.3),
        )
    if kind not in ("stream", "slow-headers"):
        return Answer(kind=kind, away=away, restart=happens(random, 0.04))
    return Answer(
        kind=kind,
        restart=happens(random, 0.07),
        away=away,
        expire=random.randint(1, 3) if happens(random, 0.08) else 0,
        announce=happens(random, 0.4),
        after=random.choice((0.2, 2.0, 8.0)) if kind == "slow-headers" else 0.0,
        overlap=random.randint(1, 4) if happens(random, 0.25) else 0,
        page=random.randint(1, 3) if happens(random, 0.08) else None,
        omit=random.randint(1, 2) if happens(random, 0.05) else 0,
        live=_live(random),
        keep=random.random() if happens(random, 0.6) else 1.0,
        end=_pick(random, _ENDS),
        chunk=random.randint(2, 60) if happens(random, 0.5) else None,
        crlf=happens(random, 0.15),
        gzip=happens(random, 0.5 if options.compression else 0.03),
        close_takes=random.choice((0.5, 1.5, 30.0)) if happens(random, 0.05) else 0.0,
    )


def _live(random: Random) -> tuple[Token, ...]:
    return tuple(_token(random) for _ in range(random.choice((0, 1, 2, 4, 6, 9))))


def _token(random: Random) -> Token:
    word = _pick(random, _TOKENS)
    if word == "pause":
        return f"pause {random.choice(_PAUSES)}"
    return f"retry {random.choice(_RETRIES)}" if word == "retry" else word


def _deeds(random: Random) -> tuple[Deed, ...]:
    events = sorted(random.sample(range(1, 30), random.choice((0, 1, 2, 3, 4))))
    deeds = [_deed(random, event) for event in events]
    deeds += [
        Deed(kind="restart", seconds=round(random.uniform(0, _RUN_SECONDS), 2))
        for _ in range(random.choice((0, 0, 1, 2)))
    ]
    if happens(random, 0.1):
        deeds.append(Deed(kind="aclose", seconds=round(random.uniform(0, _RUN_SECONDS), 2)))
    return tuple(deeds)


def _deed(random: Random, event: int) -> Deed:
    kind = _pick(random, _DEEDS)
    seconds = (
        random.choice((2.0, 40.0, 200.0))
        if kind == "slow"
        else random.choice((0.0, 0.0, 0.1, 1.5, 6.0, 33.0))
    )
    return Deed(kind=kind, event=event, seconds=0.0 if kind in ("raise", "crash") else seconds)


def _pick(random: Random, weights: dict[_T, int]) -> _T:
    return random.choices(tuple(weights), tuple(weights.values()))[0]
