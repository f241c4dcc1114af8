"""When a time that was missed is put down to the machine, and how much of it."""

from __future__ import annotations

from resilient_sse.testing.report import GateResult

LATE = 0.1
"""Seconds; from here on, as in the reasons of a report, times say something about the machine as well."""


def passed(verdict: GateResult, late: float) -> bool:
    """
    Whether a gate was passed; of times, with room for a machine whose event loop was *late* by so many seconds.

    The report itself grants none: on a machine that cannot keep the times, they are not kept.  Nor do these tests
    where the machine kept them: in virtual time nobody is late.
    """
    gate, value = verdict.gate, verdict.value
    if verdict.passed or late <= LATE or not isinstance(value, int | float) or gate.relation == ">=":
        return verdict.passed
    low, high = gate.limit if isinstance(gate.limit, tuple) else (0.0, gate.limit)
    if gate.figure == "slowdown":  # what is late may be either of the two lines
        return low / 2 <= value <= 2 * high
    if gate.figure.endswith("_ms"):
        return low <= value <= 2 * high
    return gate.figure.endswith("_s") and low <= value <= high + 2.0
