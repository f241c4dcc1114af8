"""
Reading under watch: a notice if it takes long, an end if it takes too long or is wanted elsewhere.

A read over our own transport can be woken and loses nothing by it, so one deadline does for notice and limit,
and the notice runs in between, in the consumer's task.

Any other read would close its connection if it were cancelled, so the notice must run beside it.  A task group
around each read says just that, and costs 45 microseconds, twice the price of the read, for something that
happens once in 25 silent seconds.  On asyncio a timer begins a task when it rings; there the end has a task of
its own, too, which closes the connection before it cancels what is left of the read: httpcore loses a slot of its
pool when `Task.cancel` interrupts the cleaning up behind a cancelled read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import anyio

from resilient_sse._client.backends import Alarm, clock, finish, on_asyncio
from resilient_sse._core.errors import ConnectionLostError

if TYPE_CHECKING:
    from resilient_sse._client.transport import Connection

__all__ = ["Notice", "Outcome", "Watch", "watch_over"]

# Seconds in which a read returns what is there already; a notice that is due at once comes behind that.
_AT_HAND = 1e-9

Outcome: TypeAlias = "tuple[bytes, int] | Literal['cut'] | None"
Notice: TypeAlias = "Callable[[], Coroutine[Any, Any, None]]"


class Watch(Protocol):
    """
    The reads of one connection.

    Attributes:
        is_cut: Whether reading was ended; the last read may have brought something in the same moment.
    """

    is_cut: bool

    async def read(self, *, notice_at: float, limit_at: float) -> Outcome:
        """
        Return what the connection receives, or `"cut"`.

        Args:
            notice_at: When the notice is due.  A notice that has begun is waited for: its callbacks are not cut
                short because the read has ended; cancelling the read cancels it.
            limit_at: When the read is cut.

        Raises:
            ConnectionLostError: The connection failed.
        """
        ...

    def cut(self) -> None:
        """End the read, if there is one, and all that follow; the connection is to be left."""
        ...

    def end(self) -> None:
        """Let go of the timer; the connection was left."""
        ...


def watch_over(connection: Connection, notice: Notice) -> Watch:
    """Return the watch that suits *connection* and the present event loop; *notice* is awaited once a silence."""
    if connection.lasting:
        return LastingWatch(connection, notice)
    return TimerWatch(connection, notice) if on_asyncio() else TaskGroupWatch(connection, notice)


class LastingWatch:
    """Over our own transport."""

    __slots__ = ("_clock", "_connection", "_notice", "is_cut")

    def __init__(self, connection: Connection, notice: Notice) -> None:
        self._connection = connection
        self._notice = notice
        self._clock = clock()
        self.is_cut = False

    async def read(self, *, notice_at: float, limit_at: float) -> Outcome:
        while not self.is_cut:
            outcome = await self._connection.receive(min(notice_at, limit_at))
            if outcome != "woken":
                return outcome
            now = self._clock()
            if now >= limit_at:
                self.is_cut = True
            elif now >= notice_at:
                await self._notice()
                notice_at, limit_at = (
                    math.inf,
                    limit_at + self._clock() - now,
                )  # callbacks take no time of ours
        return "cut"

    def cut(self) -> None:
        self.is_cut = True
        self._connection.wake()

    def end(self) -> None:
        pass


class TimerWatch:
    """Over any other transport, on asyncio."""

    __slots__ = (
        "_alarm",
        "_cancels",
        "_connection",
        "_ending",
        "_limit_at",
        "_loop",
        "_notice",
        "_notice_at",
        "_noticing",
        "_reader",
        "is_cut",
    )

    def __init__(self, connection: Connection, notice: Notice) -> None:
        self._connection = connection
        self._notice = notice
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, self._rung)
        self._notice_at = self._limit_at = math.inf
        self._reader: asyncio.Task[Any] | None = None
        self._noticing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._cancels = False
        self.is_cut = False

    async def read(self, *, notice_at: float, limit_at: float) -> Outcome:
        self._notice_at, self._limit_at = notice_at, limit_at
        if (first := min(notice_at, limit_at)) < math.inf:
            self._alarm.set(first)
        self._reader = reader = asyncio.current_task()
        cancelled = reader.cancelling() if reader is not None else 0
        try:
            return await _received(self._connection)
        except ConnectionLostError:
            if self.is_cut:
                return "cut"
            raise
        except asyncio.CancelledError:
            if self._cancels and reader is not None and reader.uncancel() <= cancelled:
                return "cut"
            if self._noticing is not None:
                self._noticing.cancel()
            raise
        finally:
            self._reader = None
            if (ending := self._ending) is not None:
                await finish(lambda: _settled(ending), within=math.inf)  # closing is bounded in itself
            if self._noticing is not None:
                noticing, self._noticing = self._noticing, None
                await _join(noticing)

    def cut(self) -> None:
        self.is_cut = True
        if self._reader is not None and self._ending is None:
            self._ending = self._loop.create_task(self._end())

    def end(self) -> None:
        self._alarm.cancel()

    def _rung(self) -> None:
        if self._reader is None:
            return
        if self._loop.time() >= self._limit_at:
            self.cut()
            return
        if self._noticing is None and self._loop.time() >= self._notice_at:
            self._noticing = self._loop.create_task(self._notice())
        if self._limit_at < math.inf:
            self._alarm.set(self._limit_at)

    async def _end(self) -> None:
        await self._connection.aclose()
        if self._reader is not None:
            self._cancels = True
            self._reader.cancel()


class TaskGroupWatch:
    """Over any other transport, on trio."""

    __slots__ = ("_connection", "_notice", "_scope", "is_cut")

    def __init__(self, connection: Connection, notice: Notice) -> None:
        self._connection = connection
        self._notice = notice
        self._scope = anyio.CancelScope()
        self.is_cut = False

    async def read(self, *, notice_at: float, limit_at: float) -> Outcome:
        self._scope = anyio.CancelScope(deadline=limit_at)
        failures: list[BaseException] = []
        outcomes: list[Outcome] = []
        done = anyio.Event()

        async def read() -> None:
            try:
                outcomes.append(await self._bare())
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as exc:  # noqa: BLE001 - raised again, without a group around it
                failures.append(exc)
            finally:
                done.set()

        if notice_at >= limit_at:
            return await self._bare()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with anyio.CancelScope(deadline=max(notice_at, anyio.current_time() + _AT_HAND)):
                await done.wait()
            if not done.is_set():
                try:
                    await self._notice()
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as exc:  # noqa: BLE001 - see above
                    failures.append(exc)
        try:
            if failures:
                raise failures[0]
            return outcomes[0]
        finally:
            failures.clear()  # or they would keep this frame, and this frame them, alive

    def cut(self) -> None:
        self.is_cut = True
        self._scope.cancel()

    def end(self) -> None:
        pass

    async def _bare(self) -> Outcome:
        try:
            with self._scope:
                return await _received(self._connection)
        except ConnectionLostError:
            if not self.is_cut:
                raise
        self.is_cut = True
        return "cut"


async def _received(connection: Connection) -> Outcome:
    outcome = await connection.receive()
    return "cut" if outcome == "woken" else outcome  # what does not last is never woken


async def _join(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await finish(lambda: _settled(task), within=math.inf)
        raise


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait until *task* has ended, whatever came of it."""
    await asyncio.wait((task,))
