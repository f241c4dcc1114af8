"""The percentile of the load run and of the report; the report's checker has one of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["percentile"]


def percentile(values: Iterable[float], percent: float) -> float | None:
    """
    Return the nearest-rank percentile: the smallest value that *percent* of all values do not exceed.

    Nearest rank, and not interpolation, because a gate on a latency must name a latency that happened.

    Args:
        values: The measurements, in any order.
        percent: From 0 to 100.

    Returns:
        The value, or `None` if there are none.

    Raises:
        ValueError: *percent* is out of its range.
    """
    if not 0 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"percent must be from 0 to 100, not {percent!r}")
    ordered = sorted(values)
    if not ordered:
        return None
    # Exactly, in integers where possible: 99 % of 200 is the 198th, and 0.99 * 200 is a little more than that.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1]
