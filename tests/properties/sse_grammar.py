"""
Strategies shaped like the event stream grammar of the HTML standard, section 9.2.5.

Loose random bytes hardly ever form a line, let alone two line ends that a chunk border parts, so they miss
the bugs that matter.  These streams are made of lines: fields that nearly are the four known ones, comments,
blank lines, each with its own kind of line end, and values that hold what decoders trip over.

`HYPOTHESIS_PROFILE=ci` runs 1,000 examples of each property instead of 50.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else 50
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # so is a machine that has other work
)
"""The settings of the properties here; applied to each by hand, so that no other module is affected."""

BOM = b"\xef\xbb\xbf"

line_ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r\n", b"\r"])

_known = [b"data", b"data", b"event", b"id", b"id", b"retry", b"retry"]
_near = [b"", b" data", b"data ", b"Data", b"ID", b"dat", b"data\0", BOM + b"data", b"\xffid", b"\xc2\x85"]
separators = st.sampled_from([b": ", b": ", b": ", b":", b":", b":  ", b":\t", b"::", b"", b" "])

_plain = [b"a", b"b", b" ", b":", b"0", b"7", b"data: x", b"\0", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x1e"]
_whole = [text.encode() for text in "\x85é\u0661\u2028\u2029€\ufffd😀"]
_short = [BOM[:2], b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x98"]
_never = [b"\xa9", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
fragments = st.sampled_from([*_plain, *_whole, BOM, *_short, *_never])
"""What looks like syntax, characters of every length, characters cut short, and bytes that never occur."""

numbers = st.one_of(
    st.integers(0, 10**6).map(lambda number: b"%d" % number),
    st.integers(1, 40).map(lambda length: b"9" * length),
    st.integers(1, 20).map(lambda length: b"7".rjust(length, b"0")),
    st.sampled_from([b"-5", b"+5", b"1_000", b"1.5", b" 5", b"5 ", b"5\0", b"\xd9\xa1\xd9\xa2", b"\xc2\xb2"]),
)

_ids = st.sampled_from([b"1", b"2", b"7", b"", b"\0", b"1\0", b"\x002", "é".encode()])

values = st.one_of(
    st.lists(fragments, max_size=4).map(b"".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6).map(str.encode),
    numbers,
    st.just(b""),
)


_values_of = {b"id": st.one_of(_ids, values), b"retry": numbers}


@st.composite
def _field(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(_known))
    return name + draw(separators) + draw(_values_of.get(name, values))


_line_of = {
    "field": _field(),
    "data": values.map(b"data: ".__add__),
    "near": st.tuples(st.sampled_from(_near), separators, values).map(b"".join),
    "comment": st.tuples(st.sampled_from([b":", b": ", b"::"]), values).map(b"".join),
    "bare": st.sampled_from(_known),
    "any": values,
    "blank": st.just(b""),
}
# Drawn by name: one_of() would weigh every branch of its branches alike, and fields would be rare.
lines = st.sampled_from(["field"] * 3 + ["data", *_line_of]).flatmap(_line_of.__getitem__)

_ended_line = st.tuples(lines, line_ends).map(b"".join)


@st.composite
def _block(draw: st.DrawFn) -> bytes:
    return b"".join(draw(st.lists(_ended_line, min_size=1, max_size=4))) + draw(line_ends)


@st.composite
def streams(draw: st.DrawFn, max_blocks: int = 6) -> bytes:
    """Draw a stream: perhaps a mark or a piece of one, blocks and stray lines, perhaps an unfinished line."""
    start = draw(st.sampled_from([b"", b"", b"", BOM, BOM + BOM, BOM[:2], BOM[:1]]))
    parts = st.one_of(_block(), _block(), _block(), _ended_line, line_ends)
    body = draw(st.lists(parts, min_size=draw(st.sampled_from([0, 1, max_blocks // 2])), max_size=max_blocks))
    tail = draw(st.one_of(st.just(b""), lines))
    return start + b"".join(body) + tail


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    """Cut *stream* at *positions*; a position that comes twice makes an empty chunk."""
    borders = [0, *sorted(positions), len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(borders)]


@st.composite
def chunked_streams(draw: st.DrawFn, max_blocks: int = 6) -> list[bytes]:
    """Draw a stream cut at random, often inside line ends and characters, or into pieces of one length."""
    stream = draw(streams(max_blocks))
    size = len(stream)
    delicate = [position for position in range(1, size) if _delicate(stream, position)]
    positions = [
        st.lists(st.integers(0, size), max_size=8),
        st.sampled_from([1, 2, 3, 7]).map(lambda step: list(range(step, size, step))),
    ]
    if delicate:
        positions += [st.lists(st.sampled_from(delicate), min_size=1, max_size=8)] * 2
    return cut(stream, draw(st.one_of(positions)))


def _delicate(stream: bytes, position: int) -> bool:
    """Whether a cut at *position* parts a line end from its neighbour or a character in two."""
    return stream[position - 1] in b"\r\n" or stream[position] in b"\r\n" or 0x80 <= stream[position] <= 0xBF


@dataclass(frozen=True)
class Wire:
    """A block as a server would mean it, before it is written down."""

    data: str | None
    event: str | None
    id: str | None
    retry: int | None
    comment: str | None


_word = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
_data = st.lists(_word, min_size=1, max_size=4).map("\n".join)

wires = st.builds(
    Wire,
    data=st.one_of(st.none(), _data, _data, _data),
    event=st.one_of(st.none(), _word),
    id=st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)),
    retry=st.one_of(st.none(), st.integers(0, 10**15 - 1)),
    comment=st.one_of(st.none(), _word),
)


def encode(wire: Wire, end: str = "\n", *, space: bool = True) -> bytes:
    """Write *wire* down: comment, event, id, retry, one line for each line of data, and a blank line."""
    gap = " " if space else ""
    fields = [
        ("", wire.comment),
        ("event", wire.event),
        ("id", wire.id),
        ("retry", None if wire.retry is None else str(wire.retry)),
        *(("data", line) for line in ([] if wire.data is None else wire.data.split("\n"))),
    ]
    written = ""
    for name, value in fields:
        if value is not None:
            # A value with a space of its own in front needs the optional one, or it would lose that.
            needed = " " if value.startswith(" ") else gap
            written += f"{name}:{needed}{value}{end}"
    return (written + end).encode()
