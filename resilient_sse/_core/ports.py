"""What the client calls and others implement: stores for positions, and observers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from resilient_sse._core.events import Activity
    from resilient_sse._core.recovery import Recovery
    from resilient_sse._core.states import StateChange
    from resilient_sse._core.stats import StreamStats


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    A stored position.

    Attributes:
        last_event_id: The id of the last processed event; `""` after the server cleared it.
        version: Counts the saves of this key, so that a store can tell whose save came in between.
    """

    last_event_id: str
    version: int


class CheckpointStore(Protocol):
    """
    Keeps the position of consumers beyond the life of a process.

    Implementations may be used by several streams at once, each with a key of its own.
    """

    async def load(self, key: str) -> Checkpoint | None:
        """
        Return the position saved under *key*, or `None`.

        Raises:
            CheckpointError: The store cannot be read.
        """
        ...

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position, but only over the one that the caller knows (compare and set).

        Args:
            key: Whose position.
            last_event_id: The id of the last processed event.
            expected: What `load` or the last `save` returned.

        Returns:
            The saved position, to be passed as *expected* next time.

        Raises:
            CheckpointError: Another consumer has saved in between, or the store cannot be written.
        """
        ...


Fact: TypeAlias = "Activity | StateChange | Recovery"
"""What observers are told: everything the stream yields, every change of its state, and every recovery."""


class Observer(Protocol):
    """
    Is told every fact of a stream, in order: the seam for metrics.

    It is called between events, so it should return at once.  What it raises is logged and counted, and the
    stream goes on.
    """

    def __call__(self, fact: Fact, /) -> None:
        """Record *fact*."""
        ...


class Instrument(Protocol):
    """
    Makes an observer for each stream: the seam for metrics that are shared by many streams.

    What no fact tells, such as duplicates, heartbeats and bytes, an exporter reads from the figures.
    """

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """
        Return the observer of a new stream.

        Args:
            stats: The stream's figures, which go on changing; not to be written to.
            url: Where the stream leads, as logs show it: scheme, host, port and path, and neither user information
                nor query, which may hold secrets.  As a label it would make a time series for each address.
        """
        ...
