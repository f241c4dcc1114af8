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
from resilient_sse._core.parser import Block, Parser, RetryHint
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
    """A response body in given chunks, which counts how many were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.taken += 1
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def response(chunks: Iterable[bytes], content_type: str = "text/event-stream") -> httpx.Response:
    """Make a response that streams *chunks*."""
    return httpx.Response(200, headers={"Content-Type": content_type}, stream=Body(chunks))


def theirs(*chunks: bytes, content_type: str = "text/event-stream") -> list[Seen]:
    """Let httpx-sse read *chunks*."""
    events = httpx_sse.EventSource(response(chunks, content_type)).iter_sse()
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


# What it dispatches


def test_they_dispatch_a_phantom_event_after_a_comment():
    """Once an id is known, a comment and its blank line give them an empty event with the old id."""
    stream = b"id: 1\ndata: a\n\n: ping\n\n"
    assert theirs(stream) == [Seen("message", "a", "1", None), Seen("message", "", "1", None)]
    assert ours(stream) == [Seen("message", "a", "1", None)]


def test_they_dispatch_a_phantom_event_for_an_extra_blank_line():
    """Once an id is known, so does each further blank line."""
    stream = b"id: 1\ndata: a\n\n\n\n"
    assert theirs(stream)[1:] == [Seen("message", "", "1", None)] * 2
    assert ours(stream) == [Seen("message", "a", "1", None)]


@pytest.mark.parametrize(
    "block,phantom",
    [
        pytest.param(b"event: e\n\n", Seen("e", "", "", None), id="event-only"),
        pytest.param(b"id: 1\n\n", Seen("message", "", "1", None), id="id-only"),
        pytest.param(b"retry: 700\n\n", Seen("message", "", "", 700), id="retry-only"),
    ],
)
def test_they_dispatch_blocks_without_data(block, phantom):
    """A block without a data field is an event for them; the standard dispatches nothing."""
    assert theirs(block) == [phantom]
    assert ours(block) == []


def test_they_cannot_tell_an_inherited_id_from_an_own_one():
    """Their events repeat the id in force, which cannot tell duplicates; our blocks say their own."""
    stream = b"id: 7\ndata: a\n\ndata: b\n\n"
    assert [seen.id for seen in theirs(stream)] == ["7", "7"]
    assert [item.id for item in drive([stream]).items] == ["7", None]


def test_they_cannot_tell_a_cleared_id_from_none():
    """An id that was never given and one that was cleared look alike to them."""
    stream = b"data: a\n\nid\ndata: b\n\n"
    assert [seen.id for seen in theirs(stream)] == ["", ""]
    assert [item.id for item in drive([stream]).items] == [None, ""]


def test_they_hide_comments():
    """A watchdog on top of them never hears of comment heartbeats."""
    stream = b": ping\n: pong\n"
    assert theirs(stream) == []
    assert drive([stream]).items == [Comment("ping"), Comment("pong")]


def test_they_lose_the_retry_of_an_unfinished_block():
    """The standard applies `retry` when its line is read; with them a cut block takes it along."""
    stream = b"retry: 3000\ndata: a\n"
    assert theirs(stream) == []
    assert drive([stream]).items == [RetryHint(3000)]


# What it decodes


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([codecs.BOM_UTF8 + b"data: a\n\ndata: b\n\n"], id="whole"),
        pytest.param([codecs.BOM_UTF8[:2], codecs.BOM_UTF8[2:] + b"data: a\n\ndata: b\n\n"], id="cut"),
    ],
)
def test_they_lose_the_first_event_after_a_mark(chunks):
    """The byte order mark sticks to their first field name."""
    assert [seen.data for seen in theirs(*chunks)] == ["b"]
    assert [seen.data for seen in ours(*chunks)] == ["a", "b"]


@pytest.mark.parametrize("charset", ["latin-1", "windows-1252", "ISO-8859-1"])
def test_they_obey_the_charset(charset):
    """An event stream is UTF-8 whatever its content type says; they decode it as told."""
    stream = "data: é\n\n".encode()
    (event,) = theirs(stream, content_type=f"text/event-stream; charset={charset}")
    assert event.data == "Ã©"
    (event,) = ours(stream)
    assert event.data == "é"


@pytest.mark.parametrize(
    "value,number",
    [
        pytest.param("-5", -5, id="minus"),
        pytest.param("+5", 5, id="plus"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("\u0661\u0662", 12, id="arabic-digits"),
        pytest.param("\uff15", 5, id="full-width-digits"),
        pytest.param(" 5", 5, id="second-space"),
        pytest.param("5 ", 5, id="trailing-space"),
        pytest.param("5\u00a0", 5, id="no-break-space"),
        pytest.param("1" * 16, 1111111111111111, id="sixteen-digits"),
    ],
)
def test_they_accept_retry_values_that_are_no_digits(value, number):
    """They take whatever `int` takes; the standard takes ASCII digits, and we take at most 15 of them."""
    stream = f"retry: {value}\ndata: a\n\n".encode()
    assert theirs(stream) == [Seen("message", "a", "", number)]
    assert ours(stream) == [Seen("message", "a", "", None)]


# When it says so


def test_they_hold_a_final_carriage_return_back():
    """With CR line ends their event comes with the next chunk, ours with the byte that completes it."""
    chunks = [b"data: a\r\r", b": much later\r"]
    body = response(chunks)
    next(httpx_sse.EventSource(body).iter_sse())
    assert body.stream.taken == 2
    assert Parser().feed(chunks[0]) == [Block(event="", data="a", id=None, retry=None)]


# What it accepts as an event stream, and what it asks for


@pytest.mark.parametrize("content_type", ["Text/Event-Stream", "TEXT/EVENT-STREAM; charset=utf-8"])
def test_they_refuse_a_media_type_in_capitals(content_type):
    """Media types are compared without regard to case; they regard it."""
    with pytest.raises(httpx_sse.SSEError):
        theirs(b"data: a\n\n", content_type=content_type)


@pytest.mark.parametrize("content_type", ["text/event-streaming", "xtext/event-stream"])
def test_they_accept_media_types_that_contain_the_right_one(content_type):
    """They look for the name anywhere in the media type, so others that contain it pass."""
    assert theirs(b"data: a\n\n", content_type=content_type) == [Seen("message", "a", "", None)]


def test_they_write_into_the_headers_of_the_caller():
    """A dictionary of headers comes back with two entries more, and the request says `no-store`."""
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return response([b"data: a\n\n"])

    async def connect(headers: dict[str, str]) -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
            httpx_sse.aconnect_sse(client, "GET", "https://host.example/", headers=headers) as source,
        ):
            assert [sse.data async for sse in source.aiter_sse()] == ["a"]

    headers = {"Cache-Control": "no-cache", "X-Mine": "1"}
    anyio.run(connect, headers)
    assert headers == {"Cache-Control": "no-store", "X-Mine": "1", "Accept": "text/event-stream"}
    assert requests[0].headers["Cache-Control"] == "no-store"
