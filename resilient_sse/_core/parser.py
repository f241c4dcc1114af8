"""
Bytes in, blocks out: the HTML standard, section 9.2.6 "Interpreting an event stream", without I/O.

Theory of operation.  A line is complete as soon as its end is seen, so `feed` cuts what it has at the last
line end, decodes that much at once (a line end never lies inside a UTF-8 sequence, hence no sequence is ever
cut), and walks the lines.  What follows the last line end waits in one growing buffer that is not looked at
again before its end arrives.  The cost is linear in the bytes received, whatever their chunking, and
*max_event_bytes* bounds what is kept.

Two lanes, one meaning.  `feed` is the standard, line by line: 2.4 us for an id, a type and 100 bytes of data.
`feed_fast` leaves the text of whole blocks as it is, and only what is cut to `feed`.  Of such a text
`split_blocks` cuts many plain events that all have the lines of the first at what these have in common, into
`Columns` (0.5 us), and finds whatever else comes with one expression (1 us); `dataless` takes blocks without data,
all at once.  Many plain events that are long are cut into `Columns` before there is a text (1 KiB: 0.4 us of 2
less).
Property tests and every conformance table hold the lanes equal.

The parser belongs to one connection.  The id in force outlives connections and is not known here: a `Block`
says only what that block said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple, TypeAlias, TypeVar

from resilient_sse._core.errors import LimitExceededError
from resilient_sse._core.events import Comment

_BOM = b"\xef\xbb\xbf"

# int() of a digit string is quadratic, and nobody means to wait for 10**15 milliseconds (31,000 years).
_MAX_RETRY_DIGITS = 15


@dataclass(slots=True)
class Block:
    """
    What stood between two blank lines.  Not frozen, which would cost 1 us for each; nothing changes one.

    Attributes:
        event: The last event type it named, `""` for none.
        data: The data, or `None` if there was no data field (then nothing is dispatched).
        id: The last valid id it named, or `None` if it had no id field.
        retry: The last valid reconnection time it named, in milliseconds, or `None`.
    """

    event: str = ""
    data: str | None = None
    id: str | None = None
    retry: int | None = None


@dataclass(slots=True)
class RetryHint:
    """A valid `retry` field.  The standard applies it at once, even if its block is never finished."""

    milliseconds: int


Item: TypeAlias = Block | Comment | RetryHint

Pieces: TypeAlias = tuple[str, str, str, str, str, str, str, str, str, str]
"""Comment lines before the block; its text; whether it has an id, and which; its type; whether it has more data
lines than one, any at all, and which; its time to wait; whether comments stand in it."""


class Columns(NamedTuple):
    """Whole blocks that have the same lines: their type, `""` for none, their ids, or none, and their data."""

    event: str
    ids: Sequence[str]
    data: Sequence[str]


class Comments(str):
    """Lines, some of which are comments; these are made only if somebody asks for them."""

    __slots__ = ()


Found: TypeAlias = Item | Columns | str
"""An item, comments, or whole blocks: their text, or what is in them."""

_T = TypeVar("_T")

# Where the first block is more than such a part of a text, there are too few for columns to be worth while.
FEW = 8
# From so many bytes on, to look for line ends is cheaper by memchr(), which str.split() does not do.
_LONG = 400
_VALUE = itemgetter(slice(len("data: "), -1))

_MAX_ID = 1024
_SHAPE = re.compile(
    r"((?:event: ?+(.++)\n)?+)(?:(id: ?+)[!-~]++(\n(?:event: ?+(.++)\n)?+))?+(data: ?+).*+\n(?:data: .*+\n)*+\n"
).match
_VISIBLE = re.compile("[!-~]*+").fullmatch

# A group keeps what the last line of its kind said, as the standard does.  Comments, or their blocks, are taken in
# one piece, and nothing is tried twice (the possessive "+"): a flood of them must cost linear time.  No possessive
# "+" around groups: Python 3.11 and 3.12 lose track of them.
_BLOCKS = re.compile(
    r"((?::.*+\n\n?+)*+)((?:(i)d(?:: ?+|(?=\n))([^\0\n]*+)\n|event(?:: ?+|(?=\n))(.*+)\n"
    r"|(?(7)(data)(?:: ?+.*+)?+\n|(d)ata(?:: ?+|(?=\n))(.*+)\n)"
    rf"|retry: ?+([0-9]{{1,{_MAX_RETRY_DIGITS}}}+)\n|(:).*+\n|.++\n)*(?:\n|\Z))"
).findall
_NO_FIELDS = re.compile(r"\n*+(?::.*+\n++)*+").fullmatch
_BEGIN = re.compile(rb"(?:(?:id|event): .*+\n)*+data: ").match
_HEAD = re.compile(rf"(?:id: (?! )([ -~]{{1,{_MAX_ID}}}+)(?<! )\n)?+(?:event: (.++)\n)?+data: ").match

# What lines of one kind say, all of them at once: 5 ns a byte of a flood, where a line by itself costs 400 ns.
_DATA, _EVENTS, _IDS = (
    re.compile(rf"\n{name}(?:: ?+(.*+))?+(?=\n)").findall for name in ("data", "event", "id")
)
_RETRIES = re.compile(rf"\nretry: ?+([0-9]{{1,{_MAX_RETRY_DIGITS}}}+)(?=\n)").findall
_ONLY_COMMENTS = re.compile(r"(?::.*+\n)++").fullmatch
_COMMENT_LINES = re.compile(rb"\n(:.*+)").findall
# A text of fewer lines, or shorter, is interpreted line by line.
_MANY_LINES, _MANY_CHARACTERS = 16, 64


class Parser:
    """
    An incremental parser for one connection's bytes.

    Args:
        max_event_bytes: How many bytes of a block may be pending: its lines, each with one byte for its end,
            and the unfinished line.  Finished comments are not kept and not counted.  `None` means no limit.
    """

    def __init__(self, *, max_event_bytes: int | None = 16 * 1024 * 1024) -> None:
        self.overflow: LimitExceededError | None = None
        """Set once the limit was passed; `feed` then returns what was complete before and raises next time."""
        self._limit = max_event_bytes
        self._tail = bytearray()
        self._begun = False  # the tail is all there is of a block, of which the first data line goes on
        self._head = b""
        self._at_start = True
        self._swallow_lf = False
        self._block_bytes = 0
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None
        self._fields = False

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes and return what they completed; raise if the limit was passed in an earlier call."""
        if self.overflow is not None:
            raise self.overflow
        return self._lines(self._normalised(chunk), self._line_by_line)

    def feed_fast(self, chunk: bytes) -> list[Found]:
        """Take the next bytes and return what they completed, like `feed`, but usual blocks as they are found."""
        if self.overflow is not None:
            raise self.overflow
        if self._at_start or self._swallow_lf or b"\r" in chunk:
            chunk = self._normalised(chunk)
        if self._begun:  # what is put together and taken like any whole one costs half
            if b"\n" not in chunk and self._fits(chunk, self._tail):
                self._tail += chunk
                return []
            chunk, self._tail, self._begun = b"".join((self._tail, chunk)), bytearray(), False
        if self._limit is not None and len(chunk) > self._limit:
            return [*self._lines(chunk, self.read)]
        items: list[Found] = []
        start = 0
        if self._tail or self._fields:
            start = _end_of_block(chunk, after_line_end=not self._tail)
            items += self._lines(chunk[:start] if start else chunk, self.read)
            if not start or self.overflow is not None:
                return items
        elif chunk.endswith(b"\n\n"):
            return [_whole(chunk, 0, len(chunk))]
        end = end_of_last_block(chunk, len(chunk))
        if end > start:
            items.append(_whole(chunk, start, end))
        rest = memoryview(chunk)[max(start, end) :]
        begun = _BEGIN(rest)
        if begun and chunk.find(b"\n", len(chunk) - len(rest) + begun.end()) < 0 and self._fits(rest):
            self._tail, self._begun = bytearray(rest), True
        elif rest:
            items += self._lines(bytes(rest), self.read)
        return items

    def _normalised(self, chunk: bytes) -> bytes:
        """Strip the byte order mark and turn every line end into LF."""
        if self._at_start:
            chunk = self._strip_bom(chunk)
        if self._swallow_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._swallow_lf = False
        if b"\r" in chunk:
            self._swallow_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _lines(self, chunk: bytes, read: Callable[[str], list[_T]]) -> list[_T] | list[Item]:
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._tail += chunk
            self._check_tail()
            return []
        frame: bytes | bytearray = chunk[:end]
        if self._tail:
            self._tail += frame
            frame = self._tail
        self._tail = bytearray(memoryview(chunk)[end:])
        text = frame.decode("utf-8", "replace")
        fits = self._fits(frame)
        items = read(text) if fits else self.interpret(self._up_to_limit(text.split("\n")[:-1], frame))
        if self.overflow is None:
            self._block_bytes = self._pending_bytes(frame) if self._fields else 0
            self._check_tail()
        return items

    def finish(self) -> bool:
        """
        Return whether an unfinished block was thrown away.

        The standard: "if the file ends in the middle of an event, before the final empty line, the incomplete
        event is not dispatched".
        """
        tail = self._head if self._at_start else self._tail
        return self._fields or (bool(tail) and not tail.startswith(b":"))

    def _line_by_line(self, text: str) -> list[Item]:
        return self.interpret(text.split("\n")[:-1])

    def read(self, text: str) -> list[Found]:
        """Interpret whole lines like `interpret`; of many `retry` fields in one block only the last is told."""
        if not _has_many_lines(text) or "\n\n" in text[:-1] or text[0] == "\n":
            return [*self._line_by_line(text)]
        if text[0] == ":" and _ONLY_COMMENTS(text):
            return [Comments(text)]
        found: list[Found] = []
        ended = text.endswith("\n\n")
        text = f"\n{text}"
        if "\n:" in text:
            found.append(Comments(text))
        if "\ndata" in text:
            self._data += _DATA(text)
        if "\nevent" in text:
            self._event = [self._event, *_EVENTS(text)][-1]
        if "\nid" in text:
            self._id = [self._id, *[each for each in _IDS(text) if "\0" not in each]][-1]
        if "\nretry" in text and (retries := _RETRIES(text)):
            self._retry = int(retries[-1])
            found.append(RetryHint(self._retry))
        self._fields = self._fields or _ONLY_COMMENTS(text, 1, len(text) - ended) is None
        if ended:
            items: list[Item] = []
            self._dispatch(items)
            found += items
        return found

    def interpret(self, lines: Iterable[str]) -> list[Item]:
        """Interpret lines, the ends of which are off; the state of a block carries over to the next call."""
        items: list[Item] = []
        for line in lines:
            if not line:
                self._dispatch(items)
                continue
            # Nearly every line reads "name: value"; the partition that matches it spares a look at the space.
            name, _, value = line.partition(": ")
            if name == "data":
                self._data.append(value)
                self._fields = True
                continue
            if ":" in name or name == line:
                if line[0] == ":":
                    items.append(Comment(line[1:]))
                    continue
                # "If value starts with a U+0020 SPACE character, remove it": a colon without a space, or none.
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
            elif not name:
                items.append(Comment(value))
                continue
            self._field(name, value, items)
        return items

    def _field(self, name: str, value: str, items: list[Item]) -> None:
        self._fields = True
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            # "If the field value does not contain U+0000 NULL, then set the last event ID buffer [...]".
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            # "If the field value consists of only ASCII digits": str.isdigit() alone accepts other scripts.
            self._retry = int(value)
            items.append(RetryHint(self._retry))

    def _dispatch(self, items: list[Item]) -> None:
        if self._data or self._id is not None or self._retry is not None:
            data = "\n".join(self._data) if self._data else None
            items.append(Block(self._event, data, self._id, self._retry))
        if self._fields:
            self._event = ""
            self._data = []
            self._id = None
            self._retry = None
            self._fields = False

    def _strip_bom(self, chunk: bytes) -> bytes:
        """Hold the first bytes back until they are a byte order mark or cannot become one."""
        self._head += chunk
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        head, self._head = self._head, b""
        self._at_start = False
        return head.removeprefix(_BOM)

    def _fits(self, frame: bytes | bytearray | memoryview, before: bytes | bytearray = b"") -> bool:
        """Whether no block in *frame* can pass the limit; the usual case, and the cheap question."""
        return self._limit is None or self._block_bytes + len(before) + len(frame) <= self._limit

    def _up_to_limit(self, lines: list[str], frame: bytes | bytearray) -> Iterator[str]:
        """Yield *lines* up to the one that passes the limit, measured on the bytes they were decoded from."""
        size = self._block_bytes
        for line, raw in zip(lines, bytes(frame).split(b"\n"), strict=False):
            if not raw:
                size = 0
            elif raw.startswith(b":"):
                if self._exceeds(size + len(raw)):
                    return
            else:
                size += len(raw) + 1
                if self._exceeds(size):
                    return
            yield line

    def _pending_bytes(self, frame: bytes | bytearray) -> int:
        """Count the bytes of the block that *frame* leaves unfinished."""
        blank = frame.rfind(b"\n\n")
        if blank >= 0:
            size, rest = 0, frame[blank + 2 :]
        elif frame.startswith(b"\n"):
            size, rest = 0, frame[1:]
        else:
            size, rest = self._block_bytes, frame
        said = _COMMENT_LINES(b"\n" + rest)
        return size + len(rest) - len(b"".join(said)) - len(said)  # sum() takes three times as much

    def _check_tail(self) -> None:
        self._exceeds(self._block_bytes + len(self._tail))

    def _exceeds(self, size: int) -> bool:
        if self._limit is None or size <= self._limit:
            return False
        self.overflow = LimitExceededError(self._limit)
        self._tail.clear()
        self._data.clear()
        return True


def _has_many_lines(text: str) -> bool:
    at = -1
    for _ in range(_MANY_LINES if len(text) >= _MANY_CHARACTERS else 0):
        at = text.find("\n", at + 1)  # memchr(); count() looks at each character
        if at < 0:
            break
    return at >= 0


def split_blocks(text: str) -> Columns | list[Pieces]:
    """Take whole blocks apart: by columns if they are many and all have the lines of the first."""
    head = _HEAD(text)
    first = text.find("\n", head.end()) if head else 0  # memchr(): the expressions look at each character
    if first * FEW < len(text) and (columns := _columns(text)):
        return columns
    blocks: list[Pieces] = []
    start = 0
    while head and text.startswith("\n", (end := text.find("\n", head.end())) + 1):
        event_id, kind = head.groups("")
        blocks.append(("", "", event_id, event_id, kind, "", "d", text[head.end() : end], "", ""))
        start = end + 2
        if start == len(text):
            return blocks
        head = _HEAD(text, start)
    rest: list[Pieces] = _BLOCKS(text, start)
    if any([block[5] for block in rest]):  # noqa: C419 - faster so
        rest = [(*b[:7], "\n".join(_DATA(f"\n{b[1]}")), *b[8:]) if b[5] else b for b in rest]
    return blocks + rest


def _whole(chunk: bytes, start: int, end: int) -> Columns | str:
    """Return whole blocks, as columns if they are long, or their text, which a view spares a copy."""
    return _long_columns(chunk, start, end) or str(memoryview(chunk)[start:end], "utf-8", "replace")


def _long_columns(chunk: bytes, start: int, end: int) -> Columns | None:
    """Take whole blocks apart at their line ends, if they are long and all have the lines of the first."""
    begun = _BEGIN(chunk, start, end) if end - start >= _LONG * FEW else None
    first = chunk.find(b"\n", begun.end(), end) - start if begun else 0
    if begun is None or not _LONG <= first < (end - start) // FEW:
        return None
    lines = BytesIO(memoryview(chunk)[start:end]).readlines()
    size = begun[0].count(b"\n") + 2
    *heads, data, blank = [lines[at::size] for at in range(size)]
    if len(lines) % size or blank.count(b"\n") != len(data):
        return None
    if not all(map(bytes.startswith, data, repeat(b"data: "))):
        return None
    event, ids = "", list[str]()
    for column in heads:
        if column[0].startswith(b"event: "):
            event = str(column[0], "utf-8", "replace")[7:-1]
            if column.count(column[0]) != len(data):
                return None
        else:
            ids = str(b"".join(column), "utf-8", "replace")[4:-1].split("\nid: ")
            if not are_plain(ids):
                return None
    values = map(str, data, repeat("utf-8"), repeat("replace"))
    return Columns(event, ids, list(map(_VALUE, values)))


def _columns(text: str) -> Columns | None:
    """Take whole blocks apart at what they have in common, if they all have the lines of the first."""
    shape = _SHAPE(text, 0, len(text) // FEW)
    if shape is None:
        return None
    head, event, name, neck, event_behind, last = shape.groups()
    head += last if neck is None else name
    parts = text.split(f"\n\n{head}")
    parts[0] = parts[0][len(head) :]
    parts[-1] = parts[-1][:-2]
    ids: Sequence[str] = ()
    data: Sequence[str] = parts
    if neck is not None:
        ids, necks, data = zip(*map(str.partition, parts, repeat(f"{neck}{last}")), strict=True)
        if not (all(necks) and are_plain(ids)):
            return None
    lines = "\r".join(data)  # there are no others of these any more
    if "\n" in lines or last == "data:":
        values = lines.replace("\ndata: ", "\n")
        if 6 * values.count("\n") != len(lines) - len(values) or (last == "data:" and "\ndata: " in text):
            return None  # there are other lines, or spaces that are not for the data
        data = values.split("\r")
    return Columns(event_behind or event or "", ids, data)


def dataless(text: str) -> tuple[list[str], list[str], str] | None:
    """Return ids, times to wait and comments of whole blocks without data; `None` if there are data or odd ids."""
    if "\ndata" in text or text.startswith("data"):
        return None
    said = text if text[0] == ":" or "\n:" in text else ""
    if text[0] in ":\n" and _NO_FIELDS(text):
        return [], [], said
    text = f"\n{text}"
    ids = _IDS(text)
    return (ids, _RETRIES(text), said) if are_plain([*filter(None, ids)]) else None


def are_plain(ids: Sequence[str]) -> bool:
    """Whether a header can carry each of the *ids*, by the cheap question; none is empty."""
    return not ids or ("" not in ids and _VISIBLE("".join(ids)) is not None and max(map(len, ids)) <= _MAX_ID)


def comments_in(text: str) -> list[Comment]:
    """Return the comments among the lines of *text*, in their order."""
    lines = text.split("\n")
    return [Comment(line[1:].removeprefix(" ")) for line in lines if line.startswith(":")]


def _end_of_block(chunk: bytes, *, after_line_end: bool) -> int:
    """Return where the first blank line of *chunk* ends, 0 if there is none."""
    if after_line_end and chunk.startswith(b"\n"):
        return 1
    # To find one byte is memchr(), and to find two a loop that is 20 times slower: not over a long line.
    at = chunk.find(b"\n\n", chunk.find(b"\n")) if b"\n" in chunk else -1
    return at + 2 if at >= 0 else 0


def end_of_last_block(chunk: bytes, end: int) -> int:
    """Return where the last blank line before *end* ends, 0 if there is none; line ends are LF."""
    at = chunk.rfind(b"\n\n", 0, chunk.rfind(b"\n", 0, end) + 1)  # as above
    return at + 2 if at >= 0 else int(chunk.startswith(b"\n", 0, end))
