"""The percentile of the load run and of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def percentile(values: Iterable[float], percent: float) -> float | None:
    """
    Return the smallest value that *percent* of all values do not exceed, or `None` if there are none.

    Nearest rank, and not interpolation, because a gate on a latency must name a latency that happened.
    """
    ordered = sorted(values)
    # Exactly, in integers where possible: 99 % of 200 is the 198th, and 0.99 * 200 is a little more than that.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1] if ordered else None
