"""What an event store promises; `tests/testing/server/test_stores.py` holds each of them to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from resilient_sse.testing.checks import check_whole
from resilient_sse.testing.wire import event as wire_event


class StoreError(Exception):
    """The store cannot be read or written; the cause says why."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """
    One event as it is kept, and as it goes over the wire.

    Args:
        stream: The stream it belongs to: the user's id.
        id: Its number in that stream.
        event: The event type; `None` for none.
        data: The text.

    Raises:
        TypeError: *event* or *data* is no text.
        ValueError: *event* contains a line end, or a text cannot be encoded as UTF-8.
    """

    stream: str
    id: int
    event: str | None
    data: str = field(repr=False)
    wire: bytes = field(init=False, repr=False, compare=False)
    """The block, written once however many streams it is sent on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wire", wire_event(self.data, id=str(self.id), event=self.event))


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
    """Check what all stores are given."""
    check_whole("first_id", first_id)
    if history is not None:
        check_whole("history", history, least=1)
