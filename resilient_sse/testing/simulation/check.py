"""All invariants together; the page "Find bugs by simulation" states them in words."""

from __future__ import annotations

from resilient_sse.testing.simulation.asking import check_asking
from resilient_sse.testing.simulation.conduct import check_conduct
from resilient_sse.testing.simulation.delivery import check_events
from resilient_sse.testing.simulation.pacing import check_pacing
from resilient_sse.testing.simulation.record import Record, Violation
from resilient_sse.testing.simulation.telling import check_telling

__all__ = ["check"]


def check(record: Record) -> list[Violation]:
    """Return every broken promise of a run, in the order of time."""
    checks = (check_events, check_conduct, check_pacing, check_asking, check_telling)
    found = [violation for check_each in checks for violation in check_each(record)]
    return sorted(found, key=lambda violation: violation.at)
