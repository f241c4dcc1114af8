"""
Random plans, and nothing lost: 300 fresh ones in each run, 1,000 in CI, 10,000 as a proof.

The header of a run prints its seed; with `SIMULATION_FRESH=123` the same plans are played again.  A plan that
fails is made small and printed: paste it into `KNOWN`, where it stays.
"""

import os
import re
from collections import Counter
from dataclasses import fields, replace

import pytest
from hypothesis import event

from resilient_sse import Gap, StateChange
from resilient_sse._core.session import TRANSITIONS
from tests.conftest import FRESH
from tests.simulation.invariants import check
from tests.simulation.plan import (
    Answer,
    Deed,
    Dialect,
    Do,
    Does,
    End,
    Ids,
    Kind,
    Live,
    Options,
    Plan,
    for_plans,
)
from tests.simulation.record import Did, Note, Outcome
from tests.simulation.run import play

EVENT, SKIP, VANISH, BEAT, ECHO, PLAIN = map(
    Live, (Does.EVENT, Does.SKIP, Does.VANISH, Does.BEAT, Does.ECHO, Does.PLAIN)
)
LONG = int(os.environ.get("SIMULATION_EXAMPLES", "10000"))

FIELDS = [each for part in (Options, Answer) for each in fields(part)]
EVERYTHING = {str(word) for words in (Ids, Dialect, Kind, End, Does, Do, Did, Outcome) for word in words}
EVERYTHING -= {str(each.default) for each in FIELDS} | {str(Outcome.STUCK)}  # what plans do not say
EVERYTHING |= {each.name for each in FIELDS} | {f"{old.value} -> {new.value}" for old, new in TRANSITIONS}
EVERYTHING |= {"hole", "reset", "unresumable"}
"""The words of plans, and what may come of them."""


def reached(record):
    """Return which of it a run had to do with."""
    facts = [seen.fact for seen in record.seen]
    found = {f"{fact.old.value} -> {fact.new.value}" for fact in facts if isinstance(fact, StateChange)}
    found |= {fact.kind for fact in facts if isinstance(fact, Gap)} | {str(record.outcome)}
    found |= {str(fact.did) for fact in facts if isinstance(fact, Note)}
    return (found | set(re.findall(r"[\w.]+", repr(record.plan)))) & EVERYTHING


def story(record):
    """Tell a run line by line: the requests, the facts, and what the consumer did."""
    lines = [
        (sent.at, f"request {n}: {sent.cursor} {sent.answer}")
        for n, sent in enumerate(record.log.requests, 1)
    ]
    lines += [(seen.at, f"    {seen.fact}") for seen in record.seen]
    return "\n".join(f"{at:10.3f}  {text}" for at, text in sorted(lines, key=lambda line: line[0]))


def play_many(examples, first):
    """Play so many plans from a seed; return how many have reached what."""
    counts = Counter()

    def play_one(plan):
        record = play(plan)
        broken = check(record)
        for name in reached(record):
            counts[name] += 1
            event(name)
        assert not broken, "\n".join((*map(str, broken), story(record)))

    for_plans(play_one, examples=examples, first=first)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "part, examples",
    [(0, 300), *(pytest.param(part, 175, marks=[pytest.mark.proof, pytest.mark.ci]) for part in range(1, 5))],
)
def test_fresh_plans(part, examples, pytestconfig):
    """Nothing is lost in silence, nothing comes twice, every fault is told (R8, R64-R66), every delay fits."""
    counts = play_many(examples, pytestconfig.stash[FRESH] + part)

    assert len(EVERYTHING & counts.keys()) > 0.8 * len(EVERYTHING)


@pytest.mark.proof
@pytest.mark.timeout(0 if LONG > 10_000 else 900)
@pytest.mark.parametrize("half", [0, 1])
def test_many_plans(half, pytestconfig):
    """10,000 plans in two halves: every fault, use and transition occurs, and no promise is broken."""
    counts = play_many(LONG // 2, pytestconfig.stash[FRESH] + 1000 + half)

    print("\n".join(f"{counts[name]:>8}  {name}" for name in sorted(EVERYTHING)))  # noqa: T201 - the table is the result
    assert LONG < 10_000 or counts.keys() >= EVERYTHING  # fewer need not reach everything


BRING = Answer(live=(EVENT,))


def plan(*answers, deeds=(), **options):
    """Make a plan."""
    return Plan(options=Options(**options), answers=answers, deeds=deeds)


KNOWN = {
    "the event that ends the stream has waited behind a hole": plan(
        Answer(live=(EVENT,) * 6),
        Answer(),
        Answer(restart=True, announce=True, live=(EVENT, BEAT), keep=0.0),
        deeds=(Deed(Do.RAISE, event=6),),
    ),
    "a hole shows in a read of events whose positions a function gives": plan(
        Answer(live=(EVENT, VANISH)),
        *[Answer()] * 5,
        Answer(live=(EVENT, SKIP, EVENT), chunk=60),
        dialect=Dialect.JSON,
    ),
    "a heartbeat bears the number of an event that is held back": plan(
        Answer(live=(EVENT, SKIP, EVENT, ECHO), chunk=60), dialect=Dialect.JSON
    ),
    "a heartbeat bears a number that is held back, behind an attempt in vain": plan(
        Answer(away=1, live=(SKIP, EVENT, ECHO), chunk=60), dialect=Dialect.JSON
    ),
    "a heartbeat bears a number that is held back, of a log that has expired": plan(
        BRING,
        Answer(away=1, expire=3, announce=True),
        Answer(live=(EVENT, ECHO), chunk=60),
        dialect=Dialect.JSON,
    ),
    "a heartbeat puts an id in force again, behind what came late": plan(
        Answer(), Answer(live=(EVENT, SKIP, EVENT)), Answer(overlap=2, live=(ECHO,)), ids=Ids.OPAQUE
    ),
    "a heartbeat goes before a new numbering": plan(
        Answer(away=4), Answer(restart=True, live=(BEAT, SKIP, EVENT)), Answer(overlap=4, keep=0.95)
    ),
    "an opaque stream is replayed late": plan(
        BRING, Answer(live=(SKIP, EVENT)), Answer(overlap=2, live=(EVENT,)), ids=Ids.OPAQUE
    ),
    "a numbered stream is replayed late": plan(
        BRING, Answer(live=(SKIP, EVENT)), Answer(overlap=2, live=(EVENT,))
    ),
    "without dedup what was lost comes late": plan(
        Answer(live=(EVENT, SKIP, EVENT)), Answer(overlap=2), dedup="off", max_retries=0
    ),
    "a repeat behind a numbered heartbeat": plan(Answer(live=(EVENT, BEAT)), Answer(overlap=2), Answer()),
    "a new numbering shows behind a number that was lost": plan(
        Answer(live=(EVENT, VANISH, EVENT)),
        BRING,
        Answer(restart=True, live=(BEAT, EVENT, EVENT)),
        Answer(overlap=2, keep=0.5),
        Answer(),
    ),
    "a numbering begins below a stored position": plan(
        Answer(live=(EVENT,) * 5), Answer(restart=True, live=(EVENT, EVENT)), deeds=(Deed(Do.CRASH, event=5),)
    ),
    "numbers that were lost before a restart": plan(  # late or anew: nobody knows their contents
        Answer(live=(EVENT, EVENT, EVENT, BEAT), keep=0.25),
        Answer(expire=2),
        Answer(),
        Answer(restart=True, live=(BEAT, EVENT, EVENT)),
    ),
    "an answer comes as its wait is cancelled": plan(
        Answer(after=0.2), Answer(live=(Live(Does.TWICE),)), Answer(), dedup="replay", poll=0.2
    ),
    "everything at once": plan(
        Answer(redirects=(307, 308), live=(EVENT, PLAIN, Live(Does.RETRY, 300), PLAIN)),
        Answer(redirects=(303, 302), live=(SKIP, EVENT, PLAIN), end=End.EOF),
        deeds=(Deed(Do.RESTART, event=3),),
        post=True,
        activity=True,
        poll=3.0,
    ),
    "a hint arrives as restart() gives up": plan(
        Answer(live=(EVENT, Live(Does.RETRY, 9000), EVENT), end=End.STALL),
        Answer(),
        deeds=(Deed(Do.RESTART, event=1),),
    ),
    "restart() among redirects": plan(
        Answer(redirects=(302,) * 3, live=(EVENT,)),
        Answer(),
        deeds=(Deed(Do.RESTART, seconds=0.0), Deed(Do.RESTART, seconds=1.0)),
    ),
    "an event arrives while a silent connection is being closed": plan(
        Answer(live=(Live(Does.PAUSE, 31), EVENT), close_takes=1.5),
        Answer(restart=True),
        ids=Ids.RISING,
        watched=False,
        checkpoint=False,
    ),
    "a gap is told as its read is cancelled": plan(
        Answer(live=(EVENT, VANISH, EVENT), chunk=500),
        deeds=(Deed(Do.CANCEL, event=1),),
        max_retries=0,
        activity=True,
    ),
    "aclose() of a connection that is slow to close": plan(
        Answer(live=(EVENT,), end=End.STALL, close_takes=30.0), deeds=(Deed(Do.ACLOSE, seconds=3.0),)
    ),
    "an answer that cannot resume is interrupted as it comes": plan(
        Answer(live=(EVENT, Live(Does.PAUSE, 0.25), EVENT)),
        Answer(expire=3, announce=True, after=0.2),
        deeds=(Deed(Do.RESTART, seconds=0.1), Deed(Do.RESTART, seconds=0.3)),
    ),
    "a POST is interrupted as it is accepted": plan(
        dialect=Dialect.LOCATION, checkpoint=False, post=True, deeds=(Deed(Do.RESTART),)
    ),
    "a POST is accepted, and goes on by GET": plan(
        Answer(status=503),
        Answer(keep=0.2, live=(EVENT, EVENT)),
        BRING,
        dialect=Dialect.LOCATION,
        post=True,
        checkpoint=False,
    ),
}
"""What random plans have found, or its like; a plan that fails is added here."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("plan", KNOWN.values(), ids=KNOWN)
def test_known_plans(plan, backend):
    """No promise is broken by what once broke one, on either backend."""
    record = play(replace(plan, backend=backend))

    assert list(map(str, check(record))) == []


def test_a_plan_is_one_run():
    """The same plan gives the same run to the last moment, jitter included (R61)."""
    first, second = (
        [(seen.at, str(seen.fact), seen.last_event_id) for seen in play(plan).seen]
        for plan in [KNOWN["everything at once"]] * 2
    )
    assert first == second
