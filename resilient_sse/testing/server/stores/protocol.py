"""What an event store promises; `tests/testing/server/test_stores.py` holds each of them to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from resilient_sse.testing.server.checks import check_whole
from resilient_sse.testing.wire import event as wire_event

__all__ = ["Announce", "EventStore", "StoreError", "StoredEvent", "check_bounds"]


class StoreError(Exception):
    """The store cannot be read or written; the cause says why."""


class StoredEvent:
    """
    One event as it is kept, and as it goes over the wire.

    Args:
        stream: The stream it belongs to: the user's id.
        id: Its number in that stream.
        event: The event type; `None` for none.
        data: The text.
    """

    __slots__ = ("data", "event", "id", "stream", "wire")

    def __init__(self, stream: str, id: int, event: str | None, data: str) -> None:  # noqa: A002 - the standard's name
        self.stream: str = stream
        self.id: int = id
        self.event: str | None = event
        self.data: str = data
        self.wire: bytes = wire_event(data, id=str(id), event=event)
        """The block, written once however many streams it is sent on."""

    def __eq__(self, other: object) -> bool:
        """Compare everything."""
        return isinstance(other, StoredEvent) and self._key() == other._key()

    def __hash__(self) -> int:
        """Agree with `==`."""
        return hash(self._key())

    def __repr__(self) -> str:
        """Show which event it is, not its data."""
        return f"<StoredEvent {self.id} of {self.stream!r}>"

    def _key(self) -> tuple[str, int, str | None, str]:
        return self.stream, self.id, self.event, self.data


Announce: TypeAlias = Callable[[StoredEvent | None], None]
"""Is told of an event that another process has stored; `None` means that some may have been missed."""


class EventStore(Protocol):
    """
    Events in streams, numbered without a hole.

    An id is given out and its event stored in one step, so whoever sees an id can read every event before it.
    Each method raises `StoreError` when the store cannot be reached.
    """

    @property
    def first_id(self) -> int:
        """The id of a stream's first event."""
        ...

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        """
        Store an event under the next id of *stream*.

        Raises:
            ValueError: *event* contains a line end.
        """
        ...

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        """Return the first *limit* events with a larger id, in order."""
        ...

    async def first(self, stream: str) -> int | None:
        """Return the id of the oldest event that is still there, or `None` if there is none."""
        ...

    async def last(self, stream: str) -> int | None:
        """Return the id of the newest event, or `None` if there is none."""
        ...

    async def clear(self) -> None:
        """Forget all streams; numbering begins anew."""
        ...

    async def listen(self, announce: Announce) -> None:
        """Tell *announce* what other processes store, until cancelled; return at once if there can be none."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files; the next use opens them again."""
        ...


def check_bounds(first_id: int, history: int | None) -> None:
    """
    Check what all stores are given.

    Raises:
        TypeError: A value is no whole number.
        ValueError: *first_id* is negative, or *history* is less than 1.
    """
    check_whole("first_id", first_id, least=0)
    if history is not None:
        check_whole("history", history, least=1)
