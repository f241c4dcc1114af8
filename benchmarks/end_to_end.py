"""
What one event costs from the socket to the consumer, and what the library adds, beside plain httpx-sse.

    python benchmarks/end_to_end.py [--streams 100] [--seconds 5]

A server process on loopback sends the same events to each client in turn.  Printed per client: CPU time of the
client process per event (bulk: as fast as it can; live: many streams, each event in a write of its own).  For ours
also the time from a read's return to the event's hand-over, p50 and p99 (SCOPE R206: p99 under 5 ms).  Read the
ratios; the absolute figures are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
from httpx_sse import aconnect_sse

from resilient_sse import ResilientStream
from resilient_sse._client.transport.connection import Connection

BULK_EVENTS = 30_000
TURNS = 3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(number: int) -> bytes:
    return f'id: {number}\nevent: reply\ndata: {{"n": {number}, "text": "{"x" * 90}"}}\n\n'.encode()


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve `/bulk/COUNT` at once, and `/live/COUNT/PER_SECOND` at its pace."""
    _, kind, count, *pace = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().split("/")
    writer.write(HEAD)
    for number in range(1, int(count) + 1):
        writer.write(event(number))
        if kind == "live":
            await writer.drain()
            await asyncio.sleep(1 / float(pace[0]))
    await writer.drain()
    writer.close()


def serve(ports: multiprocessing.Queue[int]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def ours(url: str) -> int:
    async with ResilientStream(url, on_eof="complete") as stream:
        return len([None async for _ in stream])


async def ours_without_notice(url: str) -> int:
    async with ResilientStream(url, on_eof="complete", waiting_after=float("inf")) as stream:
        return len([None async for _ in stream])


async def httpx_sse(url: str) -> int:
    timeout = httpx.Timeout(10, read=None)
    async with (
        httpx.AsyncClient(timeout=timeout, verify=False) as client,  # noqa: S501 - loopback without TLS
        aconnect_sse(client, "GET", url) as source,
    ):
        return len([None async for _ in source.aiter_sse()])


async def cpu_per_event(
    client: Callable[[str], Awaitable[int]], url: str, streams: int, expected: int
) -> float:
    """Run *streams* clients at once; return the CPU microseconds of this process per event."""
    begin = time.process_time()
    counts = await asyncio.gather(*(client(url) for _ in range(streams)))
    used = time.process_time() - begin
    if sum(counts) != expected * streams:
        raise SystemExit(f"{client.__name__} received {sum(counts)} of {expected * streams} events")
    return used / sum(counts) * 1e6


async def hand_over_times(url: str, streams: int) -> list[float]:
    """Return, in milliseconds, how long each event took from the return of its read to the consumer."""
    read_at: dict[int, float] = {}
    times: list[float] = []
    receive = Connection.receive

    async def stamped(self: Connection) -> tuple[bytes, int] | None:
        chunk = await receive(self)
        task = asyncio.current_task()
        read_at[id(task)] = time.perf_counter()
        return chunk

    async def consume() -> None:
        async with ResilientStream(url, on_eof="complete") as stream:
            task = id(asyncio.current_task())
            times.extend([(time.perf_counter() - read_at[task]) * 1e3 async for _ in stream])

    Connection.receive = stamped  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(consume() for _ in range(streams)))
    finally:
        Connection.receive = receive  # type: ignore[method-assign]
    return sorted(times)


async def measure(port: int, streams: int, seconds: float) -> int:
    base = f"http://127.0.0.1:{port}"
    live = int(10 * seconds)
    clients = (httpx_sse, ours_without_notice, ours)
    print(f"{'':22}{'bulk':>10}{'live':>10}   us of CPU per event ({streams} live streams, 10 events/s each)")
    figures: dict[str, tuple[float, float]] = {}
    for client in clients:
        bulk = [
            await cpu_per_event(client, f"{base}/bulk/{BULK_EVENTS}", 1, BULK_EVENTS) for _ in range(TURNS)
        ]
        pace = await cpu_per_event(client, f"{base}/live/{live}/10", streams, live)
        figures[client.__name__] = statistics.median(bulk), pace
        print(f"{client.__name__:22}{figures[client.__name__][0]:10.2f}{pace:10.2f}")
    for name in ("ours_without_notice", "ours"):
        ratios = [a / b for a, b in zip(figures[name], figures["httpx_sse"], strict=True)]
        print(f"{name} / httpx_sse: {ratios[0]:.2f} bulk, {ratios[1]:.2f} live")
    times = await hand_over_times(f"{base}/live/{live}/10", streams)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(
        f"from read to consumer: p50 {p50:.3f} ms, p99 {p99:.3f} ms; R206 {'holds' if p99 < 5 else 'FAILS'}"
    )
    return 0 if p99 < 5 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    try:
        return asyncio.run(measure(ports.get(timeout=10), options.streams, options.seconds))
    finally:
        server.terminate()


if __name__ == "__main__":
    sys.exit(main())
