"""The simulation can fail: for each promise there is a fault that breaks it, and is caught."""

import gc

import pytest

from tests.simulation.invariants import check
from tests.simulation.plan import for_plans
from tests.simulation.record import Promise
from tests.simulation.run import play
from tests.simulation.sabotage import SABOTAGES

MOST = 300


class CaughtError(BaseException):
    """Ends the search."""


def examples_until(promise):
    """Return how many plans are played until *promise* is broken, `None` for never."""
    played = 0

    def search(plan):
        nonlocal played
        played += 1
        try:
            record = play(plan)
        except Exception:  # noqa: BLE001 - whatever the client lets through
            broken = {Promise.CRASH}
        else:
            broken = {violation.promise for violation in check(record)}
        if promise in broken:
            raise CaughtError

    try:
        for_plans(search, examples=MOST, first=0, shrink=False)
    except CaughtError:
        return played
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.name)
def test_every_promise_can_be_broken(promise, record_property):
    """A fault in the server, in what the stream is given, or in a method is caught (R8, R27, R28, R64-R66)."""
    with SABOTAGES[promise]():
        found = examples_until(promise)
    gc.collect()  # streams that were sabotaged may complain here, and not in another test

    record_property("examples", found)
    assert found is not None
