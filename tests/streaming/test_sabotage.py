"""Runs that go wrong: a client or a server that breaks a promise is found out (R5, R8, R14, R16, R65, R217)."""

import sys

import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing import memory_server
from resilient_sse.testing.scenarios import Follower
from resilient_sse.testing.wire import event
from tests.streaming.recount import assert_recounted


@pytest.fixture
def played_with(monkeypatch, replay):
    """Give a function that plays a scenario with other options of the client and returns what came of it."""

    def played_with(name, **options):
        monkeypatch.setattr(
            sys.modules[Follower.__module__],
            "ResilientStream",
            lambda url, **given: ResilientStream(url, **given | options),
        )
        report, lines = replay(name)
        assert_recounted(report.to_dict(), lines)
        return report

    return played_with


def failed(report):
    """List the figures whose gates were failed."""
    return {verdict.gate.figure for verdict in report.verdicts if not verdict.passed}


PROMISES = {
    "no-query-parameter": ("handoff", {"resume_param": None}, {"url_cursor"}),
    "gives-up": ("handoff", {"max_retries": 0}, {"message_loss", "completion_rate_percent"}),
    "in-step": (
        "rapid-reconnects",
        {"backoff": lambda: iter((1.0, 2.0, 4.0, 5.0))},
        {"jitter_diversity_percent"},
    ),
    "another-backoff": (
        "rapid-reconnects",
        {"backoff": lambda: iter((1.0, 3.0, 9.0))},
        {"backoff_sequence", "herd_out_of_band"},
    ),
    "delivers-twice": (
        "rapid-reconnects",
        {"dedup": "off", "sequence": None},
        {"duplicates", "order_breaks", "suppressed"},
    ),
    "says-nothing": (
        "user-experience",
        {"messages": lambda change: ""},
        {"silent_failures", "visible_errors", "texts_missing", "texts_wrong"},
    ),
    "another-text": (
        "user-experience",
        {"messages": {"restored": "Connection restored - resuming stream."}},
        {"texts_missing", "texts_wrong"},
    ),
    "waits-without-a-word": ("stall", {"messages": lambda change: ""}, {"ui_feedback"}),
    "waits-too-long": (
        "stall",
        {"stall_timeout": 31.0, "waiting_after": 24.0},
        {"earliest_notice_s", "latest_notice_s", "earliest_detection_s", "latest_detection_s"},
    ),
}
"""Which scenario finds out what, and by which figures; all but the first three are long."""


@pytest.mark.parametrize(
    "scenario, options, wrong",
    [
        pytest.param(*promise, id=name, marks=[pytest.mark.proof] if number > 2 else [])
        for number, (name, promise) in enumerate(PROMISES.items())
    ],
)
def test_a_client_that_breaks_a_promise(played_with, scenario, options, wrong):
    """Each is found by the gates that are there for it, the answer is NO, and the recount comes to the same."""
    report = played_with(scenario, **options)
    assert wrong <= failed(report)
    assert not report.kept


@pytest.mark.proof
def test_silence_is_counted(played_with):
    """States without words are silent failures, all of them (R8, R65)."""
    (judged,) = played_with("user-experience", messages=lambda change: "").judged
    assert judged.figures["silent_failures"] == 200
    assert judged.figures["visible_errors"] == "0 of 200"


@pytest.mark.parametrize(
    "scenario, sabotage, wrong",
    [
        pytest.param(
            "handoff",
            lambda data, number: None if number == 31 else event(data, id=str(number)),
            {"message_loss", "gaps", "completion_rate_percent", "received_events"},
            id="never-sends-one",
        ),
        pytest.param(
            "slow-3g",
            lambda data, number: event(data.upper(), id=str(number)),
            {"altered"},
            id="alters-events",
        ),
    ],
)
def test_a_server_that_breaks_a_promise(monkeypatch, replay, scenario, sabotage, wrong):
    """Another content, or none: that is no delivery of what was published (R1, R5, R91)."""
    real = memory_server._Line.send_event

    def send(line, number, block):
        data = block.decode().partition("data: ")[2].strip()
        block = block if block.startswith(b"event: done") else sabotage(data, number)
        if block is not None:
            real(line, number, block)

    monkeypatch.setattr(memory_server._Line, "send_event", send)
    report, lines = replay(scenario)
    assert wrong <= failed(report)
    assert_recounted(report.to_dict(), lines)


def test_a_server_that_ignores_the_cursor(monkeypatch, replay):
    """A replay from the beginning is repaired by the client, and found out all the same (R37, R38)."""
    monkeypatch.setattr("resilient_sse.testing.memory_server._after", lambda events, *_: events)
    report, _ = replay("packet-loss")
    assert failed(report) == {"resume_mismatches"}
