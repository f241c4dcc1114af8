"""What stands at either end of the proxy in its tests."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream

BROKEN = (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, OSError)


async def echo(stream: SocketStream) -> None:
    """Send back what comes, and close when the client does."""
    async for data in stream:
        await stream.send(data)


@asynccontextmanager
async def target(handler: Callable[[SocketStream], Awaitable[object]] = echo) -> AsyncIterator[int]:
    """Run a TCP server in the same loop, and give its port; how its connections end is its own affair."""

    async def handle(stream: SocketStream) -> None:
        with suppress(*BROKEN):
            async with stream:
                await handler(stream)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=2048) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        tasks.cancel_scope.cancel()


async def ask(port: int, data: bytes = b"hello") -> bytes:
    """Say something and return as much of the answer, over a connection of its own."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        answer = b""
        while len(answer) < len(data):
            answer += await stream.receive()
        return answer


async def everything(stream: SocketStream) -> bytes:
    """Return what comes until the end."""
    return b"".join([data async for data in stream])


def open_sockets() -> int:
    """Count the sockets of this process, but for those that other tests have dropped."""
    gc.collect()
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
