"""All promises of a stream; `README.md` beside this folder states them in words."""

from tests.simulation.invariants.delivery import check_delivery
from tests.simulation.invariants.loss import check_loss
from tests.simulation.invariants.pacing import check_pacing
from tests.simulation.invariants.requests import check_requests
from tests.simulation.invariants.states import check_states


def check(record):
    """Return every broken promise of a run, in the order of time."""
    found = []
    for process in record.processes():
        found += check_delivery(process)
        found += check_loss(process)
    for check_each in (check_states, check_pacing, check_requests):
        found += check_each(record)
    return sorted(found, key=lambda violation: violation.at)
