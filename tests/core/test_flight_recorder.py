from __future__ import annotations

import sys

from resilient_sse._core.flight_recorder import FlightRecorder


def recorded(*chunks: bytes, lines: int = 20) -> tuple[str, ...]:
    """Feed a recorder and return what it shows."""
    recorder = FlightRecorder(lines)
    for chunk in chunks:
        recorder.feed(chunk)
    return recorder.lines


WIRE = b"event: price\nid: 7\ndata: secret\n: token=x\nretry: 100\nweird: y\nbare\n\ndata"
SHOWN = (
    "event: price",
    "id: 7",
    "data: <6 bytes>",
    ": <7 bytes>",
    "retry: 100",
    "<field>: <1 bytes>",
    "<4 bytes>",
    "",
    "<4 bytes> (cut)",
)


def test_any_chunking_shows_the_same():
    """Lines cut by reads are one line (P31)."""
    assert recorded(*[WIRE[at : at + 1] for at in range(len(WIRE))]) == SHOWN
    for at in range(len(WIRE)):
        assert recorded(WIRE[:at], WIRE[at:]) == SHOWN


def test_only_the_last_lines_are_kept():
    """K lines, a line of any size in bounded memory (P31)."""
    recorder = FlightRecorder(5)
    for number in range(100):
        recorder.feed(f"id: {number}\n".encode())
    assert recorder.lines == tuple(f"id: {number}" for number in range(95, 100))
    recorder.feed(b"id: " + b"x" * 1_000_000 + b"\n")
    assert recorder.lines[-1] == "id: " + "x" * 116 + "..."
    for _ in range(1000):
        recorder.feed(b"x" * 1000)
    assert recorder.lines[-1] == "<1000000 bytes> (cut)"
    assert len(recorder.lines) == 5
    assert sys.getsizeof(recorder._start) < 1000


def test_connections_are_marked():
    """A line shows where a connection began; what the last one left unfinished is not lost (P31)."""
    recorder = FlightRecorder(5)
    recorder.connected(1)
    recorder.feed(b"id: 1\nda")
    recorder.connected(2)
    recorder.feed(b"id: 2\r")
    recorder.connected(3)
    recorder.feed(b"\n")
    assert recorder.lines == ("<2 bytes> (cut)", "--- connection 2 ---", "id: 2", "--- connection 3 ---", "")


def test_nothing_dangerous_is_shown():
    """Control characters of a terminal come out as escapes (P31)."""
    assert recorded(b"id: \x1b[2J\xff\xc3\xa9\n") == ("id: \\x1b[2J\\ufffd\\xe9",)
