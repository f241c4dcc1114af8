"""
httpx-sse as a second implementation: equal on ordinary input.

Where it differs `tests/docs/test_peers.py` counts, over the tables of this folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx
import httpx_sse
import pytest

from resilient_sse._core.parser import Block
from tests.conformance.case_table import drive
from tests.properties.sse_grammar import cut

Seen = tuple[str, str, str, int | None]
"""An event as a consumer of either library sees it: type, data, the id in force, and `retry`."""


def theirs(*chunks: bytes) -> list[Seen]:
    """Let httpx-sse read *chunks*."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def read() -> list[Seen]:
        response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body())
        events = httpx_sse.EventSource(response).aiter_sse()
        return [(sse.event, sse.data, sse.id, sse.retry) async for sse in events]

    return anyio.run(read)


def ours(*chunks: bytes) -> list[Seen]:
    """Let our parser read *chunks*, with the id in force and the default type put in as a session does."""
    seen: list[Seen] = []
    last_event_id = ""
    for item in drive(chunks).items:
        if isinstance(item, Block):
            last_event_id = last_event_id if item.id is None else item.id
            if item.data is not None:
                seen.append((item.event or "message", item.data, last_event_id, item.retry))
    return seen


ORDINARY = {
    "one-line": b"data: a\n\n",
    "two-events": b"data: a\n\ndata: b\n\n",
    "lines-joined": b"data: a\ndata: b\ndata:\ndata: c\n\n",
    "empty-data": b"data\n\ndata\ndata\n\n",
    "all-fields": b"event: e\nid: 1\nretry: 5\ndata: a\n\n",
    "id-in-force": b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n",
    "id-cleared": b"id: 1\ndata: a\n\nid\ndata: b\n\ndata: c\n\n",
    "id-with-nul": b"id: a\0\ndata: a\n\n",
    "comments-before-any-id": b": c\ndata: a\n: d\n\n: e\n\ndata: b\n\n",
    "unknown-fields": b"colour: blue\ndata: a\nid 1\n\n",
    "spaces-and-colons": b"data:a\ndata:  b\ndata:c:d\n\n",
    "crlf": b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n",
    "cr": b"data: a\rdata: b\r\rdata: c\r\r",
    "mixed-ends": b"data: a\rdata: b\ndata: c\r\n\r\ndata: d\n\n",
    "characters": "data: é€😀\nid: 豆\n\n".encode(),
    "invalid-bytes": b"data: a\xff\xe2\x82\n\ndata: \xed\xa0\x80\n\n",
    "unfinished-block": b"data: a\n\ndata: b\n",
    "unfinished-line": b"data: a\n\ndata: b",
    "blank-lines-before-any-id": b"\n\n\ndata: a\n\n\n\n",
    "bogus-retry-after-a-good-one": b"retry: 1\nretry: x\nretry\ndata: a\n\n",
}


@pytest.mark.parametrize("stream", ORDINARY.values(), ids=ORDINARY)
def test_equal_on_ordinary_input(stream):
    """On ordinary streams both give the same events, whole, in two pieces and in single bytes."""
    expected = ours(stream)
    assert expected
    for chunks in ([stream], cut(stream, [len(stream) // 2]), cut(stream, list(range(len(stream))))):
        assert theirs(*chunks) == expected
        assert ours(*chunks) == expected
