from __future__ import annotations

import pytest

from resilient_sse._core.recovery import Recovery, Setback
from resilient_sse._core.states import Reason


def test_the_four_points():
    """t1 to t4, with recovery (t4 - t2) and silence (t4 - t1) apart (R98, R101, X8)."""
    setback = Setback()
    setback.lost(Reason.STALL, silent_since=10.0, now=40.0)
    recovery = setback.recovered(attempts=2, opened_at=43.0, now=43.5)
    assert recovery == Recovery(
        reason=Reason.STALL, attempts=2, silent_since=10.0, lost_at=40.0, opened_at=43.0, recovered_at=43.5
    )
    assert (recovery.recovery, recovery.silence, recovery.reconnected) == (3.5, 33.5, 3.0)


def test_the_first_failure_counts():
    """An outage begins once, whatever fails later."""
    setback = Setback()
    setback.lost(Reason.EOF, silent_since=1.0, now=2.0)
    setback.lost(Reason.CONNECT, silent_since=None, now=5.0)
    recovery = setback.recovered(attempts=2, opened_at=6.0, now=6.0)
    assert (recovery.reason, recovery.silent_since, recovery.lost_at) == (Reason.EOF, 1.0, 2.0)


def test_before_the_first_connection():
    """Where nothing ever came, the silence begins with the first failure."""
    setback = Setback()
    setback.lost(Reason.CONNECT, silent_since=None, now=5.0)
    assert setback.recovered(attempts=1, opened_at=6.0, now=7.0).silence == 2.0


def test_no_outage_no_recovery():
    """The first event of a stream recovers nothing, and one outage is told once (R106)."""
    setback = Setback()
    assert setback.recovered(attempts=0, opened_at=1.0, now=2.0) is None
    setback.lost(Reason.EOF, silent_since=3.0, now=3.0)
    assert setback.recovered(attempts=1, opened_at=4.0, now=4.0) is not None
    assert setback.recovered(attempts=1, opened_at=4.0, now=5.0) is None


def test_forgotten():
    """An outage that ended quietly is not measured up to an event hours later."""
    setback = Setback()
    setback.lost(Reason.EOF, silent_since=3.0, now=3.0)
    setback.forget()
    assert setback.recovered(attempts=1, opened_at=4.0, now=4000.0) is None


@pytest.mark.parametrize("attempts, told", [(0, 1), (1, 1), (5, 5)])
def test_a_recovery_took_an_attempt_at_least(attempts, told):
    """What the program itself cut is no failure, but one attempt follows it."""
    setback = Setback()
    setback.lost(Reason.RESTART, silent_since=3.0, now=3.0)
    assert setback.recovered(attempts=attempts, opened_at=4.0, now=4.0).attempts == told
