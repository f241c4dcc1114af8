"""Events in memory: the quickest store, gone with the process."""

from __future__ import annotations

from resilient_sse.testing.server.stores.protocol import Announce, StoredEvent, check_bounds


class MemoryStore:
    """
    A store in memory.

    It grows with what is published unless *history* bounds it.

    Args:
        first_id: The id of a stream's first event.
        history: How many events of each stream are kept; `None` (the default) keeps all.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, *, first_id: int = 1, history: int | None = None) -> None:
        check_bounds(first_id, history)
        self.first_id: int = first_id
        self._history = history
        self._streams: dict[str, list[StoredEvent]] = {}

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        """Store an event under the next id of *stream*; there is no await in here, so it is one step."""
        events = self._streams.setdefault(stream, [])
        stored = StoredEvent(stream, events[-1].id + 1 if events else self.first_id, event or None, data)
        events.append(stored)
        if self._history is not None and len(events) > self._history:
            del events[0]
        return stored

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        """Return the first *limit* events with a larger id, in order; costs no more than those."""
        events = self._streams.get(stream)
        if not events:
            return []
        start = max(id + 1 - events[0].id, 0)
        return events[start : start + limit]

    async def first(self, stream: str) -> int | None:
        """Return the id of the oldest event that is still there, or `None` if there is none."""
        events = self._streams.get(stream)
        return events[0].id if events else None

    async def last(self, stream: str) -> int | None:
        """Return the id of the newest event, or `None` if there is none."""
        events = self._streams.get(stream)
        return events[-1].id if events else None

    async def clear(self) -> None:
        """Forget all streams; numbering begins anew."""
        self._streams.clear()

    async def listen(self, announce: Announce) -> None:
        """Return at once: no other process sees this memory."""

    async def aclose(self) -> None:
        """Do nothing; the events stay."""

    def __repr__(self) -> str:
        """Show how much is held."""
        return f"<MemoryStore of {len(self._streams)} streams>"
