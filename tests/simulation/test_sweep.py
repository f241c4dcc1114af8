"""
Many seeds with nothing lost: 100 fresh ones in each run, 1,000 in CI, 10,000 as a proof.

The header of a run prints which seeds are played; `SIMULATION_FRESH=123` plays those from 123 on again.
`SIMULATION_SEEDS=10000..20000` has the proof play others, `SIMULATION_SEED=123` has one seed told in full.
"""

import os
import time
from dataclasses import replace

import pytest

from resilient_sse import Gap
from tests.conftest import FRESH
from tests.simulation.check import check
from tests.simulation.coverage import FAULTS, TRANSITION_NAMES
from tests.simulation.features import FEATURES
from tests.simulation.generate import generate
from tests.simulation.plan import Answer, Options, Plan
from tests.simulation.process import first_doubtful
from tests.simulation.run import play
from tests.simulation.sabotage import NUMBERED_HEARTBEAT, hasty_gaps, overlooked_holes
from tests.simulation.story import story
from tests.simulation.sweep import shrunk, sweep, try_plan

PART = 100
PARTS = [0, *(pytest.param(part, marks=[pytest.mark.proof, pytest.mark.ci]) for part in range(1, 10))]
WHOLE = 10_000


def seeds_of(text):
    """Read a range such as `10000..20000`, its end left out."""
    first, dots, last = text.partition("..")
    if not (dots and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise ValueError(
            f"SIMULATION_SEEDS: two numbers such as 0..10000, the smaller one first, not {text!r}"
        )
    return range(int(first), int(last))


def test_the_id_in_force_is_judged_between_events_too():
    """A repeat behind a numbered heartbeat must not move the cursor back, though no event shows it."""
    record = play(NUMBERED_HEARTBEAT)

    assert check(record) == []
    assert [request.cursor for request in record.truth.requests] == [None, "2", "2", "2"]


LOST_NUMBERS = Plan(
    answers=(
        Answer(live=("event", "event", "event", "beat"), keep=0.25),
        Answer(expire=2),
        Answer(),
        Answer(restart=True, live=("beat", "event", "event"), end="drop"),
    ),
)
"""A new numbering begins with the very numbers that were reported lost in the old one."""


@pytest.mark.parametrize(
    "plan",
    [generate(114683), generate(820000093), LOST_NUMBERS],
    ids=["seed 114683", "seed 820000093", "by hand"],
)
def test_a_new_numbering_over_lost_numbers_is_doubtful(plan):
    """Whether they come late or anew, no client can tell: nobody knows their contents."""
    record = play(plan)

    assert check(record) == []
    assert first_doubtful(record) is not None


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_thousand_fresh_seeds(part, pytestconfig):
    """Nothing is lost in silence, nothing comes twice, every fault is told (R8, R64-R66), every delay fits."""
    first = pytestconfig.stash[FRESH] + part * PART
    tally = sweep(range(first, first + PART))

    assert tally.failures == []
    assert tally.runs == PART
    assert tally.doubtful < 0.1 * PART
    assert tally.faults.total() > 10 * PART
    assert len([name for name in FAULTS if tally.faults[name]]) > 0.6 * len(FAULTS)
    assert len([name for name in FEATURES if tally.features[name]]) > 0.6 * len(FEATURES)


@pytest.mark.proof
@pytest.mark.timeout(0 if "SIMULATION_SEEDS" in os.environ else 600)
def test_ten_thousand_seeds():
    """10,000 seeds in two processes in under three minutes; every fault, feature and transition occurs."""
    seeds = seeds_of(os.environ.get("SIMULATION_SEEDS", f"0..{WHOLE}"))
    began = time.monotonic()
    tally = sweep(seeds, processes=2)

    print("\n".join(tally.lines()))  # noqa: T201 - the table is the result
    assert tally.failures == []
    assert tally.runs == len(seeds)
    assert tally.doubtful < 0.05 * tally.runs
    assert tally.faults.total() > 15 * tally.runs
    if len(seeds) >= WHOLE:  # fewer need not reach everything
        assert tally.unreached == []
    assert time.monotonic() - began < 400 * max(1, len(seeds) / WHOLE)  # 60 s on two idle cores for 10,000


def test_one_seed_is_told():
    """A seed is one plan, which is printed with all that happened; one that fails is made small as well."""
    plan = generate(int(os.environ.get("SIMULATION_SEED", "7")))
    record, broken = try_plan(plan)
    lines = [] if record is None else story(record)

    print("\n".join(["", plan.to_json(), *lines, *broken]))  # noqa: T201 - this is what is asked for
    if broken:
        print("the same with less:", shrunk(plan).to_json(), sep="\n")  # noqa: T201 - see above
    assert broken == []
    assert any("connecting -> connected (opened)" in line for line in lines)


@pytest.mark.parametrize("text", ["9..3", "all", "5"])
def test_wrong_seeds_are_refused(text):
    """Bad input is named."""
    with pytest.raises(ValueError, match="two numbers such as"):
        seeds_of(text)


def test_a_tally_knows_what_was_not_reached():
    """The coverage table names what is missing, so that a sweep cannot pass by doing nothing."""
    tally = sweep(range(1))

    assert set(tally.unreached) < {*FAULTS, *FEATURES, *TRANSITION_NAMES}
    assert {*FEATURES} <= set(tally.unreached)
    assert any(line.startswith("not reached: ") for line in tally.lines())


@pytest.mark.slow
def test_sweeps_add_up():
    """Parts of a range merge to the whole."""
    whole, first, rest = sweep(range(10)), sweep(range(6)), sweep(range(6, 10))
    first.merge(rest)

    assert first.virtual == pytest.approx(whole.virtual)
    assert replace(first, virtual=whole.virtual) == whole


def test_a_sweep_needs_a_process():
    """Bad input is named."""
    with pytest.raises(ValueError, match="processes must be at least 1, not 0"):
        sweep(range(1), processes=0)


def facts(record):
    """Tell all that can be compared."""
    return [
        (seen.at, seen.process, type(seen.fact), str(seen.state), seen.last_event_id) for seen in record.seen
    ]


@pytest.mark.parametrize("seed", [0, 3, 10, 17])
def test_a_seed_is_one_run(seed):
    """The same seed gives the same run to the last moment, jitter included (R61)."""
    assert facts(play(generate(seed))) == facts(play(generate(seed)))


LATE = Plan(
    options=Options(sequence=False),
    answers=(
        Answer(live=("event",), end="drop"),
        Answer(live=("skip", "event"), end="drop"),
        Answer(overlap=2, live=("event",)),
    ),
)
"""A replay brings the second event after the third."""


@pytest.mark.parametrize("plan", [generate(71556), LATE], ids=["seed 71556", "by hand"])
def test_what_an_opaque_stream_replays_late_is_delivered_in_the_order_of_the_wire(plan):
    """No client can see that it comes late; with numbers it can, and does not deliver it."""
    record = play(plan)

    assert check(record) == []
    got = [record.published(note.event).ordinal for _, note in record.notes("handed")]
    assert got != sorted(got)


def test_what_a_numbered_stream_replays_late_is_asked_for_before():
    """The same script with numbers: the hole is seen, asked for, and the order holds."""
    record = play(replace(LATE, options=Options()))

    assert check(record) == []
    got = [record.published(note.event).ordinal for _, note in record.notes("handed")]
    assert got == sorted(set(got))


@pytest.mark.proof
def test_a_failure_is_shrunk_to_what_matters():
    """A plan that fails loses all that it does not need, and still fails in the same way."""
    with overlooked_holes():
        plan = next(plan for plan in map(generate, range(100)) if try_plan(plan)[1])
        small = shrunk(plan)

        assert any("lost" in text for text in try_plan(small)[1])
    assert small.deeds == ()
    assert len(small.answers) < len(plan.answers)
    assert sum(len(answer.live) for answer in small.answers) <= 4


def test_a_plan_that_holds_is_not_shrunk():
    """There is nothing to look for."""
    assert shrunk(generate(1)) == generate(1)


def test_shrinking_is_bounded():
    """It stops after so many tries."""
    with hasty_gaps():
        plan = next(plan for plan in map(generate, range(100)) if try_plan(plan)[1])

        assert shrunk(plan, tries=1).seed == plan.seed


STORED_POSITIONS = (494832127, 109550940)
"""Seeds that found what follows; they were red."""


@pytest.mark.parametrize("seed", STORED_POSITIONS)
def test_a_numbering_that_begins_below_a_stored_position_is_new(seed):
    """A stream that started behind a stored number has not met what is lower: no replay that it knows (3.6)."""
    assert check(play(generate(seed))) == []


LATE_WITHOUT_DEDUP = Plan(
    options=Options(dedup="off", max_retries=0),
    answers=(Answer(live=("event", "skip", "event")), Answer(overlap=2)),
)
"""What was reported lost comes after all, to a consumer that wants whatever is sent."""


@pytest.mark.parametrize("plan", [generate(700007022), LATE_WITHOUT_DEDUP], ids=["seed 700007022", "by hand"])
def test_a_lost_event_that_comes_late_was_still_lost_when_it_was_told(plan):
    """Without dedup it is delivered, and the gap before it stays true."""
    record = play(plan)

    assert check(record) == []
    got = [record.published(note.event).ordinal for _, note in record.notes("handed")]
    assert any(isinstance(seen.fact, Gap) for seen in record.seen)
    assert set(range(1, 4)) <= set(got)


LOST_THEN_NEW = Plan(
    answers=(
        Answer(live=("event", "vanish", "event")),
        Answer(live=("event",)),
        Answer(restart=True, live=("beat", "event", "event")),
        Answer(overlap=2, keep=0.5),
        Answer(),
    )
)
"""A new numbering shows only behind a number that was lost in the old one, which is then repeated alone."""


def test_a_new_numbering_begins_with_the_numbers_that_were_lost_before_it():
    """They are delivered with it, so that a repeat of them is known and no second reset is told (3.6)."""
    record = play(LOST_THEN_NEW)

    assert check(record) == []
    assert [seen.fact.kind for seen in record.seen if isinstance(seen.fact, Gap)] == ["hole", "reset"]
    assert [note.event.data for _, note in record.notes("handed")][3:5] == ["e6", "e7"]
