"""
What a checkpoint costs: events a second from one server over a socket, in turns within one run.

    python -m benchmarks.checkpoints               five turns of each
    python -m benchmarks.checkpoints --handler 10  with a handler that works for so many microseconds

A consumer that does nothing with an event gives the least favourable figures: a handler makes them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.relay import serving
from resilient_sse import ResilientStream
from resilient_sse.checkpoints import MemoryCheckpoint, SQLiteCheckpoint

EVENTS = 20_000


async def consumed(url: str, handler: float, **options: Any) -> float:
    began = time.perf_counter()
    count = 0
    async with ResilientStream(url, on_eof="complete", **options) as stream:
        async for _ in stream:
            count += 1
            if handler:
                done = time.perf_counter() + handler
                while time.perf_counter() < done:
                    pass
    assert count == EVENTS
    return EVENTS / (time.perf_counter() - began)


async def main(turns: int, handler: float, directory: Path) -> None:
    async with serving(EVENTS) as url:
        ways: dict[str, dict[str, Any]] = {
            "no checkpoint": {},
            "MemoryCheckpoint, every event": {"checkpoint": MemoryCheckpoint()},
        }
        for every in (1, 10, 100, 1000):
            store = SQLiteCheckpoint(directory / f"{every}.db")
            ways[f"SQLiteCheckpoint, commit_every={every}"] = {"checkpoint": store, "commit_every": every}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(turns):
            for name, options in ways.items():
                given = options | ({"checkpoint_key": f"turn {turn}"} if options else {})
                rates[name].append(await consumed(url, handler, **given))
    base = statistics.median(rates["no checkpoint"])
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(f"{name:40} {middle:9,.0f} events/s  {100 * middle / base:4.0f} % {spread}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--handler", type=float, default=0.0, metavar="MICROSECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(options.turns, options.handler / 1e6, Path(place)))
