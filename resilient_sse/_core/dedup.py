"""Which events were seen before: a bounded window over ids and contents."""

from __future__ import annotations

from collections import deque
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
    nothing.  The window keeps 64-bit hashes instead of texts: ids may be hundreds of bytes long.  Python keys
    its string hash with a secret for each process, so no server can aim for a collision; by chance one would
    need some 10**16 events.  The cost is constant per event.

    Args:
        window: How many events to remember, at least 1.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._order: deque[tuple[int, int]] = deque()
        self._ids: dict[int, int] = {}
        self._events: set[int] = set()
        self._resumed_from: str | None = None

    def resume_from(self, event_id: str) -> None:
        """
        Expect the event with this id once more.

        Its content is not known here (the id was stored or given), so the first event that bears it counts
        as seen: servers that replay inclusively send it first.
        """
        if hash(event_id) not in self._ids:
            self._resumed_from = event_id

    def look(self, event_id: str, event: str, data: str) -> Sighting:
        """Say what is known of an event, and remember nothing."""
        if event_id == self._resumed_from:
            return Sighting.DUPLICATE
        if hash((event_id, event, data)) in self._events:
            return Sighting.DUPLICATE
        return Sighting.CONFLICT if hash(event_id) in self._ids else Sighting.NEW

    def remember(self, event_id: str, event: str, data: str) -> None:
        """Put an event into the window, which may push the oldest one out."""
        self._resumed_from = None
        id_hash, event_hash = hash(event_id), hash((event_id, event, data))
        if event_hash in self._events:
            return
        if len(self._order) >= self._window:
            old_id, old_event = self._order.popleft()
            self._events.discard(old_event)
            if self._ids[old_id] == 1:
                del self._ids[old_id]
            else:
                self._ids[old_id] -= 1
        self._order.append((id_hash, event_hash))
        self._events.add(event_hash)
        self._ids[id_hash] = self._ids.get(id_hash, 0) + 1

    def clear(self) -> None:
        """Forget everything: the server has started its numbering anew."""
        self._order.clear()
        self._ids.clear()
        self._events.clear()
        self._resumed_from = None

    def __len__(self) -> int:
        return len(self._order)
