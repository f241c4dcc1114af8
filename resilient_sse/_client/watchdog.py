"""A read with a notice: something to do if it takes long, without disturbing the read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

__all__ = ["with_notice"]

T = TypeVar("T")


async def with_notice(
    read: Callable[[], Awaitable[T]], *, after: float, notice: Callable[[], Awaitable[None]]
) -> T:
    """
    Await *read()*, and await *notice()* beside it once *after* seconds have passed.

    Cancelling a read would close its connection, so the notice needs a task of its own; it lives inside this
    call.  A notice that has begun is waited for: its callbacks are not cut short because bytes arrived.

    Raises:
        Exception: What *read* raises.
    """
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
