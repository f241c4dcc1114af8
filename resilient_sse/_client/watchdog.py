"""
A read with a notice: something to do if it takes long, without disturbing the read.

Cancelling a read would close its connection, so the notice must run beside it.  A task group around each read
says just that, and costs 45 microseconds and several turns of the event loop, twice the price of the read, for
something that happens once in 25 silent seconds.  asyncio can set a timer for one microsecond and start a task
only when it rings; the other backends have no such timer and pay the task group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

__all__ = ["with_notice"]

T = TypeVar("T")

# A callback that is cancelled and will not end is left alone after this many seconds.
_LAST_WORDS_SECONDS = 2.0


async def with_notice(
    read: Callable[[], Awaitable[T]], *, after: float, notice: Callable[[], Coroutine[Any, Any, None]]
) -> T:
    """
    Await *read()*, and await *notice()* beside it once *after* seconds have passed.

    A notice that has begun is waited for: its callbacks are not cut short because bytes arrived.

    Raises:
        Exception: What *read* raises.
    """
    if isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        return await _by_timer(read, after, notice)
    return await _by_task_group(read, after, notice)


async def _by_timer(
    read: Callable[[], Awaitable[T]], after: float, notice: Callable[[], Coroutine[Any, Any, None]]
) -> T:
    loop = asyncio.get_running_loop()
    begun: list[asyncio.Task[None]] = []
    timer = loop.call_later(after, lambda: begun.append(loop.create_task(notice())))
    try:
        return await read()
    except asyncio.CancelledError:
        for task in begun:
            task.cancel()
        raise
    finally:
        timer.cancel()
        if begun:
            with anyio.move_on_after(_LAST_WORDS_SECONDS if begun[0].cancelling() else None, shield=True):
                await asyncio.wait(begun)


async def _by_task_group(
    read: Callable[[], Awaitable[T]], after: float, notice: Callable[[], Coroutine[Any, Any, None]]
) -> T:
    asleep = anyio.CancelScope()
    failure: Exception | None = None
    results: list[T] = []

    async def watch() -> None:
        with asleep:
            await anyio.sleep(after)
        if not asleep.cancelled_caught:
            await notice()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            results.append(await read())
        except Exception as exc:  # noqa: BLE001 - carried out of the task group, which would wrap it
            failure = exc
        asleep.cancel()
    try:
        if failure is not None:
            raise failure
        return results[0]
    finally:
        del failure  # or it would keep this frame, and this frame it, alive
