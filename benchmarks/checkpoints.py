"""
What a checkpoint costs, in turns within one run: `python -m benchmarks.checkpoints`.

Each figure is a share of what the same loop reaches without a checkpoint, by the clock and by CPU time, once with
a handler that does nothing, which is the least favourable, and once with one that works for 10 us.  `Blocking`
writes the same rows in the event loop: what a store costs that has no thread.
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
HANDLERS = (0.0, 10e-6)  # seconds


class Blocking(SQLiteCheckpoint):
    """Writes in the event loop."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._thread = self

    async def call(self, function: Any) -> Any:
        return function()


async def consumed(url: str, handler: float, **options: Any) -> tuple[float, float]:
    """Return how many events there were in a second, by the clock and by CPU time."""
    began, worked, count = time.perf_counter(), time.process_time(), 0
    async with ResilientStream(url, on_eof="complete", **options) as stream:
        async for _ in stream:
            count += 1
            if handler:
                done = time.perf_counter() + handler
                while time.perf_counter() < done:
                    pass
    assert count == EVENTS
    return EVENTS / (time.perf_counter() - began), EVENTS / (time.process_time() - worked)


def middle(values: list[tuple[float, float]]) -> tuple[float, float]:
    by_clock, by_cpu = zip(*values, strict=True)
    return statistics.median(by_clock), statistics.median(by_cpu)


async def main(turns: int, directory: Path) -> None:
    ways: dict[str, dict[str, Any]] = {"no checkpoint": {}}
    ways["MemoryCheckpoint, every event"] = {"checkpoint": MemoryCheckpoint()}
    for kind in (SQLiteCheckpoint, Blocking):
        for every in (100, 10, 1):
            store = kind(directory / f"{kind.__name__} {every}.db")
            ways[f"{kind.__name__}, commit_every={every}"] = {"checkpoint": store, "commit_every": every}
    rates: dict[tuple[str, float], list[tuple[float, float]]] = {}
    async with serving(EVENTS) as url:
        for turn in range(turns):
            for name, options in ways.items():
                for handler in HANDLERS:
                    given = options | ({"checkpoint_key": f"{turn} {handler}"} if options else {})
                    rates.setdefault((name, handler), []).append(await consumed(url, handler, **given))
    print(f"{'':36}" + "".join(f"  {f'a handler of {1e6 * handler:.0f} us':>38}" for handler in HANDLERS))
    print(f"{'':36}" + f"  {'events/s':>9}   {'by the clock':>12} {'by CPU':>12}" * len(HANDLERS))
    for name in ways:
        line = f"{name:36}"
        for handler in HANDLERS:
            clock, cpu = middle(rates[name, handler])
            best_clock, best_cpu = middle(rates["no checkpoint", handler])
            line += f"  {clock:9,.0f}   {100 * clock / best_clock:10.0f} % {100 * cpu / best_cpu:10.0f} %"
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(parser.parse_args().turns, Path(place)))
