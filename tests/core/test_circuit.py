"""What a circuit makes of news that come late; the rest is seen by streams, in `tests/client/test_breaker.py`."""

import pytest

from resilient_sse._core.circuit import Circuit, CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState
SETTLE = 5.0


@pytest.fixture
def opened():
    """Return a circuit that three failures have opened at 0."""
    circuit = Circuit(3, 30.0)
    for who in range(3):
        circuit.failed(who, 0.0)
    return circuit


@pytest.mark.parametrize("later, state", [(4.9, OPEN), (5.0, CLOSED)])
def test_a_connection_that_holds_ends_the_row(later, state):
    """P35: a bare 200 proves nothing; one that holds for as long as the retry budget asks does so silently."""
    circuit = Circuit(2, 30.0)
    circuit.failed(1, 0.0)
    circuit.opened(2, 0.0, settle_after=SETTLE)
    circuit.failed(1, later)
    assert circuit.state(later) is state


def test_a_probe_of_which_nothing_is_heard_loses_its_place(opened):
    """R196: the next one gets it, and what the first tells at last decides nothing."""
    assert opened.wait("probe", 30.0) == 0
    assert opened.wait("probe", 30.0) == 0  # a stream has one attempt at a time, so its first is over
    assert (opened.wait(1, 59.0), opened.wait(1, 60.0)) == (1.0, 0)
    for late in (opened.proved, opened.failed, opened.left):
        late("probe", 61.0)
        assert opened.state(61.0) is HALF_OPEN
        assert opened.wait(2, 61.0) == 29.0


def test_attempts_from_before_the_opening_decide_nothing(opened):
    """P35: what was under way neither closes the circuit nor keeps it open for longer."""
    opened.failed("late", 20.0)
    opened.opened("other", 20.0, settle_after=SETTLE)
    opened.proved("other", 20.0)
    assert opened.wait(1, 20.0) == 10.0
