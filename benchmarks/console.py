"""
What `resilient-sse top` costs the program that is watched.

    python benchmarks/console.py

A console describes 1,000 streams in small portions; between two of them the program's own tasks have their turn.
Printed are the whole of one look, and the longest portion, which is how long a task may have to wait; then what
the console adds to an event, beside an observer that does nothing.  The figures are the machine's.
"""

from __future__ import annotations

import json
import statistics
import time

from resilient_sse import ServerSentEvent
from resilient_sse._client.callbacks import Callbacks
from resilient_sse._core.stats import StreamStats
from resilient_sse.monitoring.console import PORTION, Console

URL = "https://host/stream"
STREAMS = 1000
TURNS = 25
EVENTS = 100_000
EVENT = ServerSentEvent(data='{"text": "word"}', id="1", last_event_id="1")


def portions(console: Console) -> list[float]:
    """Describe every stream as the console does; return the milliseconds of each portion."""
    streams = [*console.streams.values()]
    took: list[float] = []
    for begin in range(0, len(streams), PORTION):
        start = time.perf_counter()
        ", ".join(json.dumps(each.describe(9.0)) for each in streams[begin : begin + PORTION]).encode()
        took.append((time.perf_counter() - start) * 1e3)
    return took


def per_event(observer: object) -> float:
    """Return the microseconds in which one event is told."""
    callbacks = Callbacks([observer], StreamStats(started_at=0.0), where=URL)  # type: ignore[list-item]
    start = time.perf_counter()
    for _ in range(EVENTS):
        callbacks.observe(EVENT)
    return (time.perf_counter() - start) / EVENTS * 1e6


def main() -> None:
    console = Console()
    kept = [console.attach(StreamStats(started_at=0.0, received=9, delivered=9), URL) for _ in range(STREAMS)]
    looks = [portions(console) for _ in range(TURNS)]
    print(f"one look at {len(kept)} streams: {statistics.median(map(sum, looks)):.1f} ms")
    print(f"the longest portion of it: {statistics.median(map(max, looks)):.2f} ms, of {PORTION} streams")
    nothing = statistics.median(per_event(lambda _fact: None) for _ in range(5))
    told = statistics.median(per_event(console) for _ in range(5))
    print(f"an event: {told:.2f} us, with an observer that does nothing {nothing:.2f} us")


if __name__ == "__main__":
    main()
