"""Plans as data: generated, printed, edited by hand, read again."""

import json

import pytest

from resilient_sse.testing.simulation import Answer, Deed, Options, Plan, check, generate, play


@pytest.mark.parametrize("seed", range(30))
def test_a_plan_survives_being_written(seed):
    """What is printed can be played again, and is the same plan."""
    plan = generate(seed)

    assert Plan.from_json(plan.to_json()) == plan
    assert 5 <= len(plan.answers) <= 12


def test_a_plan_is_readable():
    """One line for each answer, without what is at its default."""
    plan = Plan(
        options=Options(max_retries=2),
        answers=(Answer(live=("event", "skip"), end="eof"), Answer(kind="refuse")),
        deeds=(Deed(kind="slow", event=1, seconds=40.0),),
    )

    lines = plan.to_json().splitlines()

    assert '  {"kind": "stream", "live": ["event", "skip"], "end": "eof"},' in lines
    assert '  {"kind": "refuse"}' in lines
    assert ' "options": {"max_retries": 2},' in lines


def test_a_plan_may_be_written_by_hand():
    """Everything has a default."""
    record = play(Plan.from_json('{"answers": [{"live": ["event", "vanish", "event"]}]}'))

    assert record.outcome == "done"
    assert record.seen[-1].stats.gaps == 1
    assert record.seen[-1].stats.lost == 1
    assert check(record) == []


@pytest.mark.parametrize(
    "text,message",
    [
        ("[]", "plan: an object is wanted"),
        ('{"answer": []}', "plan: there is no 'answer'; the names are answers, backend"),
        ('{"answers": [3]}', "answer: an object is wanted, not 3"),
        ('{"answers": [{"kind": "explode"}]}', "kind must be one of stream, status, .* not 'explode'"),
        ('{"answers": [{"end": "bang"}]}', "end must be one of drop, cut, eof, stall, not 'bang'"),
        ('{"answers": [{"live": ["events"]}]}', "live must be one of .* not 'events'"),
        ('{"answers": [{"live": ["pause"]}]}', "'pause' wants a number"),
        ('{"answers": [{"live": ["event 3"]}]}', "'event 3' wants no number"),
        ('{"deeds": [{"event": 3}]}', "deed: kind is missing"),
        ('{"deeds": [{"kind": "sleep"}]}', "kind must be one of slow, cancel"),
        ('{"options": {"retries": 3}}', "options: there is no 'retries'"),
        ('{"backend": "curio"}', "backend must be one of asyncio, trio, not 'curio'"),
        ("{", "Expecting"),
    ],
)
def test_bad_plans_are_explained(text, message):
    """A slip of the hand is named, with what would be right."""
    with pytest.raises(ValueError, match=message):
        Plan.from_json(text)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", [2, 5, 21, 48])
def test_both_backends_tell_the_same_story(backend, seed):
    """Every plan holds on both event loops."""
    plan = json.loads(generate(seed).to_json()) | {"backend": backend}
    record = play(Plan.from_json(json.dumps(plan)))

    assert check(record) == []


def test_plans_end_in_many_ways():
    """The generator draws what the brief of a run needs: both backends, every mode, consumers that misbehave."""
    plans = [generate(seed) for seed in range(200)]

    assert {plan.backend for plan in plans} == {"asyncio", "trio"}
    assert {plan.options.dedup for plan in plans} == {"always", "replay", "off"}
    assert {plan.options.sequence for plan in plans} == {True, False}
    kinds = {deed.kind for plan in plans for deed in plan.deeds}
    assert kinds == {"slow", "cancel", "cancel-task", "raise", "restart", "crash", "aclose"}
