"""
The two places where asyncio needs more than anyio gives.

anyio's shields hold off its own cancel scopes.  `asyncio.timeout`, `asyncio.wait_for` and `Task.cancel` pass
through them, and only a task of its own keeps work safe from those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

__all__ = ["finish", "on_asyncio", "wait_out"]

T = TypeVar("T")


def on_asyncio() -> bool:
    """Whether the present event loop is asyncio's."""
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


async def finish(work: Callable[[], Coroutine[Any, Any, None]], *, within: float) -> None:
    """
    Run *work* to its end although the caller may be cancelled; cancellation is passed on afterwards.

    Args:
        work: Closes something.
        within: The seconds it may take.
    """

    async def bounded() -> None:
        with anyio.move_on_after(within, shield=True):
            await work()

    if on_asyncio():
        await wait_out(asyncio.create_task(bounded()))
    else:
        await bounded()


async def wait_out(task: asyncio.Task[T]) -> T:
    """Await a task to its end, however often the caller is cancelled meanwhile, and then pass that on."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled
    return task.result()
