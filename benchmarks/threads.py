"""
What an event costs the face for threads above the async one, in turns within one run.

    python -m benchmarks.threads               forty turns of each

A process of its own sends over a socket of the loopback interface, and the consumer does nothing with an event.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import resilient_sse
import resilient_sse.sync
from benchmarks.relay import serving

EVENTS = 20_000


def serve(pipe: Connection) -> None:
    async def served() -> None:
        async with serving(EVENTS) as url:
            pipe.send(url)
            await asyncio.Event().wait()

    asyncio.run(served())


async def consumed(url: str) -> int:
    async with resilient_sse.ResilientStream(url, on_eof="complete") as stream:
        return len([event async for event in stream])


def consumed_by_thread(url: str) -> int:
    with resilient_sse.sync.ResilientStream(url, on_eof="complete") as stream:
        return len(list(stream))


def main(turns: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    ways = {"async": lambda: asyncio.run(consumed(url)), "threads": lambda: consumed_by_thread(url)}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            began, worked = time.perf_counter(), time.process_time()
            assert way() == EVENTS
            took = time.perf_counter() - began, time.process_time() - worked
            spent[name].append((took[0] * 1e6 / EVENTS, took[1] * 1e6 / EVENTS))
    server.terminate()
    for name, turn in spent.items():
        walls, works = zip(*turn, strict=True)
        figures = f"{statistics.median(walls):.2f} us an event (best {min(walls):.2f})"
        print(f"{name:8} {figures}, CPU {statistics.median(works):.2f} us (best {min(works):.2f})")
    above = [b[0] - a[0] for a, b in zip(spent["async"], spent["threads"], strict=True)]
    print(f"above    {statistics.median(above):.2f} us an event, the median of {turns} pairs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=40)
    main(parser.parse_args().turns)
