"""What a plan may have besides: redirects, credentials, POST, hooks that decide or fail, events without an id."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal

from tests.simulation.plan import Answer, Deed, Options, Plan
from tests.simulation.words import Redirect, Rule, Token

__all__ = ["enriched", "happens"]

_RULES: tuple[Rule, ...] = (
    *("403 retry", "404 retry", "401 retry", "410 retry"),
    *("503 raise", "429 raise", "reset raise", "connect raise", "stall raise"),
    *("503 stop", "404 stop", "eof stop", "event_timeout stop"),
)
_CREDENTIALS: tuple[Literal["none", "fixed", "fresh"], ...] = ("none", "fixed", "fresh", "fresh")
_STATUSES = (301, 302, 303, 307, 307, 308)
_TARGETS = ("", "", " self", " elsewhere")
_MOST = 10
"""Redirects that are followed."""
_FEW = 3
_HINTS = (0, 50, 800, 2500, 9000, 90_000)
_LAST_EVENT = 30


def enriched(plan: Plan, random: Random) -> Plan:
    """
    Return *plan* with more in it.

    Args:
        plan: What to begin with.
        random: Where to draw from.
    """
    return replace(
        plan,
        options=_options(plan.options, random),
        answers=tuple(_answer(answer, random) for answer in plan.answers),
        deeds=(*plan.deeds, *_deeds(plan, random)),
        backend="trio" if happens(random, 0.1) else plan.backend,
    )


def happens(random: Random, chance: float) -> bool:
    """Draw whether something happens whose chance is so much, from 0 to 1."""
    return random.random() < chance


def _options(options: Options, random: Random) -> Options:
    rules = random.sample(_RULES, random.choice((1, 2, 3))) if happens(random, 0.3) else ()
    return replace(
        options,
        method="POST" if happens(random, 0.2) else "GET",
        body="once" if happens(random, 0.2) else "again",
        credentials=random.choice(_CREDENTIALS),
        classify=tuple(rules),
        raises=random.choice((1, 2, 3)) if happens(random, 0.4) else 0,
        activity=happens(random, 0.4),
    )


def _answer(answer: Answer, random: Random) -> Answer:
    if happens(random, 0.15):
        answer = replace(answer, redirects=_redirects(random))
    if answer.kind == "status" and happens(random, 0.35):
        return replace(answer, status=random.choice((401, 401, 401, 403)))
    if answer.kind == "stream" and happens(random, 0.04):
        return Answer(kind="status", redirects=answer.redirects, status=401)
    return replace(answer, live=_live(answer.live, random))


def _redirects(random: Random) -> tuple[Redirect, ...]:
    how_many = random.choice((1, 1, 2, 3, 5, _MOST, _MOST + 1))
    if how_many > _FEW and happens(random, 0.7):
        return (f"{random.choice(_STATUSES)} self",) * how_many
    return tuple(f"{random.choice(_STATUSES)}{random.choice(_TARGETS)}" for _ in range(how_many))


def _live(live: tuple[Token, ...], random: Random) -> tuple[Token, ...]:
    tokens = list(live)
    for _ in range(random.choice((0, 0, 1, 2, 4))):
        tokens.insert(random.randint(0, len(tokens)), "plain")
    if happens(random, 0.15):
        tokens.insert(random.randint(0, len(tokens)), f"hint {random.choice(_HINTS)}")
    return tuple(tokens)


def _deeds(plan: Plan, random: Random) -> tuple[Deed, ...]:
    event = random.randint(1, _LAST_EVENT)
    taken = any(deed.event == event for deed in plan.deeds)
    return () if taken or happens(random, 0.8) else (Deed(kind="restart", event=event),)
