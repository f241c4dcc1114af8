"""
What a checkpoint costs: events a second from one server over a socket, in turns within one run.

    python -m benchmarks.checkpoints           five turns of each

The consumer does nothing with an event, so the figures are the least favourable ones: a handler makes them alike.
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


async def consumed(url: str, **options: Any) -> float:
    began = time.perf_counter()
    count = 0
    async with ResilientStream(url, on_eof="complete", **options) as stream:
        async for _ in stream:
            count += 1
    assert count == EVENTS
    return EVENTS / (time.perf_counter() - began)


async def main(turns: int, directory: Path) -> None:
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
                rates[name].append(await consumed(url, **given))
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
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(parser.parse_args().turns, Path(place)))
