"""What holds for every stream in every chunking, tried on streams drawn from the grammar."""

from __future__ import annotations

import bisect
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, Parser, RetryHint
from tests.conformance import reference_parser
from tests.conformance.case_table import Outcome, drive, single_bytes
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


def reference(stream: bytes, limit: int | None = None) -> Outcome:
    """Let the reference parser read *stream*."""
    reading = reference_parser.parse(stream, limit)
    return Outcome(reading.items, reading.partial, reading.overflow)


def held(thing: object, seen: set[int] | None = None) -> int:
    """Count the bytes and characters that can be reached from *thing* through attributes and containers."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | bytearray | str):
        return len(thing)
    if isinstance(thing, list | tuple | set | frozenset):
        return sum(held(part, seen) for part in thing)
    if isinstance(thing, dict):
        return sum(held(part, seen) for part in thing.values())
    slots = itertools.chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(thing).__mro__)
    attributes = [*getattr(thing, "__dict__", {}), *slots]
    return sum(held(getattr(thing, name, None), seen) for name in attributes)


@PROFILE
@given(chunked_streams())
@pytest.mark.slow
def test_any_chunking_gives_what_the_reference_parser_gives(chunks):
    """However a stream is cut, the items are those of the whole stream, as the second reading has them."""
    stream = b"".join(chunks)
    expected = reference(stream)
    assert drive([stream]) == expected
    assert drive(chunks) == expected


@PROFILE
@given(streams(max_blocks=3))
@pytest.mark.slow
def test_every_cut_in_two(stream):
    """No single cut in a stream changes what it says, not even next to an empty chunk."""
    expected = reference(stream)
    for position in range(len(stream) + 1):
        assert drive([stream[:position], stream[position:]]) == expected, position
    assert drive(part for byte in single_bytes(stream) for part in (byte, b"")) == expected


@PROFILE
@given(streams(max_blocks=2), st.data())
@pytest.mark.slow
def test_cuts_in_three(stream, data):
    """Three chunks show what two cannot: state that should not outlive the chunk after its own."""
    expected = reference(stream)
    for first in range(len(stream) + 1):
        second = min(first + 1, len(stream)) if first % 16 else data.draw(st.integers(first, len(stream)))
        assert drive(cut(stream, [first, second])) == expected, (first, second)


@PROFILE
@given(streams(max_blocks=3))
@pytest.mark.slow
def test_every_prefix_says_all_it_can(stream):
    """Items come with the byte that completes them: no later, and none before."""
    parser = Parser(max_event_bytes=None)
    items = []
    for position, byte in enumerate(single_bytes(stream), start=1):
        items += parser.feed(byte)
        assert items == reference(stream[:position]).items, position


@PROFILE
@given(st.lists(fragments, max_size=8).map(b"".join))
def test_reference_decodes_like_python(stream):
    """The decoder spelt out in the reference parser is Python's UTF-8 with `errors="replace"`."""
    characters = reference_parser.decode(b"x" + stream)[1:]
    assert "".join(character for character, _ in characters) == stream.decode("utf-8", "replace")
    assert sum(size for _, size in characters) == len(stream)


@PROFILE
@given(chunked_streams(), limits)
@pytest.mark.slow
def test_the_limit_trips_at_the_same_byte_in_any_chunking(chunks, limit):
    """Whether the limit is passed, and every item before that, depends on the bytes alone."""
    stream = b"".join(chunks)
    expected = reference(stream, limit)
    assert drive([stream], limit) == expected
    assert drive(chunks, limit) == expected
    assert drive(single_bytes(stream), limit) == expected


@PROFILE
@given(chunked_streams(max_blocks=3))
@pytest.mark.slow
def test_the_limit_may_be_reached_but_not_passed(chunks):
    """A limit of what the largest block needs never trips, in any chunking; one byte less always does."""
    stream = b"".join(chunks)
    fits = range(len(stream) + 2)
    needed = bisect.bisect_left(fits, True, key=lambda limit: not reference(stream, limit).overflow)
    assert drive(chunks, max(needed, 1)) == reference(stream)
    if needed > 1:
        assert drive(chunks, needed - 1) == reference(stream, needed - 1)
        assert drive(chunks, needed - 1).overflow


@PROFILE
@given(chunked_streams(), limits)
@pytest.mark.slow
def test_an_overflow_keeps_the_items_before_it(chunks, limit):
    """What comes out before the limit trips is the start of what would have come out without a limit."""
    limited = drive(chunks, limit)
    free = drive(chunks)
    assert limited.items == free.items[: len(limited.items)]
    assert limited.overflow or limited == free
    # A stream that would fit in as one block, its last line end included, is never refused.
    assert drive(chunks, sum(map(len, chunks)) + 1) == free


@PROFILE
@given(
    chunked_streams(),
    st.sampled_from([b"", b"\n\ndata: ", b"\n\n: ", b"\n\nx", b"\n\nid: "]),
    st.booleans(),
    st.sampled_from([16, 64, 256]),
)
@pytest.mark.slow
def test_never_holds_more_than_the_limit_and_one_chunk(chunks, opening, block, limit):
    """A parser keeps no more than a block of the limit's size and the chunk it was given last."""
    parser = Parser(max_event_bytes=limit)
    idle = held(parser)
    if block:
        # A block that just fits; what follows has to find room beside it.
        chunks = [*chunks, b"\n\ndata:", b"y" * (limit - 8), b"\n"]
        opening = opening.lstrip()
    for chunk in [*chunks, opening, *[b"0123456789abcdef" * 4] * (limit // 16 + 2)]:
        if parser.overflow is not None:
            break
        parser.feed(chunk)
        if parser.overflow is None:
            assert held(parser) <= idle + limit + len(chunk)
    assert parser.overflow is not None


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


@PROFILE
@given(st.lists(wires, max_size=5))
@pytest.mark.slow
def test_parsing_and_encoding_again_changes_nothing(sent):
    """What was parsed, encoded and parsed again is what was parsed."""
    once = drive([b"".join(map(encode, sent))]).items
    blocks = [item for item in once if isinstance(item, Block)]
    again = b"".join(
        encode(Wire(data=block.data, event=block.event, id=block.id, retry=block.retry, comment=None))
        for block in blocks
    )
    assert [item for item in drive([again]).items if isinstance(item, Block)] == blocks


def _items(wire: Wire) -> list[Block | Comment | RetryHint]:
    items: list[Block | Comment | RetryHint] = []
    if wire.comment is not None:
        items.append(Comment(wire.comment))
    if wire.retry is not None:
        items.append(RetryHint(wire.retry))
    if wire.data is not None or wire.id is not None or wire.retry is not None:
        items.append(Block(event=wire.event or "", data=wire.data, id=wire.id, retry=wire.retry))
    return items
