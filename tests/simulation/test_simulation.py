"""
Random plans, and nothing lost: 300 fresh ones in each run, 1,000 in CI, 10,000 as a proof.

The header of a run prints its seed; with `SIMULATION_FRESH=123` the same plans are played again.  A plan that
fails is made small and printed: paste it into `KNOWN`, where it stays.
"""

import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import event

from tests.conftest import FRESH
from tests.simulation.coverage import EVERYTHING, reached
from tests.simulation.invariants import check
from tests.simulation.plan import (
    Answer,
    Deed,
    Dialect,
    Do,
    Does,
    End,
    Ids,
    Live,
    Options,
    Plan,
    Redirect,
    for_plans,
)
from tests.simulation.run import play

EVENT, SKIP, VANISH, BEAT, PLAIN = map(Live, (Does.EVENT, Does.SKIP, Does.VANISH, Does.BEAT, Does.PLAIN))
LONG = int(os.environ.get("SIMULATION_EXAMPLES", "10000"))


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
KNOWN = {
    "a hole shows in a read of events whose positions a function gives": Plan(
        options=Options(dialect=Dialect.JSON),
        answers=(Answer(live=(EVENT, VANISH)), *[Answer()] * 5, Answer(live=(EVENT, SKIP, EVENT), chunk=60)),
    ),
    "an opaque stream is replayed late": Plan(
        options=Options(ids=Ids.OPAQUE),
        answers=(BRING, Answer(live=(SKIP, EVENT)), Answer(overlap=2, live=(EVENT,))),
    ),
    "a numbered stream is replayed late": Plan(
        answers=(BRING, Answer(live=(SKIP, EVENT)), Answer(overlap=2, live=(EVENT,)))
    ),
    "without dedup what was lost comes late": Plan(
        options=Options(dedup="off", max_retries=0),
        answers=(Answer(live=(EVENT, SKIP, EVENT)), Answer(overlap=2)),
    ),
    "a repeat behind a numbered heartbeat": Plan(
        answers=(Answer(live=(EVENT, BEAT)), Answer(overlap=2), Answer())
    ),
    "a new numbering shows behind a number that was lost": Plan(
        answers=(
            Answer(live=(EVENT, VANISH, EVENT)),
            BRING,
            Answer(restart=True, live=(BEAT, EVENT, EVENT)),
            Answer(overlap=2, keep=0.5),
            Answer(),
        )
    ),
    "a numbering begins below a stored position": Plan(
        answers=(Answer(live=(EVENT,) * 5), Answer(restart=True, live=(EVENT, EVENT))),
        deeds=(Deed(Do.CRASH, event=5),),
    ),
    "numbers that were lost before a restart": Plan(  # late or anew: nobody knows their contents
        answers=(
            Answer(live=(EVENT, EVENT, EVENT, BEAT), keep=0.25),
            Answer(expire=2),
            Answer(),
            Answer(restart=True, live=(BEAT, EVENT, EVENT)),
        )
    ),
    "an answer comes as its wait is cancelled": Plan(
        options=Options(dedup="replay", poll=0.2),
        answers=(Answer(after=0.2), Answer(live=(Live(Does.TWICE),)), Answer()),
    ),
    "everything at once": Plan(
        options=Options(post=True, token="fresh", raises=2, activity=True, poll=3.0),
        answers=(
            Answer(
                redirects=(Redirect(), Redirect(308, itself=True)),
                live=(EVENT, PLAIN, Live(Does.HINT, 300), PLAIN),
            ),
            Answer(
                redirects=(Redirect(303), Redirect(302, elsewhere=True)),
                live=(SKIP, EVENT, PLAIN),
                end=End.EOF,
            ),
        ),
        deeds=(Deed(Do.RESTART, event=3),),
    ),
    "a hint arrives as restart() gives up": Plan(
        answers=(Answer(live=(EVENT, Live(Does.RETRY, 9000), EVENT), end=End.STALL), Answer()),
        deeds=(Deed(Do.RESTART, event=1),),
    ),
    "restart() among redirects to the same address": Plan(
        answers=(Answer(redirects=(Redirect(302, itself=True),) * 3, live=(EVENT,)), Answer()),
        deeds=(Deed(Do.RESTART, seconds=0.0), Deed(Do.RESTART, seconds=1.0)),
    ),
    "an event arrives while a silent connection is being closed": Plan(
        options=Options(ids=Ids.RISING, watched=False, checkpoint=False),
        answers=(Answer(live=(Live(Does.PAUSE, 31), EVENT), close_takes=1.5), Answer(restart=True)),
    ),
    "a gap is told as its read is cancelled": Plan(
        options=Options(max_retries=0, activity=True, raises=100),
        answers=(Answer(live=(EVENT, VANISH, EVENT), chunk=500),),
        deeds=(Deed(Do.CANCEL, event=1),),
    ),
    "aclose() of a connection that is slow to close": Plan(
        answers=(Answer(live=(EVENT,), end=End.STALL, close_takes=30.0),),
        deeds=(Deed(Do.ACLOSE, seconds=3.0),),
    ),
    "an answer that cannot resume is interrupted as it comes": Plan(
        answers=(
            Answer(live=(EVENT, Live(Does.PAUSE, 0.25), EVENT)),
            Answer(expire=3, announce=True, after=0.2),
        ),
        deeds=(Deed(Do.RESTART, seconds=0.1), Deed(Do.RESTART, seconds=0.3)),
    ),
    "a POST is interrupted as it is accepted": Plan(
        options=Options(dialect=Dialect.LOCATION, checkpoint=False, post=True), deeds=(Deed(Do.RESTART),)
    ),
    "a POST is accepted, and goes on by GET": Plan(
        options=Options(dialect=Dialect.LOCATION, post=True, checkpoint=False),
        answers=(Answer(status=503), Answer(keep=0.2, live=(EVENT, EVENT)), BRING),
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
