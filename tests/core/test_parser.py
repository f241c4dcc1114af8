"""
The parser's edges: records, limits, memory, the end of a stream.

What it makes of each input is in the tables of `tests/conformance`, and what holds for every input in
`tests/properties`.
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc

import pytest

from resilient_sse._core.errors import LimitExceededError
from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, Parser, RetryHint

KIB = 1024
MIB = 1024 * KIB


def in_chunks(stream: bytes, size: int) -> list[bytes]:
    """Cut *stream* into chunks of *size*."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def feed_all(parser: Parser, chunks) -> list:
    """Feed every chunk and collect the items."""
    return list(itertools.chain.from_iterable(parser.feed(chunk) for chunk in chunks))


# Records


def test_a_parser_does_not_show_what_it_holds():
    """Neither the repr of a parser nor the text of its error repeats bytes of the stream."""
    parser = Parser(max_event_bytes=16)
    parser.feed(b"data: secret")
    assert "secret" not in repr(parser)
    parser.feed(b"-and-more")
    assert "secret" not in repr(parser)
    assert "secret" not in str(parser.overflow)


# The end of the stream


WHOLE = [
    *([], [b""], [b"\n\n"], [b"data: a\n\n"], [b"data: a\r\r"], [b"event: e\n\n"], [b"x\n\n"], [b": a\n"]),
    *([b": a"], [b":", b" ", b"a"], [b"\xef\xbb\xbf"], [b"\xef\xbb\xbf: a"]),
]
CUT = [
    *([b"data: a\n"], [b"data: a"], [b"d"], [b"\xef\xbb"], [b"data: a\r"], [b"data: a\r", b"\n"]),
    *([b"event: e\n"], [b"id: 1\n"], [b"id: \0\n"], [b"retry: 1\n"], [b"retry: x\n"], [b"x: 1\n"]),
    *([b"data: a\n: b"], [b"data: a\n\ndata: b\n"], [b"data: a\n\n\xf0\x9f"]),
]


@pytest.mark.parametrize(
    "chunks, cut", [*((each, False) for each in WHOLE), *((each, True) for each in CUT)], ids=repr
)
def test_finish_tells_whether_a_block_was_cut(chunks, cut):
    """The end of the stream throws an unfinished block away and says so; comments are no part of a block."""
    parser = Parser()
    feed_all(parser, chunks)
    assert parser.finish() is cut


# The limit


def test_the_limit_is_sixteen_mebibytes_by_default():
    """Without an argument a block of exactly 16 MiB passes, and one byte more does not."""
    limit = 16 * MIB
    fits = b"data:" + b"x" * (limit - 6) + b"\n\n"
    (block,) = Parser().feed(fits)
    assert len(block.data) == limit - 6
    parser = Parser()
    assert parser.feed(b"x" + fits) == []
    assert isinstance(parser.overflow, LimitExceededError)
    assert parser.overflow.limit_bytes == limit


def test_an_overflow_comes_after_what_was_complete():
    """The call that trips the limit still returns what was complete before; the next one raises."""
    parser = Parser(max_event_bytes=10)
    assert parser.feed(b": hi\ndata: a\n\nretry: 7\ndata: b") == [
        Comment("hi"),
        Block(event="", data="a", id=None, retry=None),
        RetryHint(7),
    ]
    assert isinstance(parser.overflow, LimitExceededError)
    assert parser.overflow.limit_bytes == 10
    with pytest.raises(LimitExceededError) as caught:
        parser.feed(b"\n\ndata: c\n\n")
    assert caught.value is parser.overflow


@pytest.mark.parametrize(
    "size,limit",
    [
        pytest.param(KIB, MIB, id="kibibytes"),
        pytest.param(16, 32 * KIB, id="sixteen-bytes"),
        pytest.param(1, 8 * KIB, id="single-bytes"),
    ],
)
@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(b"", id="no-field"),
        pytest.param(b"data: ", id="data"),
        pytest.param(b"event:", id="event"),
        pytest.param(b": ", id="comment"),
        pytest.param(b"\xef\xbb\xbf", id="after-the-mark"),
        pytest.param(b"data: a\n", id="inside-a-block"),
        pytest.param(b"data: a\n\n", id="after-a-block"),
    ],
)
def test_an_endless_line_is_refused_and_costs_little(opening, size, limit):
    """A line without an end trips the limit within one chunk of it and costs less than four limits."""
    parser = Parser(max_event_bytes=limit)
    chunk = b"x" * size
    sent = 0
    with measured() as memory:
        parser.feed(opening)
        while parser.overflow is None and sent < 2 * limit:
            parser.feed(chunk)
            sent += size
    assert parser.overflow is not None
    assert limit - len(opening) - 2 <= sent <= limit + size
    assert memory.peak < 4 * limit + 8 * KIB  # and some small change for the objects themselves


@pytest.mark.parametrize("line", [b"data: abcdefghijklm\n", b"unknown: 1\n", b"event: e\n", b"id: 1\r\n"])
def test_an_endless_block_is_refused(line):
    """Lines without a blank line between them trip the limit too, even lines that leave nothing behind."""
    limit = 64 * KIB
    parser = Parser(max_event_bytes=limit)
    cost = len(line.rstrip()) + 1
    lines = 0
    while parser.overflow is None and lines < limit:
        parser.feed(line)
        lines += 1
    assert lines == limit // cost + 1


def test_an_overflow_lets_go_of_the_block():
    """Once the limit has tripped, the bytes that led to it are free again."""
    with measured() as memory:
        parser = Parser(max_event_bytes=MIB)
        for _ in range(17):
            if parser.overflow is None:
                parser.feed(b"data: " + b"x" * (64 * KIB) + b"\n")
    assert parser.overflow is not None
    assert memory.left < 256 * KIB


# Size and cost


class measured:  # noqa: N801 - reads as a verb where it is used
    """Measure what the block allocates: the peak, and what is left at its end, in bytes."""

    def __enter__(self):
        gc.collect()
        tracemalloc.start()
        self.base = tracemalloc.get_traced_memory()[0]
        self.peak = self.left = 0
        return self

    def __exit__(self, *_):
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.peak, self.left = peak - self.base, now - self.base
