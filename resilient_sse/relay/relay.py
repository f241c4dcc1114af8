"""
One stream into one log.

A task reads ahead while a batch is being appended, up to the size of a batch; then TCP holds the server back.  So
a batch is as large as the log is slow, and an event never waits for others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from resilient_sse._client.log import logger
from resilient_sse._client.stream import take_ready, undecoded, where
from resilient_sse._core.checks import check, check_callable, check_count
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse.relay.log import Position

if TYPE_CHECKING:
    from resilient_sse._client.stream import ResilientStream
    from resilient_sse._core.events import ServerSentEvent
    from resilient_sse.relay.log import Log

__all__ = ["BATCH", "Relay", "RelayError"]

BATCH = 500
_BATCH_CHARACTERS = 1_000_000

_REFUSALS = {
    "fenced": "its lease has gone to another",
    "foreign": "its name holds what no relay has written; choose another name",
}

_name: ContextVar[str] = ContextVar("_name", default="")
"""The name of the log that the present task copies into."""


def _add_name(record: logging.LogRecord) -> bool:
    """Have what a stream logs name its log: the URLs of two may differ in the query only, which no log shows."""
    if name := _name.get():
        record.sse_stream = name
        if repr(name) not in record.getMessage():
            record.msg = f"{name!r}, ".replace("%", "%%") + str(record.msg)
    return True


logger.addFilter(_add_name)


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
        check_source: Whether a log is refused that was copied from another URL: another scheme, host, port or
            path.

    Raises:
        TypeError: *open_stream* cannot be called, or a value is of another type.
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
        batch: int = BATCH,
        check_source: bool = True,
    ) -> None:
        check_callable("open_stream", open_stream)
        check_count("batch", batch, least=1, optional=False)
        check("check_source", check_source, bool, "True or False")
        if not name:
            raise ValueError("name must not be empty: it is the key of the log")
        self._open = open_stream
        self._log = log
        self._name = name
        self._batch = batch
        self._check_source = check_source
        self.stream: ResilientStream | None = None
        self.position: Position = Position()
        self.appended: int = 0
        self.rewound: int = 0
        self._warned = False

    async def run(self, *, lease: str = "", behind: Position | None = None) -> None:
        """
        Copy until the stream ends.

        Args:
            lease: What must stand in the log's lease for an append to be accepted; `""` asks for none.
            behind: How far the log goes, if the caller knows; `None` asks the log.

        Raises:
            RelayError: Another relay appends to this log, or the lease has gone to another.
            Exception: What the stream raises, and what the log's client raises when it refuses: it is out of
                memory, say, or the name holds something that is no log.
        """
        self.position = await self._log.load(self._name) if behind is None else behind
        began = resume_after = self.position.last_event_id
        before = _name.set(self._name)
        try:
            while True:
                async with self._open(resume_after or None) as self.stream:
                    self._settle_source(where(self.stream))
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
        finally:
            _name.reset(before)

    def _settle_source(self, source: str) -> None:
        found = self.position.source
        if self._check_source and found not in ("", source):
            raise RelayError(
                f"the log {self._name!r} was copied from {found}, and not from {source}: choose another name, or "
                "check_source=False (--any-source) if it is the same stream"
            )
        self.position = replace(self.position, source=source)

    async def _copy(self, stream: ResilientStream, lease: str) -> bool:
        """Copy until the stream ends (true), or the log turns out to have lost its end (false)."""
        ahead = _Ahead(stream, self._batch)
        failure: Exception | None = None
        ended = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ahead.read)
            try:
                while ended and (events := await ahead.take()):
                    ended = await self._append(events, lease)
            except Exception as exc:  # noqa: BLE001 - out of the group as it is, not in a group of its own
                failure = exc
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return ended

    async def _append(self, events: list[ServerSentEvent], lease: str) -> bool:
        """Append a batch, or find that the log has lost its end (false)."""
        if not events[-1].last_event_id and not self._warned:
            self._warned = True
            logger.warning(
                "the events for the log %r have no ids: what a reconnect repeats or loses nobody can tell",
                self._name,
            )
        outcome, position = await self._log.append(self._name, events, behind=self.position, lease=lease)
        if outcome in ("done", "rewound"):
            self.position = replace(position, source=self.position.source)
            self.appended += len(events) if outcome == "done" else 0
            return outcome == "done"
        why = _REFUSALS.get(outcome, "another relay appends to it")
        raise RelayError(f"the log {self._name!r} cannot be used: {why}")


class _Ahead:
    """Reads a stream into a buffer that holds a batch."""

    def __init__(self, stream: ResilientStream, batch: int) -> None:
        undecoded(stream)  # a log holds events as they came
        self._stream = stream
        self._batch = batch
        self._events: deque[ServerSentEvent] = deque()
        self._size = 0  # characters
        self._ended = False
        self._error: Exception | None = None
        self._changed = anyio.Event()

    async def read(self) -> None:
        """Read until the stream ends."""
        try:
            async for event in self._stream:
                for each in (event, *take_ready(self._stream, self._batch)):
                    self._events.append(each)
                    self._size += len(each.data)
                self._changed.set()
                while len(self._events) >= self._batch or self._size >= _BATCH_CHARACTERS:
                    self._changed = anyio.Event()
                    await self._changed.wait()
        except Exception as exc:  # noqa: BLE001 - `take` raises it, behind the events before it
            self._error = exc
        self._ended = True
        self._changed.set()

    async def take(self) -> list[ServerSentEvent]:
        """Wait for events and take a batch of them; none when the stream has ended."""
        while not self._events and not self._ended:
            self._changed = anyio.Event()
            await self._changed.wait()
        if not self._events and self._error is not None:
            raise self._error
        taken: list[ServerSentEvent] = []
        size = 0
        while self._events and len(taken) < self._batch and size < _BATCH_CHARACTERS:
            taken.append(event := self._events.popleft())
            size += len(event.data)
        self._size -= size
        self._changed.set()
        return taken
