"""Order and gap checks over ids that are numbers."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

__all__ = ["Numbering", "Place", "Sequence", "integers"]

# Long enough for any counter; int() of a digit string is quadratic.
_MAX_DIGITS = 40

Numbering: TypeAlias = Callable[[str], int]
"""Turns an id into its number; raises `ValueError` for an id that has none."""


def integers(event_id: str) -> int:
    """
    Number events by their ids: pass this as `sequence` when ids count up by one.

    Raises:
        ValueError: The id is not a decimal integer; such an event takes no part in the checks.
    """
    if not (event_id.isascii() and event_id.removeprefix("-").isdigit()) or len(event_id) > _MAX_DIGITS:
        raise ValueError(f"not an integer id: {event_id[:40]!r}")
    return int(event_id)


class Place(Enum):
    """Where a number stands, seen from the last contiguous one."""

    NEXT = "next"
    """The one that was due, or the first of all."""
    AHEAD = "ahead"
    """Numbers are missing before it."""
    BEHIND = "behind"
    """It was passed already: a replay, or a numbering that fell back."""


class Sequence:
    """
    The last contiguous number of a stream.  Constant memory: a high-water mark and its id.

    Args:
        numbering: How an id becomes a number.
    """

    def __init__(self, numbering: Numbering) -> None:
        self.numbering = numbering
        self.high: int | None = None
        """The last contiguous number, `None` before the first."""
        self.high_id: str | None = None
        """Its id."""

    def number(self, event_id: str | None) -> int | None:
        """Return the number of an id, or `None` if it has none and takes no part in the checks."""
        if not event_id:
            return None
        try:
            return self.numbering(event_id)
        except ValueError:
            return None

    def place(self, number: int) -> Place:
        """Say where *number* stands."""
        if self.high is None or number == self.high + 1:
            return Place.NEXT
        return Place.AHEAD if number > self.high else Place.BEHIND

    def missing_before(self, number: int) -> int:
        """Return how many numbers lie between the last contiguous one and *number*."""
        return 0 if self.high is None else max(number - self.high - 1, 0)

    def advance(self, number: int, event_id: str) -> None:
        """Make *number* the last contiguous one."""
        self.high = number
        self.high_id = event_id
