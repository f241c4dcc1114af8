"""The client of the demo: the public API, as any program would use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from resilient_sse import ResilientSSEError, ResilientStream, integers
from resilient_sse.cli.demo.script import STALL_TIMEOUT, WAITING_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse.cli.demo.record import Record
    from resilient_sse.cli.demo.view import View

__all__ = ["receive"]

_FRAME = 0.1  # seconds between two drawings


async def receive(url: str, record: Record, view: View) -> None:
    """
    Receive the reply to its end, or to the error that takes its place, and record everything about it.

    Args:
        url: Where the reply is.
        record: Where everything is recorded.
        view: Refreshed ten times a second; without it there is no point in going on.
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tick, view, tasks.cancel_scope.cancel)
        await _consume(url, record)
        tasks.cancel_scope.cancel()


async def _consume(url: str, record: Record) -> None:
    stream = ResilientStream(
        url,
        stall_timeout=STALL_TIMEOUT,
        waiting_after=WAITING_AFTER,
        sequence=integers,
        until="done",
        on_state_change=record.change,
        on_gap=record.gap,
    )
    try:
        async with stream:
            async for event in stream:
                record.event(event)
    except ResilientSSEError as error:
        record.error = error
    finally:
        record.stats = stream.stats


async def _tick(view: View, stop: Callable[[], None]) -> None:
    while view.failure is None:
        view.refresh()
        await anyio.sleep(_FRAME)
    stop()
