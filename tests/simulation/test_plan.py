"""Plans as data: generated, printed, edited by hand, read again."""

import json
import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from resilient_sse import NotResumableError
from resilient_sse._core.batches import Batches
from resilient_sse._core.delivery import Delivery
from tests.simulation.check import check
from tests.simulation.features import features
from tests.simulation.generate import generate
from tests.simulation.plan import Answer, Deed, Options, Plan
from tests.simulation.run import play

README = Path(__file__).with_name("README.md")


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


def test_the_plan_of_the_page():
    """The plan in `README.md` does what is said below it: one event late, one lost, and no promise broken."""
    (text,) = re.findall(r"^```json\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    record = play(Plan.from_json(text))

    assert (record.outcome, check(record)) == ("done", [])
    assert (record.seen[-1].stats.gaps, record.seen[-1].stats.lost) == (1, 1)


EVERYTHING = """{
 "seed": 0,
 "backend": "asyncio",
 "options": {"method": "POST", "credentials": "fresh", "classify": ["403 retry"], "raises": 2, "activity": true},
 "answers": [
  {"kind": "status", "redirects": ["307", "308 self"], "status": 401},
  {"kind": "status", "status": 403},
  {"kind": "stream", "live": ["event", "plain", "hint 300", "plain"], "end": "eof"},
  {"kind": "stream", "redirects": ["303", "302 elsewhere"], "live": ["skip", "event", "plain"]}
 ],
 "deeds": [
  {"kind": "restart", "event": 3}
 ]
}
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_plan_may_use_every_word(backend):
    """Redirects, tokens, hooks and events without an id are written by hand, read, played and written again."""
    plan = Plan.from_json(EVERYTHING)
    record = play(replace(plan, backend=backend))

    assert plan.to_json() == EVERYTHING
    assert check(record) == []
    used = set(features(record))
    assert used >= {
        *("redirect 307", "redirect 308", "redirect 303", "redirect 302", "redirect to another origin"),
        *(
            "fresh token",
            "accepted after a 401",
            "classify: retry",
            "POST sent again",
            "POST after a redirect",
        ),
        *("activity()", "restart() in the handler", "callbacks that fail", "event without id delivered"),
        "retry field told with its event",
    }


def test_too_many_redirects_are_refused():
    """Ten are followed, and an eleventh is an error that is raised (3.4)."""
    ten, eleven = (
        Plan(options=Options(again=0), answers=(Answer(redirects=("302 self",) * n),)) for n in (10, 11)
    )
    followed, refused = play(ten), play(eleven)

    assert check(followed) == check(refused) == []
    assert (followed.outcome, refused.outcome) == ("done", "error")
    assert len(refused.truth.requests[0].hops) == 11


def test_a_post_is_not_sent_again_when_that_would_repeat():
    """Events were delivered, and none had an id to resume from (3.4)."""
    plan = Plan(options=Options(method="POST", again=0), answers=(Answer(live=("plain",)),))
    record = play(plan)

    assert check(record) == []
    assert (record.outcome, len(record.truth.requests)) == ("error", 1)
    assert isinstance(record.notes("error")[0][1].error, NotResumableError)


def test_even_seeds_mean_what_they_meant():
    """What was added later is in odd seeds only."""
    later = ("method", "body", "credentials", "classify", "raises", "activity")
    even = [generate(seed) for seed in range(0, 100, 2)]

    assert all(getattr(plan.options, name) == getattr(Options(), name) for plan in even for name in later)
    assert not any(answer.redirects or "plain" in answer.live for plan in even for answer in plan.answers)
    assert any(
        deed.kind == "restart" and deed.event for seed in range(1, 100, 2) for deed in generate(seed).deeds
    )


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
        ('{"options": {"method": "PUT"}}', "options: method must be one of GET, POST, not 'PUT'"),
        ('{"options": {"body": "twice"}}', "options: body must be one of again, once, not 'twice'"),
        ('{"options": {"credentials": true}}', "credentials must be one of none, fixed, fresh, not True"),
        ('{"options": {"classify": ["50 stop"]}}', "a status or a reason must be one of .* not '50'"),
        ('{"options": {"classify": ["503"]}}', "the verdict must be one of retry, stop, raise, not ''"),
        ('{"answers": [{"redirects": ["304"]}]}', "redirects must be one of 301, .* not '304'"),
        ('{"answers": [{"redirects": ["302 home"]}]}', "target must be one of self, elsewhere, not 'home'"),
        ('{"answers": [{"live": ["hint"]}]}', "'hint' wants a number"),
        ('{"answers": [{"live": ["plain 3"]}]}', "'plain 3' wants no number"),
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

    assert (
        {plan.backend for plan in plans[::2]} == {plan.backend for plan in plans[1::2]} == {"asyncio", "trio"}
    )
    assert {plan.options.dedup for plan in plans} == {"always", "replay", "off"}
    assert {plan.options.sequence for plan in plans} == {True, False}
    kinds = {deed.kind for plan in plans for deed in plan.deeds}
    assert kinds == {"slow", "cancel", "cancel-task", "raise", "restart", "crash", "aclose"}


def test_an_unwatched_plan_is_judged_in_batches():
    """Nothing looks at single events: reads are judged at once, by columns too, and none is judged singly (10)."""
    with (
        patch.object(Batches, "_judge_run", autospec=True, side_effect=Batches._judge_run) as by_columns,
        patch.object(Delivery, "take", side_effect=AssertionError),
    ):
        records = [play(generate(seed)) for seed in (24, 69)]

    assert [check(record) for record in records] == [[], []]
    assert all(len(record.notes("handed")) > 5 for record in records)
    assert by_columns.called
