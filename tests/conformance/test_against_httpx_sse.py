"""
httpx-sse as a second implementation: equal on ordinary input, and every known divergence pinned.

Each divergence is one test that shows what httpx-sse does and what ours does.  If one of them fails after an
upgrade of httpx-sse, it has mended something: check whether its decoder would do now, and take the test out.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

import anyio
import httpx
import httpx_sse
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, RetryHint
from tests.conformance.case_table import drive
from tests.properties.sse_grammar import PROFILE, Wire, cut, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator


class Seen(NamedTuple):
    """An event as a consumer of either library sees it."""

    event: str
    data: str
    id: str
    retry: int | None


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body in given chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def response(chunks: Iterable[bytes]) -> httpx.Response:
    """Make a response that streams *chunks*."""
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body(chunks))


def theirs(*chunks: bytes) -> list[Seen]:
    """Let httpx-sse read *chunks*."""
    events = httpx_sse.EventSource(response(chunks)).iter_sse()
    return [Seen(sse.event, sse.data, sse.id, sse.retry) for sse in events]


def theirs_async(*chunks: bytes) -> list[Seen]:
    """Let the asynchronous side of httpx-sse read *chunks*."""

    async def read() -> list[Seen]:
        events = httpx_sse.EventSource(response(chunks)).aiter_sse()
        return [Seen(sse.event, sse.data, sse.id, sse.retry) async for sse in events]

    return anyio.run(read)


def ours(*chunks: bytes) -> list[Seen]:
    """Let our parser read *chunks*, with the id in force and the default type put in as a session does."""
    seen = []
    last_event_id = ""
    for item in drive(chunks).items:
        if isinstance(item, Block):
            last_event_id = last_event_id if item.id is None else item.id
            if item.data is not None:
                seen.append(Seen(item.event or "message", item.data, last_event_id, item.retry))
    return seen


ORDINARY = [
    pytest.param(b"data: a\n\n", id="one-line"),
    pytest.param(b"data: a\n\ndata: b\n\n", id="two-events"),
    pytest.param(b"data: a\ndata: b\ndata:\ndata: c\n\n", id="lines-joined"),
    pytest.param(b"data\n\ndata\ndata\n\n", id="empty-data"),
    pytest.param(b"event: e\nid: 1\nretry: 5\ndata: a\n\n", id="all-fields"),
    pytest.param(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n", id="id-in-force"),
    pytest.param(b"id: 1\ndata: a\n\nid\ndata: b\n\ndata: c\n\n", id="id-cleared"),
    pytest.param(b"id: a\0\ndata: a\n\n", id="id-with-nul"),
    pytest.param(b": c\ndata: a\n: d\n\n: e\n\ndata: b\n\n", id="comments-before-any-id"),
    pytest.param(b"colour: blue\ndata: a\nid 1\n\n", id="unknown-fields"),
    pytest.param(b"data:a\ndata:  b\ndata:c:d\n\n", id="spaces-and-colons"),
    pytest.param(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", id="crlf"),
    pytest.param(b"data: a\rdata: b\r\rdata: c\r\r", id="cr"),
    pytest.param(b"data: a\rdata: b\ndata: c\r\n\r\ndata: d\n\n", id="mixed-ends"),
    pytest.param("data: é€😀\nid: 豆\n\n".encode(), id="characters"),
    pytest.param(b"data: a\xff\xe2\x82\n\ndata: \xed\xa0\x80\n\n", id="invalid-bytes"),
    pytest.param(b"data: a\n\ndata: b\n", id="unfinished-block"),
    pytest.param(b"data: a\n\ndata: b", id="unfinished-line"),
    pytest.param(b"\n\n\ndata: a\n\n\n\n", id="blank-lines-before-any-id"),
    pytest.param(b"retry: 1\nretry: x\nretry\ndata: a\n\n", id="bogus-retry-after-a-good-one"),
]


@pytest.mark.parametrize("stream", ORDINARY)
def test_equal_on_ordinary_input(stream):
    """On ordinary streams both give the same events, whole, in two pieces and in single bytes."""
    expected = ours(stream)
    assert expected
    for chunks in ([stream], cut(stream, [len(stream) // 2]), cut(stream, list(range(len(stream))))):
        assert theirs(*chunks) == expected
        assert theirs_async(*chunks) == expected
        assert ours(*chunks) == expected


# Older releases of httpx-sse cut lines wherever str.splitlines() does; a newer one mended that.
_text = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=8
)
_ordinary = st.builds(
    Wire,
    data=st.lists(_text, min_size=1, max_size=3).map("\n".join),
    event=st.one_of(st.none(), _text),
    id=st.one_of(st.none(), _text),
    retry=st.one_of(st.none(), st.integers(0, 10**6)),
    comment=st.one_of(st.none(), _text),
)


@PROFILE
@given(st.lists(_ordinary, max_size=4), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 20))
@pytest.mark.slow
def test_equal_on_what_an_encoder_writes(sent, end, step):
    """Events with data, written by an encoder, are read alike in any chunk size."""
    stream = b"".join(encode(wire, end) for wire in sent)
    chunks = cut(stream, list(range(step, len(stream), step)))
    assert theirs(*chunks) == ours(*chunks)
    assert len(ours(*chunks)) == len(sent)


# Where they differ

A = Seen("message", "a", "", None)
A1, EMPTY1 = Seen("message", "a", "1", None), Seen("message", "", "1", None)
A7, B7 = Seen("message", "a", "7", None), Seen("message", "b", "7", None)
BOM = codecs.BOM_UTF8

DIVERGENCES = {
    "a phantom event behind a comment, once an id is known": (
        [b"id: 1\ndata: a\n\n: ping\n\n"],
        [A1, EMPTY1],
        [Block(data="a", id="1"), Comment("ping")],
    ),
    "a phantom event for each further blank line": (
        [b"id: 1\ndata: a\n\n\n\n"],
        [A1, EMPTY1, EMPTY1],
        [Block(data="a", id="1")],
    ),
    "a type alone is an event": ([b"event: e\n\n"], [Seen("e", "", "", None)], []),
    "an id alone is an event": ([b"id: 1\n\n"], [EMPTY1], [Block(id="1")]),
    "a pace alone is an event": (
        [b"retry: 700\n\n"],
        [Seen("message", "", "", 700)],
        [RetryHint(700), Block(retry=700)],
    ),
    "an inherited id is not told from an own one": (
        [b"id: 7\ndata: a\n\ndata: b\n\n"],
        [A7, B7],
        [Block(data="a", id="7"), Block(data="b")],
    ),
    "a cleared id is not told from none": (
        [b"data: a\n\nid\ndata: a\n\n"],
        [A, A],
        [Block(data="a"), Block(data="a", id="")],
    ),
    "comments are hidden": ([b": ping\n: pong\n"], [], [Comment("ping"), Comment("pong")]),
    "the pace of an unfinished block is lost": ([b"retry: 3000\ndata: a\n"], [], [RetryHint(3000)]),
    "the first event behind a mark is lost": (
        [BOM + b"data: x\n\ndata: a\n\n"],
        [A],
        [Block(data="x"), Block(data="a")],
    ),
    "so it is if the mark is cut": (
        [BOM[:2], BOM[2:] + b"data: x\n\ndata: a\n\n"],
        [A],
        [Block(data="x"), Block(data="a")],
    ),
    **{
        f"retry: {value!a} is a number": (
            [f"retry: {value}\ndata: a\n\n".encode()],
            [Seen("message", "a", "", number)],
            [Block(data="a")],
        )
        for value, number in [
            *(("-5", -5), ("+5", 5), ("1_000", 1000), ("\u0661\u0662", 12), ("\uff15", 5)),
            *((" 5", 5), ("5 ", 5), ("5\u00a0", 5), ("1" * 16, 1111111111111111)),
        ]
    },
}


@pytest.mark.parametrize("chunks, seen, items", DIVERGENCES.values(), ids=DIVERGENCES)
def test_what_they_read_otherwise(chunks, seen, items):
    """What httpx-sse gives, and the items of the standard, which are ours."""
    assert theirs(*chunks) == seen
    assert drive(chunks).items == items
