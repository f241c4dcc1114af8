"""The last lines of the wire, kept for the moment a stream gives up: what arrived, without what it said."""

from __future__ import annotations

from collections import deque

_KEPT_BYTES = 120

# What these say is about the stream; everything else is the caller's business, and may be secret.
_SHOWN = frozenset({b"event", b"id", b"retry"})


class FlightRecorder:
    """Keeps the last *lines*, each of bounded size; payloads and comments are kept as their sizes only."""

    __slots__ = ("_after_cr", "_lines", "_size", "_start")

    def __init__(self, lines: int) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._start = bytearray()
        self._size = 0
        self._after_cr = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, oldest first; the last one may have been cut by the end of the connection."""
        cut = (f"{_redacted(bytes(self._start), self._size)} (cut)",) if self._size else ()
        return (*self._lines, *cut)[-(self._lines.maxlen or 0) :]

    def connected(self, number: int) -> None:
        if self._size:
            self._end_line(" (cut)")
        self._after_cr = False
        self._lines.append(f"--- connection {number} ---")

    def feed(self, chunk: bytes) -> None:
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in ended:
            self._add(line)
            self._end_line()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._start += part[: max(_KEPT_BYTES - len(self._start), 0)]
        self._size += len(part)

    def _end_line(self, mark: str = "") -> None:
        self._lines.append(_redacted(bytes(self._start), self._size) + mark)
        self._start.clear()
        self._size = 0


def _redacted(start: bytes, size: int) -> str:
    """Write a line of *size* bytes that begins with *start*, safe for a terminal."""
    looks = looks_like(start)
    if looks:
        return f"<{size} bytes that look like {looks}>"
    name, colon, value = start.partition(b":")
    if not colon:
        return _printable(start) if start in _SHOWN or not start else f"<{size} bytes>"
    if name in _SHOWN:
        return f"{_printable(name)}: {_printable(value.removeprefix(b' '))}" + (
            "..." if size > len(start) else ""
        )
    said = size - len(name) - 1 - value.startswith(b" ")
    return f"{'data' if name == b'data' else '' if not name else '<field>'}: <{said} bytes>"


def looks_like(start: bytes) -> str:
    """Name what a body that begins so is, where it is no event stream; `""` if it may be one."""
    first = start.lstrip()[:1]
    return "JSON" if first and first in b"{[" else "a page" if first == b"<" else ""


def _printable(text: bytes) -> str:
    return text.decode("utf-8", "replace").encode("unicode_escape").decode("ascii")
