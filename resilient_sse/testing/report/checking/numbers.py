"""How the checker rounds: milliseconds to a tenth, seconds to a thousandth, percentages to a hundredth."""

from __future__ import annotations

__all__ = ["percent", "thousand", "thousandth"]


def percent(part: int, whole: int) -> float | None:
    """Return a share in percent, `None` of nothing."""
    return round(part / whole * 100, 2) if whole > 0 else None


def thousand(seconds: float | None) -> float | None:
    """Return seconds as milliseconds."""
    return round(1000 * seconds, 1) if seconds is not None else None


def thousandth(seconds: float | None) -> float | None:
    """Return seconds to a thousandth."""
    return round(seconds, 3) if seconds is not None else None
