"""What holds for every stream in every chunking, tried on streams drawn from the grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, Parser, RetryHint
from tests.conformance import reference_parser
from tests.conformance.case_table import drive, single_bytes
from tests.properties.sse_grammar import (
    PROFILE,
    Wire,
    chunked_streams,
    cut,
    encode,
    fragments,
    streams,
    wires,
)

pytestmark = pytest.mark.slow  # every stream goes through both lanes

limits = st.one_of(st.integers(12, 40), st.integers(1, 64))


@PROFILE
@given(chunked_streams())
def test_any_chunking_gives_what_the_reference_parser_gives(chunks):
    """However a stream is cut, the items are those of the whole stream, as the second reading has them."""
    stream = b"".join(chunks)
    expected = reference_parser.parse(stream)
    assert drive([stream]) == expected
    assert drive(chunks) == expected


@PROFILE
@given(streams(max_blocks=3))
def test_every_prefix_says_all_it_can(stream):
    """Items come with the byte that completes them: no later, and none before."""
    parser = Parser(max_event_bytes=None)
    items = []
    for position, byte in enumerate(single_bytes(stream), start=1):
        items += parser.feed(byte)
        assert items == reference_parser.parse(stream[:position]).items, position


@PROFILE
@given(st.lists(fragments, max_size=8).map(b"".join))
def test_reference_decodes_like_python(stream):
    """The decoder spelt out in the reference parser is Python's UTF-8 with `errors="replace"`."""
    characters = reference_parser.decode(b"x" + stream)[1:]
    assert "".join(character for character, _ in characters) == stream.decode("utf-8", "replace")
    assert sum(size for _, size in characters) == len(stream)


@PROFILE
@given(chunked_streams(), limits)
def test_the_limit_trips_at_the_same_byte_in_any_chunking(chunks, limit):
    """Whether the limit is passed, and every item before that, depends on the bytes alone."""
    stream = b"".join(chunks)
    expected = reference_parser.parse(stream, limit)
    assert drive([stream], limit) == expected
    assert drive(chunks, limit) == expected
    assert drive(single_bytes(stream), limit) == expected


@PROFILE
@given(
    st.lists(wires, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.integers(1, 9),
    st.booleans(),
)
def test_what_is_encoded_is_parsed_back(sent, end, space, step, marked):
    """Blocks written by an encoder come back as they were meant, in any chunk size."""
    stream = ("\ufeff" if marked else "").encode() + b"".join(encode(wire, end, space=space) for wire in sent)
    outcome = drive(cut(stream, list(range(step, len(stream), step))))
    assert outcome.items == [item for wire in sent for item in _items(wire)]
    assert not outcome.partial


def _items(wire: Wire) -> list[Block | Comment | RetryHint]:
    items: list[Block | Comment | RetryHint] = []
    if wire.comment is not None:
        items.append(Comment(wire.comment))
    if wire.retry is not None:
        items.append(RetryHint(wire.retry))
    if wire.data is not None or wire.id is not None or wire.retry is not None:
        items.append(Block(event=wire.event or "", data=wire.data, id=wire.id, retry=wire.retry))
    return items
