"""One circuit: when it opens, who is let through, and every end that a probe can have."""

import pytest

from resilient_sse._core.circuit import Circuit, CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState
SETTLE = 5.0


def opened(limit=3, at=0.0):
    """Return a circuit that so many failures have opened."""
    circuit = Circuit(limit, 30.0)
    for who in range(limit):
        assert circuit.wait(who, at) == 0
        circuit.failed(who, at)
    return circuit


def probing():
    """Return an open circuit whose probe was let through when it was due."""
    circuit = opened()
    assert circuit.wait("probe", 30.0) == 0
    return circuit


def test_it_opens_after_so_many_failures_in_a_row():
    """P35, R196: the last of them opens it; whoever asks learns when it is his turn."""
    circuit = Circuit(3, 30.0)
    for who, state in ((1, CLOSED), (2, CLOSED), (1, OPEN)):
        circuit.failed(who, 10.0)
        assert circuit.state(10.0) is state
    assert circuit.wait(4, 15.0) == 25.0


def test_a_proven_connection_ends_the_row():
    """What counts is failures in a row, over all streams."""
    circuit = Circuit(2, 30.0)
    circuit.failed(1, 0.0)
    circuit.opened(2, 0.0, settle_after=SETTLE)
    circuit.proved(2, 1.0)
    circuit.failed(1, 2.0)
    assert circuit.state(2.0) is CLOSED


@pytest.mark.parametrize("later, state", [(4.9, OPEN), (5.0, CLOSED)])
def test_a_connection_that_holds_ends_the_row(later, state):
    """A bare 200 proves nothing; one that holds for as long as the retry budget asks does, without an event."""
    circuit = Circuit(2, 30.0)
    circuit.failed(1, 0.0)
    circuit.opened(2, 0.0, settle_after=SETTLE)
    circuit.failed(1, later)
    assert circuit.state(later) is state


def test_one_probe_at_a_time():
    """P35: when it is due, the first to ask is let through, and the others wait."""
    circuit = opened()
    assert circuit.wait(1, 29.0) == 1.0
    assert circuit.wait(2, 30.0) == 0
    assert circuit.state(30.0) is HALF_OPEN
    assert circuit.wait(1, 31.0) > 0


def test_a_failed_probe_opens_it_again():
    """P35: for as long as before, from the failure on."""
    circuit = probing()
    circuit.failed("probe", 33.0)
    assert circuit.state(33.0) is OPEN
    assert circuit.wait(1, 33.0) == 30.0


def test_a_proven_probe_closes_it():
    """P35: then all may come, and the count begins anew."""
    circuit = probing()
    circuit.opened("probe", 31.0, settle_after=SETTLE)
    assert circuit.state(31.0) is HALF_OPEN
    circuit.proved("probe", 32.0)
    assert circuit.state(32.0) is CLOSED
    circuit.failed(1, 32.0)
    assert circuit.state(32.0) is CLOSED


def test_a_quiet_probe_closes_it_by_time():
    """A server may have nothing to say for hours."""
    circuit = probing()
    circuit.opened("probe", 31.0, settle_after=SETTLE)
    assert circuit.state(35.9) is HALF_OPEN
    assert circuit.state(36.0) is CLOSED


def test_a_probe_whose_connection_is_lost_too_soon_has_failed():
    """A server that accepts and closes is not well."""
    circuit = probing()
    circuit.opened("probe", 31.0, settle_after=SETTLE)
    circuit.failed("probe", 31.5)
    assert circuit.wait(1, 31.5) == 30.0


def test_a_probe_that_tells_nothing_gives_its_place_to_the_next():
    """Cancelled, closed, refused for itself alone: the next may try at once."""
    circuit = probing()
    circuit.left("probe", 31.0)
    assert circuit.state(31.0) is OPEN
    assert circuit.wait(1, 31.0) == 0


def test_a_probe_of_which_nothing_is_heard_loses_its_place():
    """A stream without timeouts, or one that nobody iterates any more, keeps the others waiting for so long."""
    circuit = probing()
    assert circuit.wait(1, 59.0) == 1.0
    assert circuit.wait(1, 60.0) == 0
    for late in (circuit.proved, circuit.failed, circuit.left):
        late("probe", 61.0)
        assert circuit.state(61.0) is HALF_OPEN
        assert circuit.wait(2, 61.0) == 29.0


def test_a_probe_that_asks_again_has_its_place():
    """A stream has one attempt at a time, so its probe is over."""
    assert probing().wait("probe", 31.0) == 0


def test_attempts_from_before_the_opening_decide_nothing():
    """What was under way tells of the past: it neither closes the circuit nor keeps it open for longer."""
    circuit = opened()
    circuit.failed("late", 20.0)
    circuit.opened("other", 20.0, settle_after=SETTLE)
    circuit.proved("other", 20.0)
    assert circuit.wait(1, 20.0) == 10.0


def test_whoever_is_forced_is_the_probe():
    """A program that asks for a connection now knows more than the circuit does."""
    circuit = opened()
    assert circuit.wait(1, 10.0, forced=True) == 0
    assert circuit.wait(2, 11.0) == 29.0
    circuit.opened(1, 11.0, settle_after=SETTLE)
    circuit.proved(1, 11.0)
    assert circuit.state(11.0) is CLOSED


def test_each_turn_is_told_once():
    """One line in the log for each opening and each closing, and none for the probes that fail between them."""
    circuit = opened()
    assert (circuit.turned(0.0), circuit.turned(0.0)) == (True, None)
    circuit.wait("probe", 30.0)
    circuit.failed("probe", 30.0)
    assert circuit.turned(30.0) is None
    circuit.wait("probe", 60.0)
    circuit.opened("probe", 60.0, settle_after=SETTLE)
    circuit.proved("probe", 61.0)
    assert (circuit.turned(61.0), circuit.turned(61.0)) == (False, None)
