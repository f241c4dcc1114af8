"""What stands at either end of the proxy in its tests."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream

from resilient_sse.testing import event

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


def is_open(port: int) -> bool:
    """Tell whether somebody listens."""
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def open_sockets() -> int:
    """Count the sockets of this process, but for those that other tests have dropped."""
    gc.collect()
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


class Chat:
    """
    The server of a reply: numbered events, one after the other, resumed after the id that is asked for.

    Args:
        count: How many events.
        apart: Seconds between them.
        size: Bytes of data in each, at least.
    """

    def __init__(self, count: int, *, apart: float = 0.01, size: int = 0) -> None:
        self.count = count
        self.apart = apart
        self.size = size

    @property
    def reply(self) -> list[str]:
        """The data of all events."""
        return [f"message {number}".ljust(self.size, ".") for number in range(1, self.count + 1)]

    def __call__(self, peer) -> None:
        """Serve one connection."""
        peer.open()
        for number in range(int(peer.request.cursor or 0), self.count):
            peer.chunk(event(self.reply[number], id=str(number + 1)))
            time.sleep(self.apart)
        peer.hold()
