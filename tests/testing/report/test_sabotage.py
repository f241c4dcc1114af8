"""Runs that go wrong: a client or a server that breaks a promise is found out (R5, R8, R14, R16, R65, R217)."""

import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing.report import check
from resilient_sse.testing.scenarios import follow
from resilient_sse.testing.scenarios.virtual import VirtualStage


def failures(report):
    """List the figures whose gates were failed."""
    return {verdict.gate.figure for verdict in report.verdicts if not verdict.passed}


@pytest.fixture
def client(monkeypatch):
    """Give a function that has all scenarios played with other options of the client."""

    def client(**options):
        monkeypatch.setattr(
            follow, "ResilientStream", lambda url, **given: ResilientStream(url, **given | options)
        )

    return client


@pytest.fixture
def send(monkeypatch):
    """Give a function that puts another in front of the server's sending."""

    def send(instead):
        real = VirtualStage._send
        monkeypatch.setattr(
            VirtualStage, "_send", lambda stage, line, event: instead(real, stage, line, event)
        )

    return send


def test_an_event_that_is_never_sent(send, replay):
    """Lost for good: a gap, a loss, NO, and the checker counts the same."""
    send(lambda real, stage, line, event: None if event.id == 31 else real(stage, line, event))
    report, lines = replay("handoff")
    assert {"message_loss", "gaps", "completion_rate_percent", "received_events"} <= failures(report)
    assert report.to_dict()["production_readiness"] == "NO"
    assert check(report.to_dict(), lines) == []


@pytest.mark.proof
def test_a_client_that_delivers_twice(client, replay):
    """Without deduplication the overlap of each resume is delivered: 15 duplicates."""
    client(dedup="off", sequence=None)
    report, lines = replay("rapid-reconnects")
    assert {"duplicates", "order_breaks", "suppressed"} <= failures(report)
    (judged,) = report.judged
    assert judged.figures["duplicates"] > 0
    assert check(report.to_dict(), lines) == []


@pytest.mark.proof
def test_a_client_that_says_nothing(client, replay):
    """States without words are silent failures, all 200 of them."""
    client(messages=lambda change: "")
    report, lines = replay("user-experience")
    (judged,) = report.judged
    assert judged.figures["silent_failures"] == 200
    assert judged.figures["visible_errors"] == "0 of 200"
    assert {"silent_failures", "visible_errors", "texts_missing", "texts_wrong"} <= failures(report)
    assert check(report.to_dict(), lines) == []


@pytest.mark.proof
def test_a_client_that_waits_without_a_word(client, replay):
    """What people are to see of a stall is not seen (R22, R215)."""
    client(messages=lambda change: "")
    report, lines = replay("stall")
    assert "ui_feedback" in failures(report)
    assert report.to_dict()["scenarios"]["scenario_2_stall_detection"]["ui_feedback"] == "Missing"
    assert check(report.to_dict(), lines) == []


def test_a_client_with_another_text(client, replay):
    """One letter is enough."""
    client(messages={"restored": "Connection restored - resuming stream."})
    report, _ = replay("user-experience")
    assert failures(report) == {"texts_missing", "texts_wrong"}


@pytest.mark.proof
def test_a_client_that_waits_too_long(client, replay):
    """Detection after 31 s, and notices before 25 s, are out of bounds."""
    client(stall_timeout=31.0, waiting_after=24.0)
    report, _ = replay("stall")
    assert {"earliest_notice_s", "latest_notice_s", "earliest_detection_s", "latest_detection_s"} <= failures(
        report
    )


@pytest.mark.proof
def test_a_client_without_the_query_parameter(client, replay):
    """A resume that names its place in the header only is half of what was agreed."""
    client(resume_param=None)
    report, _ = replay("handoff")
    assert failures(report) == {"url_cursor"}


def test_clients_in_step(client, replay):
    """Without jitter all hundred come back at the same instants."""
    client(backoff=lambda: iter((1.0, 2.0, 4.0, 5.0)))
    report, _ = replay("rapid-reconnects")
    assert "jitter_diversity_percent" in failures(report)


@pytest.mark.proof
def test_a_client_with_another_backoff(client, replay):
    """Delays of 1, 3 and 9 s are not 1, 2 and 4."""
    client(backoff=lambda: iter((1.0, 3.0, 9.0)))
    report, _ = replay("rapid-reconnects")
    assert {"backoff_sequence", "herd_out_of_band"} <= failures(report)


@pytest.mark.proof
def test_a_client_that_gives_up(client, replay):
    """Without retries nothing is recovered from, and the run ends all the same."""
    client(max_retries=0)
    report, lines = replay("handoff", "stall", "packet-loss")
    assert {"message_loss", "unrecovered", "auto_reconnect", "replays"} & failures(report)
    assert {judged.passed for judged in report.judged} == {False}
    assert check(report.to_dict(), lines) == []


@pytest.mark.proof
def test_a_server_that_alters_events(send, replay):
    """Another content under the same id is no delivery of what was published."""
    send(
        lambda real, stage, line, event: real(
            stage, line, type(event)(event.id, event.data.upper(), event.event)
        )
    )
    report, lines = replay("slow-3g")
    assert failures(report) == {"altered"}
    assert check(report.to_dict(), lines) == []


@pytest.mark.proof
def test_a_server_that_ignores_the_cursor(monkeypatch, replay):
    """A replay from the beginning is repaired by the client, and found out all the same."""
    real = VirtualStage._replay
    monkeypatch.setattr(
        VirtualStage, "_replay", lambda stage, line, _, answer: real(stage, line, None, answer)
    )
    report, lines = replay("packet-loss")
    assert failures(report) == {"resume_mismatches"}
    assert check(report.to_dict(), lines) == []
