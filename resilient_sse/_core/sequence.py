"""Order and gap checks over ids that are numbers."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from resilient_sse._core.dedup import Sighting

__all__ = ["Numbering", "Place", "Sequence", "integers"]

# Long enough for any counter; int() of a digit string is quadratic.
_MAX_DIGITS = 40

# Holes that were reported, so that their events are not taken for a new numbering if they come after all.
_REMEMBERED_HOLES = 100

_UNKNOWN = 0

# A number that leaps further than this ahead is no number of this stream: one absurd id must not count as a loss
# of so many events.  If the next one follows it, numbering has moved there.
_LEAP = 10**9

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
    The last contiguous number of a stream, and hashes of the events before it.

    One hash of 8 bytes for each number is enough to tell a replay, which brings the same contents again, from a
    numbering that starts anew.  `dedup.Deduplicator` says why hashes will do.

    Args:
        numbering: How an id becomes a number.
        window: How many events behind the last contiguous number are remembered, at least 1.
    """

    def __init__(self, numbering: Numbering, window: int = 1) -> None:
        self.numbering = numbering
        self.high: int | None = None
        """The last contiguous number, `None` before the first."""
        self.high_id: str | None = None
        """Its id."""
        self.first: int | None = None
        """The first number that came: what is lower is older than the subscription."""
        self._leapt: int | None = None
        self._window = window
        self._contents = array("q")
        self._resumed: int | None = None
        self._lost: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED_HOLES)

    def restarted(self) -> Sequence:
        """Return a sequence that knows nothing yet, for a numbering that starts anew."""
        return Sequence(self.numbering, self._window)

    def resume_from(self, number: int, event_id: str) -> None:
        """Start behind a given or stored number; its event counts as seen, whatever its content, if it comes."""
        self.high, self.high_id = number, event_id
        self._resumed = number

    def number(self, event_id: str | None) -> int | None:
        """Return the number of an id, or `None` if it has none and takes no part in the checks."""
        if not event_id:
            return None
        try:
            number = self.numbering(event_id)
        except ValueError:
            return None
        if self.high is not None and number - self.high > _LEAP:
            follows = self._leapt is not None and 0 < number - self._leapt <= _LEAP
            if not follows:
                self._leapt = number
                return None
        return number

    def place(self, number: int) -> Place:
        """Say where *number* stands."""
        if self.high is None or number == self.high + 1:
            return Place.NEXT
        return Place.AHEAD if number > self.high else Place.BEHIND

    def look(self, number: int, event: str, data: str) -> Sighting:
        """Say what is known of an event that stands behind the last contiguous number."""
        if self.high is None or number > self.high:
            return Sighting.NEW
        if self.is_resumed(number):
            return Sighting.DUPLICATE
        at = len(self._contents) - 1 - (self.high - number)
        known = self._contents[at] if at >= 0 else _UNKNOWN
        if known == _UNKNOWN:
            return Sighting.NEW
        return Sighting.DUPLICATE if known == _content(event, data) else Sighting.CONFLICT

    def reported(self, number: int) -> bool:
        """Whether *number* belongs to a hole that was given up."""
        return any(low <= number <= high for low, high in self._lost)

    def advance(self, number: int, event_id: str, content: tuple[str, str] | None = None) -> None:
        """Make *number*, the next one, the last contiguous one; *content* is its type and data, if it has any."""
        self.high, self.high_id = number, event_id
        if self.first is None:
            self.first = number
        self._push(_content(*content) if content else _UNKNOWN)

    def lose(self, before: int) -> int | None:
        """Give up the numbers before *before*; return how many they are, `None` if that cannot be believed."""
        if self.high is None:
            return 0
        missing = before - self.high - 1
        self._lost.append((self.high + 1, before - 1))
        self.high = before - 1
        for _ in range(min(missing, self._window)):
            self._push(_UNKNOWN)
        return missing if missing <= _LEAP else None

    def is_resumed(self, number: int) -> bool:
        """Whether *number* is the one the stream started behind, and still in the window."""
        return number == self._resumed and len(self._contents) < self._window

    def _push(self, content: int) -> None:
        self._contents.append(content)
        if len(self._contents) > self._window:
            del self._contents[0]


def _content(event: str, data: str) -> int:
    return hash((event, data)) or 1
