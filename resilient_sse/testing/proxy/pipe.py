"""One direction of one connection: reads, waits as the link says, and passes on."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Protocol

import anyio

from resilient_sse.testing.proxy.link import Link
from resilient_sse.testing.proxy.sockets import end_sending, receive, send
from resilient_sse.testing.proxy.toxics import LimitBytes, Reset

if TYPE_CHECKING:
    from socket import socket

    from anyio.abc import TaskGroup

    from resilient_sse.testing.proxy.conditions import Conditions
    from resilient_sse.testing.proxy.counters import Counters
    from resilient_sse.testing.proxy.link import Way

__all__ = ["Pipe", "Relayed"]


class Relayed(Protocol):
    """The connection that a pipe is one half of."""

    def chance(self, way: Way) -> Random:
        """Make the source of randomness of one direction."""
        ...

    def finished(self) -> None:
        """Take note that one direction has come to its end."""
        ...

    def lost(self) -> None:
        """Take note that one side has gone."""
        ...

    def cut(self, *, reset: bool) -> None:
        """End the connection."""
        ...


class Pipe:
    """
    One direction.

    Where nothing is in force, what was read is sent on by the same task at once.  A second task, which waits, is
    started by the first segment that has to.  What is under way is bounded: a sender whose bytes do not get away
    is no longer read from, and so notices.

    Args:
        source: Read from.
        sink: Sent to.
        way: Which direction this is.
        conditions: What is in force.
        counters: Where bytes and lost segments are counted.
        owner: Told how it ends.
        tasks: Where the second task runs.
    """

    def __init__(
        self,
        source: socket,
        sink: socket,
        way: Way,
        *,
        conditions: Conditions,
        counters: Counters,
        owner: Relayed,
        tasks: TaskGroup,
    ) -> None:
        self._source = source
        self._sink = sink
        self._way: Way = way
        self._conditions = conditions
        self._counters = counters
        self._owner = owner
        self._tasks = tasks
        self._link: Link | None = None
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._under_way = 0
        self._changed = anyio.Event()
        self._delivered = 0
        self._is_waiting_task = False

    async def run(self) -> None:
        """Pass on until the source ends or either side is lost."""
        try:
            while data := await receive(self._source):
                await self._pass(data)
            await self._finish()
        except (OSError, anyio.ClosedResourceError):
            self._owner.lost()
        else:
            self._owner.finished()

    async def _pass(self, data: bytes) -> None:
        shape = self._conditions.shapes[self._way]
        if not self._queue and shape.is_clear:
            await self._deliver(memoryview(data))
            return
        self._schedule(data)
        while self._under_way >= max(shape.queue_bytes, 1):
            await self._change()

    def _schedule(self, data: bytes) -> None:
        link = self._link
        if link is None:
            link = self._link = Link(self._conditions.profile, self._owner.chance(self._way).random)
        link.shape = self._conditions.shapes[self._way]
        lost = link.dropped
        arrivals = link.schedule(len(data) or 1, anyio.current_time())  # an end travels, too
        self._counters.dropped += link.dropped - lost
        rest = memoryview(data)
        for at, size in arrivals:
            self._queue.append((at, rest[:size]))
            rest = rest[size:]
        self._under_way += len(data)
        if self._is_waiting_task:
            self._changed.set()
        else:
            self._is_waiting_task = True
            self._tasks.start_soon(self._wait_and_deliver)

    async def _wait_and_deliver(self) -> None:
        try:
            while True:
                while not self._queue:
                    await self._change()
                at, data = self._queue[0]
                delay = at - anyio.current_time()
                if delay > 0:
                    await anyio.sleep(delay)
                await self._deliver(data)
                self._queue.popleft()
                self._under_way -= len(data)
                self._changed.set()
        except (OSError, anyio.ClosedResourceError):
            self._owner.lost()

    async def _change(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()

    async def _deliver(self, data: memoryview) -> None:
        await self._conditions.passable(self._way)
        struck: Reset | LimitBytes | None = None
        if self._way == "down":
            reach = self._delivered + len(data)
            struck = self._conditions.strike(Reset, at=reach) or self._conditions.strike(LimitBytes, at=reach)
            if struck is not None:
                data = data[: max(0, struck.after - self._delivered)]
        if data:
            await send(self._sink, data)
        self._delivered += len(data)
        if self._way == "down":
            self._counters.bytes_down += len(data)
        else:
            self._counters.bytes_up += len(data)
        if struck is not None:
            self._owner.cut(reset=isinstance(struck, Reset))

    async def _finish(self) -> None:
        """Pass the end on: behind everything else, and as late as that."""
        shape = self._conditions.shapes[self._way]
        if self._link is not None or not shape.is_clear:
            self._schedule(b"")
        while self._queue:
            await self._change()
        await anyio.sleep(self._conditions.closing_delay(self._way))
        await self._conditions.passable(self._way)
        end_sending(self._sink)
