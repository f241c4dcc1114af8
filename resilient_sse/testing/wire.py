"""What a scripted server puts on the wire: events and comments as bytes, pauses, and ways to cut bytes up."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType

from resilient_sse.testing.checks import check, check_seconds

__all__ = ["Pause", "comment", "event", "gzipped", "pause", "sliced"]

LINE_END = re.compile(r"\r\n|\r|\n")
"""The three line ends of the standard; `str.splitlines` knows ten."""

GZIP_WINDOW = 31
"""zlib's word for a gzip wrapper around the largest window."""


@dataclass(frozen=True, slots=True)
class Pause:
    """
    A silence in a reply.

    Attributes:
        seconds: How long it lasts.

    Raises:
        TypeError: *seconds* is no number.
        ValueError: *seconds* is negative, infinite or not a number.
    """

    seconds: float

    def __post_init__(self) -> None:
        check_seconds("seconds", self.seconds, zero=True)


def pause(seconds: float) -> Pause:
    """Keep silent for so many *seconds* before whatever comes next; errors as of `Pause`."""
    return Pause(seconds)


def event(data: str, *, id: str | None = None, event: str | None = None, retry: int | None = None) -> bytes:  # noqa: A002 - the standard's names
    """
    Write one event, blank line included.

    Args:
        data: The text; it becomes one `data:` line for each of its lines.
        id: The event's id; `""` clears the id in force, `None` (the default) writes no id.
        event: The event type; `None` (the default) writes none.
        retry: The reconnection time, in milliseconds; `None` (the default) writes none.

    Raises:
        TypeError: An argument has another type; data that is no text needs `json.dumps` or the like.
        ValueError: *id* or *event* contains a line end, *id* contains a NUL, or *retry* is negative.
    """
    check("data", data, str, "a string: call json.dumps() or the like before")
    check("id", id, (str, NoneType), "a string")
    check("event", event, (str, NoneType), "a string")
    check("retry", retry, (int, NoneType), "a whole number of milliseconds")
    lines: list[str] = []
    if event is not None:
        lines.append(f"event: {_one_line('event', event)}")
    if id is not None:
        if "\0" in id:
            raise ValueError("id must not contain a NUL: clients would ignore it")
        lines.append(f"id: {_one_line('id', id)}")
    if retry is not None:
        if retry < 0:
            raise ValueError(f"retry must not be negative, not {retry!r}")
        lines.append(f"retry: {retry}")
    lines.extend(f"data: {line}" for line in LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


def comment(text: str = "") -> bytes:
    """
    Write a comment, the usual heartbeat: one line for each line of *text*, and a blank one after them.

    Args:
        text: What follows the colon.

    Raises:
        TypeError: *text* is no string.
    """
    check("text", text, str, "a string")
    return ("\n".join(f": {line}".rstrip(" ") for line in LINE_END.split(text)) + "\n\n").encode()


def sliced(data: bytes, size: int) -> list[bytes]:
    """
    Cut *data* into chunks of *size* bytes, the last one shorter: `script.respond(*sliced(body, 1))`.

    Raises:
        ValueError: *size* is less than 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size!r}")
    return [data[start : start + size] for start in range(0, len(data), size)]


def gzipped(*chunks: bytes) -> list[bytes]:
    """
    Compress chunk by chunk, as a streaming server does: each result can be decoded as soon as it has arrived.

    The stream is left open: its trailer is not written.
    """
    compressor = Compressor()
    return [compressor.compress(chunk) for chunk in chunks]


class Compressor:
    """
    One gzip stream, flushed after every chunk.

    Args:
        window: zlib's word for a gzip wrapper around a window of a size.
        memory: zlib's word for the memory that is used besides.
    """

    def __init__(self, *, window: int = GZIP_WINDOW, memory: int = zlib.DEF_MEM_LEVEL) -> None:
        self._deflate = zlib.compressobj(wbits=window, memLevel=memory)

    def compress(self, chunk: bytes) -> bytes:
        """Return *chunk* compressed, so that a reader can decode all of it at once."""
        return self._deflate.compress(chunk) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the end of the stream."""
        return self._deflate.flush(zlib.Z_FINISH)


def encoded(parts: tuple[bytes | Pause, ...], *, gzip: bool, complete: bool) -> Iterator[bytes | Pause]:
    """Yield what goes over the wire for *parts*; a compressed body that is *complete* gets its trailer."""
    compressor = Compressor() if gzip else None
    for part in parts:
        if isinstance(part, Pause):
            yield part
        elif part:  # an empty read would mean the end of the connection
            yield compressor.compress(part) if compressor else part
    if compressor and complete:
        yield compressor.finish()


def _one_line(name: str, value: str) -> str:
    if LINE_END.search(value):
        raise ValueError(f"{name} must be a single line, not {value!r}")
    return value


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
