from __future__ import annotations

import pytest

from resilient_sse._core.errors import BadStatusError, ConnectionLostError, HandshakeError
from resilient_sse._core.events import Gap
from resilient_sse._core.recovery import OutageClock, Recovery, Resumption
from resilient_sse._core.states import Reason

LOST = Gap(kind="unresumable", after_id="7")


def ends(resumption: Resumption, *connections: tuple[str | None, bool]) -> list[Gap | None]:
    """Open and end connections, each with its cursor and whether it brought nothing."""
    gaps = []
    for cursor, eventless in connections:
        assert resumption.opened(cursor, {}) is None
        gaps.append(resumption.ended(dispatched=not eventless, settled=False))
    return gaps


# Another Last-Event-ID in the answer


@pytest.mark.parametrize(
    "cursor, headers",
    [
        pytest.param("7", {}, id="not-said"),
        pytest.param("7", {"last-event-id": "7"}, id="the-same"),
        pytest.param(None, {"last-event-id": "9"}, id="not-asked"),
        pytest.param(None, {}, id="neither"),
    ],
)
def test_answers_that_resume(cursor, headers):
    """An answer that repeats the id, or says nothing about it, is no sign of loss."""
    assert Resumption().opened(cursor, headers) is None


@pytest.mark.parametrize("answered, before", [("9", "9"), ("", None)], ids=["another", "empty"])
def test_an_answer_with_another_id(answered, before):
    """A server that resumes elsewhere has dropped what lies between, and says so."""
    gap = Resumption().opened("7", {"last-event-id": answered})
    assert gap == Gap(kind="unresumable", after_id="7", before_id=before)


# 410


def test_gone():
    """410 to a cursor means that nothing behind it can be had any more."""
    assert Resumption().refused("7", BadStatusError(status=410, headers={})) == LOST


@pytest.mark.parametrize(
    "cursor, error",
    [
        pytest.param(None, BadStatusError(status=410, headers={}), id="no-cursor"),
        pytest.param("7", BadStatusError(status=404, headers={}), id="404"),
        pytest.param("7", BadStatusError(status=503, headers={}), id="503"),
        pytest.param("7", HandshakeError("no answer"), id="no-status"),
        pytest.param("7", ConnectionLostError(Reason.CONNECT), id="no-connection"),
    ],
)
def test_other_failures(cursor, error):
    """Other failures say nothing about the cursor."""
    assert Resumption().refused(cursor, error) is None


# Empty connections


def test_three_empty_connections_in_a_row():
    """The third connection that ends without an event makes one gap, and those behind it none."""
    gaps = ends(Resumption(), *[("7", True)] * 6)
    assert gaps == [None, None, LOST, None, None, None]


@pytest.mark.parametrize(
    "between", [pytest.param(("7", False), id="an-event"), pytest.param((None, True), id="no-cursor-sent")]
)
def test_not_in_a_row(between):
    """A connection with an event, or one that was asked for nothing, starts the count anew."""
    gaps = ends(Resumption(), ("7", True), ("7", True), between, ("7", True), ("7", True), ("7", True))
    assert gaps == [None] * 5 + [LOST]


def test_the_row_is_about_one_id():
    """If the cursor has moved meanwhile, by events that had been held back, the row begins anew."""
    gaps = ends(Resumption(), ("6", True), *[("7", True)] * 3)
    assert gaps == [None, None, None, LOST]


def test_a_connection_that_held_is_not_empty():
    """A quiet stream behind a proxy with a limit on idle connections resumes well (section 3.10)."""
    resumption = Resumption()
    for _ in range(9):
        resumption.opened("7", {})
        assert resumption.ended(dispatched=False, settled=True) is None


@pytest.mark.parametrize("settled", [True, False])
def test_a_chance_to_replay(settled):
    """An event shows what the server replays; an end without one does not, before it happens over and over."""
    resumption = Resumption()
    seen = []
    for dispatched in (True, False, False, False, False, True, False):
        resumption.opened("7", {})
        resumption.ended(dispatched=dispatched, settled=settled)
        seen.append(resumption.had_its_chance)
    assert seen == [True, False, False, True, True, True, False]


def test_without_a_cursor_nothing_can_be_missed():
    """Empty connections that had no id to resume from are just empty."""
    assert ends(Resumption(), *[(None, True)] * 5) == [None] * 5


# One loss, one gap


def test_one_gap_for_each_id():
    """However often and in whatever way a server refuses the same id, it is said once; another id is another."""
    resumption = Resumption()
    gone = BadStatusError(status=410, headers={})
    assert resumption.refused("7", gone) == LOST
    assert resumption.refused("7", gone) is None
    assert resumption.opened("7", {"last-event-id": "9"}) is None
    assert ends(resumption, *[("7", True)] * 3) == [None] * 3
    assert resumption.refused("8", gone) == Gap(kind="unresumable", after_id="8")


def test_the_four_points():
    """t1 to t4, with recovery (t4 - t2) and silence (t4 - t1) apart (R98, R101, X8)."""
    clock = OutageClock()
    clock.lost(Reason.STALL, silent_since=10.0, now=40.0)
    recovery = clock.recovered(attempts=2, opened_at=43.0, now=43.5)
    assert recovery == Recovery(
        reason=Reason.STALL, attempts=2, silent_since=10.0, lost_at=40.0, opened_at=43.0, recovered_at=43.5
    )
    assert (recovery.recovery, recovery.silence, recovery.reconnected) == (3.5, 33.5, 3.0)


def test_the_first_failure_counts():
    """An outage begins once, whatever fails later."""
    clock = OutageClock()
    clock.lost(Reason.EOF, silent_since=1.0, now=2.0)
    clock.lost(Reason.CONNECT, silent_since=None, now=5.0)
    recovery = clock.recovered(attempts=2, opened_at=6.0, now=6.0)
    assert (recovery.reason, recovery.silent_since, recovery.lost_at) == (Reason.EOF, 1.0, 2.0)


def test_before_the_first_connection():
    """Where nothing ever came, the silence begins with the first failure."""
    clock = OutageClock()
    clock.lost(Reason.CONNECT, silent_since=None, now=5.0)
    assert clock.recovered(attempts=1, opened_at=6.0, now=7.0).silence == 2.0


def test_no_outage_no_recovery():
    """The first event of a stream recovers nothing, and one outage is told once (R106)."""
    clock = OutageClock()
    assert clock.recovered(attempts=0, opened_at=1.0, now=2.0) is None
    clock.lost(Reason.EOF, silent_since=3.0, now=3.0)
    assert clock.recovered(attempts=1, opened_at=4.0, now=4.0) is not None
    assert clock.recovered(attempts=1, opened_at=4.0, now=5.0) is None


def test_forgotten():
    """An outage that ended quietly is not measured up to an event hours later."""
    clock = OutageClock()
    clock.lost(Reason.EOF, silent_since=3.0, now=3.0)
    clock.reset()
    assert clock.recovered(attempts=1, opened_at=4.0, now=4000.0) is None


@pytest.mark.parametrize("attempts, told", [(0, 1), (1, 1), (5, 5)])
def test_a_recovery_took_an_attempt_at_least(attempts, told):
    """What the program itself cut is no failure, but one attempt follows it."""
    clock = OutageClock()
    clock.lost(Reason.RESTART, silent_since=3.0, now=3.0)
    assert clock.recovered(attempts=attempts, opened_at=4.0, now=4.0).attempts == told
