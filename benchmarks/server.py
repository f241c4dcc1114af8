"""
The server: HTTP/1.1 on asyncio, pushing bytes that were made before.  It runs in a process of its own.

    /bulk/KIND/N    chunks of 64 KiB, in large writes: a client that catches up
    /chunk/KIND/N   an HTTP chunk an event, in large writes: the client has always something to do
    /live/KIND/N    an HTTP chunk and a write an event, RATE of them a second: a read an event
    /stamp          the time of the write as data, one each 5 ms
    /tick           an event a second on each connection, spread evenly: many quiet streams

Without N a stream has all the events of its kind.  The server prints its port; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import time
from collections.abc import Iterator

from . import payloads

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
WRITE = 256 * 1024
RATE = 2000
STAMPS = 200
SLOTS = 100


@functools.lru_cache(maxsize=4)
def body(path: str, kind: str, count: int) -> bytes:
    parts = payloads.chunks(kind, count=count) if path == "bulk" else payloads.blocks(kind, count)
    return b"".join(map(payloads.framed, parts)) + END


class Ticker:
    """Gives each of its connections an event a second; the ids rise, for a repeated event may be dropped."""

    def __init__(self) -> None:
        self.slots: list[set[asyncio.Transport]] = [set() for _ in range(SLOTS)]
        self.next = itertools.cycle(self.slots)
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        due = time.monotonic()
        for number in itertools.count(1):
            event = payloads.framed(payloads.price(number)[0])
            for transport in tuple(self.slots[number % SLOTS]):
                transport.write(event)
            due += 1 / SLOTS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def add(self, transport: asyncio.Transport) -> set[asyncio.Transport]:
        transport.write(HEAD + payloads.framed(payloads.price(0)[0]))
        slot = next(self.next)
        slot.add(transport)
        return slot


class Connection(asyncio.Protocol):
    """Answers requests one after the other."""

    ticker: Ticker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=WRITE)
        self.transport = transport
        self.request = b""
        self.task: asyncio.Task[None] | None = None
        self.slot: set[asyncio.Transport] | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.request += data
        head, end, after = self.request.partition(b"\r\n\r\n")
        if end:
            self.request = after
            _, path, *rest = head.split(b" ")[1].decode().split("/")
            self.task = asyncio.get_running_loop().create_task(self.respond(path, *rest))

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task:
            self.task.cancel()
        if self.slot:
            self.slot.discard(self.transport)

    async def respond(self, path: str, kind: str = "", count: str = "0") -> None:
        if path == "tick":
            self.slot = self.ticker.add(self.transport)
            return
        self.transport.write(HEAD)
        if path == "live":
            await self.pace((payloads.framed(each) for each in payloads.blocks(kind, int(count))), RATE)
        elif path == "stamp":
            stamps = (b"data: %d\n\n" % time.monotonic_ns() for _ in itertools.count())
            await asyncio.sleep(0.1)
            await self.pace(map(payloads.framed, stamps), STAMPS)
        else:
            wire = memoryview(body(path, kind, int(count)))
            for start in range(0, len(wire), WRITE):
                self.transport.write(wire[start : start + WRITE])
                await self.writable.wait()

    async def pace(self, parts: Iterator[bytes], rate: float) -> None:
        due = time.monotonic()
        for part in parts:
            self.transport.write(part)
            await self.writable.wait()
            due = max(due + 1 / rate, time.monotonic() - 0.05)  # what was missed is not made up in a burst
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def main() -> None:
    loop = asyncio.get_running_loop()
    Connection.ticker = Ticker()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
