"""All invariants together; the page "Find bugs by simulation" states them in words."""

from __future__ import annotations

from resilient_sse.testing.simulation.conduct import check_conduct
from resilient_sse.testing.simulation.delivery import check_events
from resilient_sse.testing.simulation.pacing import check_pacing
from resilient_sse.testing.simulation.record import Record, Violation

__all__ = ["check"]


def check(record: Record) -> list[Violation]:
    """Return every broken promise of a run, in the order of time."""
    found = [*check_events(record), *check_conduct(record), *check_pacing(record)]
    return sorted(found, key=lambda violation: violation.at)
