"""
A second reading of the HTML standard, sections 9.2.5 and 9.2.6: slow, whole-input, one character at a time.

It shares nothing with the product but the item types, so that a misreading would have to be made twice to
stay unseen: the whole stream is decoded first with the Encoding standard's UTF-8 decoder spelt out as its
states, then cut into lines by a state machine over characters, then every line is processed by the steps in
the order the standard lists them.  Nothing here is incremental and nothing is fast.

Three things are the product's and not the standard's: a block that carries an id or a retry but no data is
reported (without data), `retry` values are at most 15 digits, and a block may have a limit in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from resilient_sse._core.events import Comment
from resilient_sse._core.parser import Block, RetryHint

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ASCII_DIGITS = frozenset("0123456789")
LONGEST_RETRY = 15

Item = Block | Comment | RetryHint


@dataclass(frozen=True)
class Reading:
    """
    What a stream amounts to: its items, whether its end cut a block, whether the limit tripped before that.

    *partial* says nothing once *overflow* is true.
    """

    items: list[Item]
    partial: bool
    overflow: bool


def parse(stream: bytes, limit: int | None = None) -> Reading:
    """Read a whole stream that ends after its last byte."""
    return _Interpreter(limit).run(stream)


def decode(stream: bytes) -> list[tuple[str, int]]:
    """
    UTF-8 decode: strip one mark, then turn bytes into characters, each with the number of bytes it took.

    These are the variables and branches of the Encoding standard's UTF-8 decoder: needed, seen, lower, upper.
    """
    if stream[:3] == BYTE_ORDER_MARK:
        stream = stream[3:]
    characters: list[tuple[str, int]] = []
    point = needed = seen = 0
    lower, upper = 0x80, 0xBF
    position = 0
    while position < len(stream):
        byte = stream[position]
        position += 1
        if needed == 0:
            lower, upper = 0x80, 0xBF
            if byte <= 0x7F:
                characters.append((chr(byte), 1))
            elif 0xC2 <= byte <= 0xDF:
                needed, point = 1, byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                lower = 0xA0 if byte == 0xE0 else 0x80
                upper = 0x9F if byte == 0xED else 0xBF
                needed, point = 2, byte & 0x0F
            elif 0xF0 <= byte <= 0xF4:
                lower = 0x90 if byte == 0xF0 else 0x80
                upper = 0x8F if byte == 0xF4 else 0xBF
                needed, point = 3, byte & 0x07
            else:
                characters.append(("\ufffd", 1))
            continue
        if not lower <= byte <= upper:
            characters.append(("\ufffd", 1 + seen))
            point = needed = seen = 0
            position -= 1  # the byte is read again, as the start of something else
            continue
        lower, upper = 0x80, 0xBF
        point = point << 6 | byte & 0x3F
        seen += 1
        if seen == needed:
            characters.append((chr(point), 1 + seen))
            point = needed = seen = 0
    if needed:
        characters.append(("\ufffd", 1 + seen))
    return characters


@dataclass
class _Interpreter:
    """The buffers of section 9.2.6 and the steps that fill and empty them."""

    limit: int | None
    items: list[Item] = field(default_factory=list)
    data: str = ""
    event_type: str = ""
    own_id: str | None = None
    own_retry: int | None = None
    fields: int = 0
    spent: int = 0

    def run(self, stream: bytes) -> Reading:
        """Cut the stream into lines and process each; stop where the limit is passed."""
        line = ""
        length = 0
        previous = ""
        # A stream that stops inside what may become a byte order mark has no first line yet to be counted.
        counted = self.limit is not None and not BYTE_ORDER_MARK.startswith(stream)
        for character, size in decode(stream):
            pair = previous == "\r" and character == "\n"
            previous = character
            if pair:
                continue
            if character not in ("\r", "\n"):
                line += character
                length += size
                if counted and self.spent + length > self.limit:
                    return self.overflowed()
                continue
            if line and not line.startswith(":"):
                self.spent += length + 1
                if counted and self.spent > self.limit:
                    return self.overflowed()
            self.process_line(line)
            line, length = "", 0
        unfinished_line = line != "" and not line.startswith(":")
        return Reading(self.items, partial=self.fields > 0 or unfinished_line, overflow=False)

    def overflowed(self) -> Reading:
        """What there is to report when the limit has been passed."""
        return Reading(self.items, partial=False, overflow=True)

    def process_line(self, line: str) -> None:
        """Process one line, in the four cases of the standard."""
        if line == "":
            self.dispatch()
        elif line[0] == ":":
            self.items.append(Comment(self.without_leading_space(line[1:])))
        elif ":" in line:
            colon = line.index(":")
            self.process_field(line[:colon], self.without_leading_space(line[colon + 1 :]))
        else:
            self.process_field(line, "")

    @staticmethod
    def without_leading_space(value: str) -> str:
        """Remove one U+0020 from the front, if there is one."""
        return value[1:] if value[:1] == " " else value

    def process_field(self, name: str, value: str) -> None:
        """Process a field by its name, compared literally."""
        self.fields += 1
        if name == "event":
            self.event_type = value
        elif name == "data":
            self.data += value + "\n"
        elif name == "id":
            if "\x00" not in value:
                self.own_id = value
        elif name == "retry" and 1 <= len(value) <= LONGEST_RETRY and ASCII_DIGITS.issuperset(value):
            number = 0
            for digit in value:
                number = number * 10 + "0123456789".index(digit)
            self.own_retry = number
            self.items.append(RetryHint(number))

    def dispatch(self) -> None:
        """Dispatch the event; without data there is none, but an id or a retry is still reported."""
        if self.data != "":
            data = self.data[:-1]  # the last character is always the line feed of the last data line
            self.items.append(Block(event=self.event_type, data=data, id=self.own_id, retry=self.own_retry))
        elif self.own_id is not None or self.own_retry is not None:
            self.items.append(Block(event=self.event_type, data=None, id=self.own_id, retry=self.own_retry))
        self.data = self.event_type = ""
        self.own_id = self.own_retry = None
        self.fields = self.spent = 0
