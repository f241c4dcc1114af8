"""
What one event costs in the decoder and in the duplicate check, beside httpx-sse on the same bytes.

    python benchmarks/per_event.py

Read the ratios; the absolute figures are the machine's.  The two decoders take turns, and the median of the
turns is printed.  SCOPE rows R210 (a mean under 0.05 ms, p99 under 1 ms) and R211 (under 0.005 ms) are judged at
the end; the exit status tells.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator

import httpx
from httpx_sse import EventSource

from resilient_sse._core.dedup import Deduplicator
from resilient_sse._core.intake import Intake, IntakeOptions
from resilient_sse._core.parser import Parser
from resilient_sse._core.stats import StreamStats

EVENTS = 20_000
CHUNK = 64 * 1024
TURNS = 5
PAYLOADS = {
    "150-byte events": lambda n: f'id: {n}\nevent: reply\ndata: {{"n": {n}, "text": "{"x" * 90}"}}\n\n',
    "tokens": lambda n: f'data: {{"t": "w{n % 7}"}}\n\n',
    "ten data lines": lambda n: f"id: {n}\n" + "".join(f"data: line {k} of {n}\n" for k in range(10)) + "\n",
}


def chunks(body: bytes) -> Iterator[bytes]:
    """Cut a body as a socket would."""
    for start in range(0, len(body), CHUNK):
        yield body[start : start + CHUNK]


class Body(httpx.SyncByteStream):
    """A body that is at hand already."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        return chunks(self.body)


def decode_httpx_sse(body: bytes) -> int:
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(body))
    return sum(1 for _ in EventSource(response).iter_sse())


def decode_ours(body: bytes) -> int:
    parser = Parser()
    return sum(len(parser.feed(chunk)) for chunk in chunks(body))


def deliver_ours(body: bytes) -> int:
    """Parse, judge and count: everything between the socket and the consumer that is not httpx or anyio."""
    parser = Parser()
    intake = Intake(IntakeOptions(), StreamStats())
    intake.connected(1, resumed=False)
    delivered = 0
    for chunk in chunks(body):
        for item in parser.feed(chunk):
            intake.put(item)
        while intake.take() is not None:
            delivered += 1
    return delivered


def microseconds(run: Callable[[bytes], int], body: bytes) -> float:
    begin = time.perf_counter()
    count = run(body)
    seconds = time.perf_counter() - begin
    if count < EVENTS:
        raise SystemExit(f"{run.__name__} found {count} of {EVENTS} events")
    return seconds / EVENTS * 1e6


def single_events(body: Callable[[int], str]) -> list[float]:
    """Time each event alone, through parser and judgement, in microseconds."""
    parser = Parser()
    intake = Intake(IntakeOptions(), StreamStats())
    intake.connected(1, resumed=False)
    times: list[float] = []
    for n in range(EVENTS):
        data = body(n).encode()
        begin = time.perf_counter()
        for item in parser.feed(data):
            intake.put(item)
        intake.take()
        times.append((time.perf_counter() - begin) * 1e6)
    return sorted(times)


def dedup_microseconds() -> float:
    window = Deduplicator(1000)
    ids = [str(n) for n in range(EVENTS)]
    begin = time.perf_counter()
    for event_id in ids:
        window.look(event_id, "message", "x" * 100)
        window.remember(event_id, "message", "x" * 100)
    return (time.perf_counter() - begin) / EVENTS * 1e6


def main() -> int:
    print(f"{'':18}{'httpx-sse':>12}{'decoder':>10}{'delivered':>11}   us per event; ratio to httpx-sse")
    for name, payload in PAYLOADS.items():
        body = "".join(payload(n) for n in range(EVENTS)).encode()
        runs = (decode_httpx_sse, decode_ours, deliver_ours)
        turns = [[microseconds(run, body) for run in runs] for _ in range(TURNS)]
        theirs, ours, whole = (statistics.median(column) for column in zip(*turns, strict=True))
        ratios = f"{ours / theirs:.2f} and {whole / theirs:.2f}"
        print(f"{name:18}{theirs:12.2f}{ours:10.2f}{whole:11.2f}   {ratios}")
    times = single_events(PAYLOADS["150-byte events"])
    mean, p99 = statistics.fmean(times), times[int(len(times) * 0.99)]
    dedup = dedup_microseconds()
    print(f"one event at a time: mean {mean:.2f} us, p99 {p99:.2f} us; duplicate check {dedup:.2f} us")
    good = mean < 50 and p99 < 1000 and dedup < 5
    print("R210 and R211 hold" if good else "R210 or R211 FAILS")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
