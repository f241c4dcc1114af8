"""
The parser's edges: records, limits, memory, the end of a stream.

What it makes of each input is in the tables of `tests/conformance`, and what holds for every input in
`tests/properties`.
"""

from __future__ import annotations

import itertools

import pytest

from resilient_sse._core.errors import LimitExceededError
from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, Parser, RetryHint

KIB = 1024
MIB = 1024 * KIB


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
