"""
One read under watch: a notice if it takes long, an end if it takes too long or is wanted elsewhere.

Cancelling a read would close its connection, so the notice must run beside it.  A task group around each read
says just that, and costs 45 microseconds and several turns of the event loop, twice the price of the read, for
something that happens once in 25 silent seconds.  asyncio can set a timer for one microsecond and start a task
only when it rings; the other backends have no such timer and pay the task group.

On asyncio the end has a task of its own, too.  It closes the connection before it cancels what is left of the
read: httpcore loses a slot of its pool when `Task.cancel` interrupts the cleaning up behind a cancelled read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from resilient_sse._client.backends import on_asyncio, wait_out
from resilient_sse._core.errors import ConnectionLostError, without_frames

if TYPE_CHECKING:
    from resilient_sse._client.transport import Connection

__all__ = ["Outcome", "Watch"]

Outcome: TypeAlias = "tuple[bytes, int] | Literal['cut'] | None"


class Watch:
    """
    One read.

    Args:
        connection: What is read.
        notice: Awaited once, beside the read, after *notice_after* seconds.  A notice that has begun is waited
            for: its callbacks are not cut short because the read has ended; cancelling the read cancels it.
        notice_after: Seconds; the notice is left out if this is not less than *limit*.
        limit: Seconds after which the read is cut.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        notice: Callable[[], Coroutine[Any, Any, None]],
        notice_after: float,
        limit: float,
    ) -> None:
        self._connection = connection
        self._notice = notice
        self._notice_after = notice_after if notice_after < limit else math.inf
        self._limit = limit
        self._scope = anyio.CancelScope()
        self.is_cut = False
        """Whether the read was ended; it may have brought something in the same moment."""
        self._begun: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._asyncio = on_asyncio()

    def cut(self) -> None:
        """End the read, which then returns `"cut"`; its connection is lost."""
        self.is_cut = True
        if not self._asyncio:
            self._scope.cancel()
        elif self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def read(self) -> Outcome:
        """
        Return what the connection receives, or `"cut"`.

        Raises:
            ConnectionLostError: The connection failed.
        """
        try:
            if self._asyncio:
                return await self._by_timer()
            self._scope.deadline = anyio.current_time() + self._limit
            if self._notice_after == math.inf:
                return await self._bare()
            return await self._by_task_group()
        except ConnectionLostError as error:
            if self.is_cut:
                without_frames(error)
                return "cut"
            raise

    async def _bare(self) -> Outcome:
        with self._scope:
            return await self._connection.receive()
        self.is_cut = True
        return "cut"

    async def _by_timer(self) -> Outcome:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        if self._limit < math.inf:
            timers.append(loop.call_later(self._limit, self.cut))
        if self._notice_after < math.inf:
            timers.append(loop.call_later(self._notice_after, self._begin))
        try:
            return await self._bare()
        except asyncio.CancelledError:
            if self._begun is not None:
                self._begun.cancel()
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if self._ending is not None:
                await wait_out(self._ending)
            if self._begun is not None:
                await _join(self._begun)

    def _begin(self) -> None:
        self._begun = asyncio.get_running_loop().create_task(self._notice())

    async def _end(self) -> None:
        await self._connection.aclose()
        self._scope.cancel()

    async def _by_task_group(self) -> Outcome:
        asleep = anyio.CancelScope()
        failures: list[BaseException] = []
        outcomes: list[Outcome] = []

        async def watch() -> None:
            with asleep:
                await anyio.sleep(self._notice_after)
            if not asleep.cancelled_caught:
                await _caught(self._notice, failures)

        async def read() -> None:
            outcomes.append(await self._bare())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await _caught(read, failures)
            asleep.cancel()
        try:
            if failures:
                raise failures[0]
            return outcomes[0]
        finally:
            failures.clear()  # or they would keep this frame, and this frame them, alive


async def _join(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await wait_out(task)
        raise


async def _caught(work: Callable[[], Coroutine[Any, Any, None]], failures: list[BaseException]) -> None:
    """Carry what *work* raises past a task group, which would wrap it; cancellation must stay what it is."""
    try:
        await work()
    except anyio.get_cancelled_exc_class():
        raise
    except BaseException as exc:  # noqa: BLE001 - raised again by the caller
        failures.append(exc)
