"""Which events were seen before: a bounded window over ids and contents."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from enum import Enum

__all__ = ["Deduplicator", "Sighting"]


class Sighting(Enum):
    """What the window knows of an event."""

    NEW = "new"
    """Its id was not seen."""
    DUPLICATE = "duplicate"
    """The same id with the same content was seen."""
    CONFLICT = "conflict"
    """The same id was seen with other content."""


class Deduplicator:
    """
    A window over the last events that carried an id of their own.

    An event is known by its id together with its type and data, so a server that uses an id twice loses
    nothing.  The window keeps two 64-bit hashes an event instead of texts: ids may be hundreds of bytes long.
    Python keys its string hash with a secret for each process, so no server can aim for a collision; by chance
    one would need some 10**16 events.

    The hashes lie in sorted arrays and in rings, 32 bytes an event: a set and a dict of the same hashes take ten
    times that, which counts when a process holds thousands of streams.  The cost of an event grows with the
    logarithm of the window, and with moving 8 bytes of memory for each event in it.

    Args:
        window: How many events to remember, at least 1.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._oldest = 0
        self._id_ring, self._event_ring = array("q"), array("q")
        self._ids, self._events = array("q"), array("q")
        self._resumed_from: str | None = None
        self._resumed_for = 0

    def resume_from(self, event_id: str) -> None:
        """
        Expect the event with this id once more.

        Its content is not known here (the id was stored or given), so the first event that bears it counts
        as seen, for servers that replay inclusively.
        """
        if not _holds(self._ids, hash(event_id)):
            self._resumed_from, self._resumed_for = event_id, self._window

    def look(self, event_id: str, event: str, data: str) -> Sighting:
        """Say what is known of an event, and remember nothing."""
        if event_id == self._resumed_from:
            return Sighting.DUPLICATE
        if not _holds(self._ids, hash(event_id)):
            return Sighting.NEW
        known = _holds(self._events, hash((event_id, event, data)))
        return Sighting.DUPLICATE if known else Sighting.CONFLICT

    def remember(self, event_id: str, event: str, data: str) -> None:
        """Put an event into the window, which may push the oldest one out."""
        if event_id == self._resumed_from:
            self._resumed_from = None
        id_hash, event_hash = hash(event_id), hash((event_id, event, data))
        if _holds(self._events, event_hash):
            return
        self._resumed_for -= 1
        if not self._resumed_for:
            self._resumed_from = None
        if len(self._event_ring) < self._window:
            self._id_ring.append(id_hash)
            self._event_ring.append(event_hash)
        else:
            at = self._oldest
            _remove(self._ids, self._id_ring[at])
            _remove(self._events, self._event_ring[at])
            self._id_ring[at], self._event_ring[at] = id_hash, event_hash
            self._oldest = (at + 1) % self._window
        insort(self._ids, id_hash)
        insort(self._events, event_hash)

    def clear(self) -> None:
        """Forget everything: the server has started its numbering anew."""
        self._oldest = 0
        for hashes in (self._id_ring, self._event_ring, self._ids, self._events):
            del hashes[:]
        self._resumed_from = None

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._event_ring)


def _holds(hashes: array[int], wanted: int) -> bool:
    at = bisect_left(hashes, wanted)
    return at < len(hashes) and hashes[at] == wanted


def _remove(hashes: array[int], unwanted: int) -> None:
    del hashes[bisect_left(hashes, unwanted)]
