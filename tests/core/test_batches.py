from __future__ import annotations

import pytest

from resilient_sse._core.batches import Batches
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Parser
from resilient_sse._core.stats import StreamStats


def batches(**options) -> Batches:
    """Make an intake for whole reads with its first connection open."""
    made = Batches(StreamOptions(**options), StreamStats(), retry=lambda _: None)
    made.connected(1, resumed=False)
    made.tells_comments = True
    return made


def judged(source: Batches, *streams: bytes) -> list[bool]:
    """Judge so many reads of one connection."""
    parser = Parser()
    return [source.judge(parser.feed_fast(stream)) for stream in streams]


def events(start: int, count: int) -> bytes:
    """Write events that count."""
    return b"".join(b"id: %d\ndata: text\n\n" % number for number in range(start, start + count))


@pytest.mark.parametrize("count", [1, 2, 200])
@pytest.mark.parametrize("last", [b"", b"\n", b": c\n\n", b"id: 1\n\n", b"data: x\nfoo\n\n"])
def test_a_read_tells_whether_it_brought_an_event(count, last):
    """The watch over silence asks, whatever form the read had."""
    assert judged(batches(), b"\n", b": c\n\n", b"id: 1\n\n", events(5, count) + last) == [
        False,
        False,
        False,
        True,
    ]
