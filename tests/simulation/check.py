"""All invariants together; `README.md` beside this file states them in words."""

from __future__ import annotations

from tests.simulation.asking import check_asking
from tests.simulation.conduct import check_conduct
from tests.simulation.delivery import check_events
from tests.simulation.pacing import check_pacing
from tests.simulation.record import Record, Violation
from tests.simulation.telling import check_telling

__all__ = ["check"]


def check(record: Record) -> list[Violation]:
    """Return every broken promise of a run, in the order of time."""
    checks = (check_events, check_conduct, check_pacing, check_asking, check_telling)
    found = [violation for check_each in checks for violation in check_each(record)]
    return sorted(found, key=lambda violation: violation.at)
