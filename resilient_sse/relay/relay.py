"""
One stream into one log.

Events are read as they come; while a batch is being appended the next gathers in the connection, and TCP holds the
server back when that is full.  So a batch is as large as the log is slow, and an event never waits for others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resilient_sse._client.log import logger
from resilient_sse._core.checks import check_callable, check_count
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse.relay.log import Position

if TYPE_CHECKING:
    from resilient_sse._client.stream import ResilientStream
    from resilient_sse._core.events import ServerSentEvent
    from resilient_sse.relay.log import Log

__all__ = ["Relay", "RelayError"]

_BATCH_CHARACTERS = 1_000_000


class RelayError(ResilientSSEError):
    """A relay cannot go on: another one appends to its log, or the log is none."""


class Relay:
    """
    Copies the events of a stream into a log: one copy of each, in order, whatever is killed when.

    The position is the log's own: where it ends is where the stream is resumed.  When a log comes back with less
    than it had accepted, after a fail-over or a restart without its last second, the relay reads again from where
    it ends now.  That takes a server that resumes by id, as everything here does.

    Args:
        open_stream: Returns the stream behind an id, `None` for a log that is empty:
            `lambda position: ResilientStream(url, last_event_id=position, max_retries=None)`.
        log: Where to append.
        name: The name of the log.
        batch: The most events appended in one step.

    Raises:
        TypeError: *open_stream* cannot be called.
        ValueError: *name* is empty, or *batch* below 1.

    Attributes:
        stream: The stream that is being read, for its state and figures; `None` before `run`.
        position: How far the log goes.
        appended: How many events this relay has appended.
        rewound: How often the log came back with less.
    """

    def __init__(
        self,
        open_stream: Callable[[str | None], ResilientStream],
        log: Log,
        name: str,
        *,
        batch: int = 500,
    ) -> None:
        check_callable("open_stream", open_stream)
        check_count("batch", batch, least=1, optional=False)
        if not name:
            raise ValueError("name must not be empty: it is the key of the log")
        self._open = open_stream
        self._log = log
        self._name = name
        self._batch = batch
        self.stream: ResilientStream | None = None
        self.position = Position()
        self.appended = 0
        self.rewound = 0

    async def run(self, *, lease: str = "") -> None:
        """
        Copy until the stream ends.

        Args:
            lease: What must stand in the log's lease for an append to be accepted; `""` asks for none.

        Raises:
            RelayError: Another relay appends to this log, or the lease has gone to another.
            Exception: What the stream raises, and what the log's client raises when it refuses: it is out of
                memory, say, or the name holds something that is no log.
        """
        self.position = await self._log.load(self._name)
        began = resume_after = self.position.last_event_id
        while True:
            async with self._open(resume_after or None) as self.stream:
                if await self._copy(self.stream, lease):
                    return
            self.rewound += 1
            logger.warning(
                "the log %r has lost its end: it goes to event %d; reading again from there",
                self._name,
                self.position.ordinal,
            )
            # Of a log that has lost all, what this relay has copied can still be read again.
            resume_after = self.position.last_event_id if self.position.ordinal else began

    async def _copy(self, stream: ResilientStream, lease: str) -> bool:
        """Copy until the stream ends (true), or the log turns out to have lost its end (false)."""
        async for event in stream:
            outcome, self.position = await self._append(stream, event, lease)
            if outcome == "rewound":
                return False
            if outcome != "done":
                why = (
                    "its lease has gone to another" if outcome == "fenced" else "another relay appends to it"
                )
                raise RelayError(f"the log {self._name!r} cannot be gone on with: {why}")
        return True

    async def _append(
        self, stream: ResilientStream, first: ServerSentEvent, lease: str
    ) -> tuple[str, Position]:
        events, size = [first], len(first.data)
        while len(events) < self._batch and size < _BATCH_CHARACTERS:
            more = stream._take_ready(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            if not more:
                break
            events += more
            size += len(more[0].data)
        outcome, position = await self._log.append(self._name, events, behind=self.position, lease=lease)
        if outcome == "done":
            self.appended += len(events)
        return outcome, position
