"""
Work that goes on while the consumer's task does something else: a wait for bytes, or for the head of an answer.

A transport that is not ours closes the connection of a read that is cancelled.  So work that is woken is left as
it is, and the next call goes on with it; meanwhile the consumer's task can tell of the silence.  What it opened,
scopes of anyio above all, stays open around that, and has to be closed by `end` before the task goes on.

On asyncio such a scope must have no deadline, or it would strike whatever the task waits for by then.  httpcore's
have none, for we ask for no timeout of reads.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from resilient_sse._client.backends import Alarm, StandIn, hold, on_asyncio

__all__ = ["WOKEN", "Source", "reads_of", "waits_for"]

WOKEN: Final = b""
"""What a read returns if nothing came: an empty chunk."""

# Seconds in which a read returns what is there already; being woken at once comes behind that.
_AT_HAND: Final = 1e-9


class Source(Protocol):
    """
    The reads of one response.

    Attributes:
        since: When the last read began to wait, on the clock of the event loop; `None` if it had not to.
        pending: Whether a read was woken and is still under way.
    """

    since: float | None
    pending: bool

    def read(self, patience: float, /) -> Awaitable[bytes | None]:
        """Return what has come, `None` at the end; nothing after so many seconds, or after `wake`."""
        ...

    def wake(self) -> None:
        """End the present wait."""
        ...

    async def end(self) -> None:
        """Cancel a pending read, and see it to its end; in the task that began it."""
        ...


class Held:
    """On asyncio: the work runs in the consumer's task, which waits for a stand-in of what the work waits for."""

    __slots__ = ("_alarm", "_begin", "_loop", "_read", "_stand_in", "_waited", "pending", "since")

    def __init__(self, begin: Callable[[], Awaitable[Any]]) -> None:
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, self.wake)
        self._read: Any = None
        self._waited: Any = None
        self._stand_in: StandIn | None = None
        self.since: float | None = None
        self.pending = False

    @types.coroutine
    def read(self, patience: float, /) -> Generator[Any, Any, Any]:
        read: Any = self._read or self._begin()
        waited = self._waited
        self._read, self._waited, self.since, self.pending = None, None, None, False
        thrown: BaseException | None = None
        try:
            while True:
                if waited is None or thrown is not None or waited.done():
                    waited = read.send(None) if thrown is None else read.throw(thrown)
                    thrown = None
                if self.since is None:
                    self.since = self._loop.time()
                    self._alarm.set(self.since + patience)
                self._stand_in = waited and StandIn(waited, waited.cancel)  # nothing is sleep(0)
                try:
                    yield self._stand_in
                except asyncio.CancelledError as exc:
                    if waited is None or not waited.cancelled():
                        thrown = exc
                except BaseException as exc:  # noqa: BLE001 - the read gets it
                    if waited is None or not waited.done():
                        thrown = exc
                if thrown is None and waited is not None and not waited.done():
                    self._read, self._waited, self.pending = read, waited, True
                    return WOKEN
        except StopIteration as end:
            return end.value
        finally:  # an error refers to this frame; nothing here may refer back
            self._stand_in = read = waited = thrown = None

    def wake(self) -> None:
        if self._stand_in is not None:
            self._stand_in.wake()

    async def end(self) -> None:
        self._alarm.cancel()
        read, self._read, self._waited, self.pending = self._read, None, None, False
        if read is not None:
            await hold(_unwound(read), lambda: True)


async def _unwound(read: Any) -> None:  # noqa: ANN401 - what an asynchronous iterator returns
    with suppress(asyncio.CancelledError, Exception):
        await _cancelled(read)


@types.coroutine
def _cancelled(read: Any) -> Generator[Any, Any, None]:  # noqa: ANN401 - see above
    step = read.throw(asyncio.CancelledError())
    while True:
        try:
            sent = yield step
        except BaseException as exc:  # noqa: BLE001 - the read gets it
            step = read.throw(exc)
        else:
            step = read.send(sent)


class Child:
    """On any other event loop: the work runs in a child task, in the context of its parent."""

    __slots__ = ("_begin", "_data", "_done", "_failure", "_scope", "_tasks", "pending", "since")

    def __init__(self, begin: Callable[[], Awaitable[Any]]) -> None:
        self._begin = begin
        self._done = anyio.Event()
        self._data: Any = None
        self._failure: BaseException | None = None
        self._scope: anyio.CancelScope | None = None
        self._tasks: TaskGroup | None = None
        self.since: float | None = None
        self.pending = False

    async def read(self, patience: float, /) -> Any:  # noqa: ANN401 - what the work returns
        self.since = anyio.current_time()
        if self._tasks is None:
            self._done = anyio.Event()
            self._tasks = await anyio.create_task_group().__aenter__()
            self._tasks.start_soon(self._run, self._done, _own_task().context)
            self.pending = True
        try:
            with anyio.CancelScope(deadline=self.since + max(patience, _AT_HAND)) as self._scope:
                await self._done.wait()
        except BaseException:
            await self.end()
            raise
        finally:
            self._scope = None
        if not self._done.is_set():
            return WOKEN
        data, failure = self._data, self._failure
        await self.end()
        if failure is None:
            return data
        try:
            raise failure
        finally:
            del failure  # it refers to this frame

    async def _run(self, done: anyio.Event, context: Context) -> None:
        try:
            _own_task().context = context  # from the next step on
            await checkpoint()
            self._data = await self._begin()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001 - raised again, without a group around it
            self._failure = exc
        finally:
            done.set()

    def wake(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def end(self) -> None:
        tasks, self._tasks = self._tasks, None
        self.pending, self._failure = False, None
        if tasks is not None:
            if not self._done.is_set():
                tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)


def _own_task() -> Any:  # noqa: ANN401 - what trio calls a task
    return sys.modules["trio"].lowlevel.current_task()


def reads_of(chunks: AsyncIterator[bytes]) -> Source:
    """Return the reads that suit the present event loop."""
    return waits_for(partial(anext, chunks, None))


def waits_for(begin: Callable[[], Awaitable[Any]]) -> Held | Child:
    """Return what does the work of *begin*, each time it is asked, as it suits the present event loop."""
    return Held(begin) if on_asyncio() else Child(begin)
