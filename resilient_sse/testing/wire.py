"""What a scripted server puts on the wire: events and comments as bytes, pauses, and ways to cut bytes up."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from resilient_sse._core.wire import LINE_END, event
from resilient_sse.testing.checks import check, check_seconds, check_whole

__all__ = ["Pause", "comment", "event", "gzipped", "pause", "sliced"]

# 20 KiB for each stream instead of zlib's usual 256: events are small, and a thousand streams are many.
_GZIP_WINDOW = 16 + 11
_GZIP_MEMORY = 4


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence in a reply, for so many seconds, 0 or more."""

    seconds: float

    def __post_init__(self) -> None:
        check_seconds("seconds", self.seconds, zero=True)


def pause(seconds: float) -> Pause:
    """Keep silent for so many *seconds* before whatever comes next."""
    return Pause(seconds)


def comment(text: str = "") -> bytes:
    """Write a comment, the usual heartbeat: one line for each line of *text*, and a blank one after them."""
    check("text", text, str, "a string")
    return ("\n".join(f": {line}".rstrip(" ") for line in LINE_END.split(text)) + "\n\n").encode()


def sliced(data: bytes, size: int) -> list[bytes]:
    """Cut *data* into chunks of *size* bytes, the last one shorter: `script.respond(*sliced(body, 1))`."""
    check_whole("size", size, least=1)
    return [data[start : start + size] for start in range(0, len(data), size)]


def gzipped(*chunks: bytes) -> list[bytes]:
    """
    Compress chunk by chunk, as a streaming server does: each result can be decoded as soon as it has arrived.

    The stream is left open: its trailer is not written.
    """
    compressor = Compressor()
    return [compressor.compress(chunk) for chunk in chunks]


class Compressor:
    """One gzip stream, flushed after every chunk."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(wbits=_GZIP_WINDOW, memLevel=_GZIP_MEMORY)

    def compress(self, chunk: bytes) -> bytes:
        """Return *chunk* compressed, so that a reader can decode all of it at once."""
        return self._deflate.compress(chunk) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the end of the stream."""
        return self._deflate.flush(zlib.Z_FINISH)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shortened(lines: Sequence[str], first: int = 10, last: int = 30) -> list[str]:
    """Return the lines that an error shows of a long account: how it began, and how it ended."""
    left_out = len(lines) - first - last
    return (
        [*lines] if left_out <= 1 else [*lines[:first], f"... {left_out:,} more", *lines[first + left_out :]]
    )
