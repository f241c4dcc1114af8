"""
The three ways in which HTTP/1.1 frames a response body, and its content codings, undone as the bytes come.

h11 reads the head, once a connection; a body is read for hours, and h11 takes an event and a buffer for each
of its chunks, which is a third of the price of a live event.  A property test holds these decoders equal to
h11: same bytes out, or both refuse.  Trailers, which hardly anybody sends, are left to h11 itself.

Content is decoded in bounded steps, so that a small body cannot become a large one in memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

import h11

from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

CHUNK_LINE_BYTES: Final = 4 * 1024
"""The longest line with the size of a chunk; it is searched again with each read, so it must be short."""

TRAILER_BYTES: Final = 64 * 1024
"""The most that may stand behind the last chunk."""

# One of the two tails or the other, never both in a row: a line that does not end must not be tried in all ways.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[^\n]*|[ \t]*)\r\n")
_CRLF: Final = b"\r\n"
_NO_BODY: Final = frozenset({204, 304})
_CUT_SHORT: Final = "peer closed connection without sending complete message body"

ACCEPTED_ENCODINGS = "gzip, deflate"

# IANA's HTTP content codings, and what compresses without being one.  Whatever else a header names is no coding,
# and the bytes are taken as they are, as browsers do.
_CODINGS = frozenset(
    {
        *(
            "gzip",
            "x-gzip",
            "deflate",
            "br",
            "zstd",
            "compress",
            "x-compress",
            "dcb",
            "dcz",
            "exi",
            "pack200-gzip",
        ),
        *("bzip2", "x-bzip2", "bzip", "x-bzip", "lz4", "lzma", "xz", "snappy", "sdch", "peerdist", "xpress"),
    }
)

# How much one step may produce: the parser sees a bomb in slices and stops it at max_event_bytes.
_STEP_BYTES = 32 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_WINDOW = zlib.MAX_WBITS
_RAW_WINDOW = -zlib.MAX_WBITS
_ZLIB_HEADER_BYTES = 2  # zlib complains of them when both are there


class Body:
    """
    Takes the framing off one response body; this one ends with its connection.

    Attributes:
        ended: Whether the announced end was reached; what comes behind it is not looked at.
        error: What is wrong with what came, to be raised behind what was right; nothing may be fed any more.
    """

    __slots__ = ("ended", "error")

    def __init__(self) -> None:
        self.ended = False
        self.error = ""

    def feed(self, data: bytes) -> bytes:
        """Return what *data* holds of the body, which may be nothing."""
        return data

    def finish(self) -> None:
        """Record the end of the connection, which is an error unless the body is complete."""
        self.ended = True


class Counted(Body):
    """A body of an announced length."""

    __slots__ = ("_left", "_length")

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = self._left = length
        self.ended = not length

    def feed(self, data: bytes) -> bytes:
        data = data[: self._left]
        self._left -= len(data)
        self.ended = not self._left
        return data

    def finish(self) -> None:
        if not self.ended:
            received = self._length - self._left
            self.error = f"{_CUT_SHORT} (received {received} bytes, expected {self._length})"


class Chunked(Body):
    """A body in chunks, each with its size before it."""

    __slots__ = ("_left", "_line", "_trailer")

    def __init__(self) -> None:
        super().__init__()
        self._left = 0  # of the present chunk, with the line end behind it
        self._line = b""  # of a chunk's size, as far as it has come
        self._trailer: h11.Connection | None = None

    def feed(self, data: bytes) -> bytes:
        if self._trailer is not None:
            self._end(self._trailer, data)
            return b""
        if self._line:
            data, self._line = self._line + data, b""
        at, end, left = 0, len(data), self._left
        parts: list[bytes] = []
        while at < end:
            if left > 2:  # noqa: PLR2004 - the line end
                part = data[at : at + left - 2]  # the same object, where it is all of data
                parts.append(part)
                at += len(part)
                left -= len(part)
            elif left:
                footer = data[at : at + left]
                if not _CRLF.endswith(footer if len(footer) == left else footer + _CRLF[1:]):
                    self.error = f"malformed chunk footer: {footer!r}"
                    break
                at += len(footer)
                left -= len(footer)
            else:
                line = _CHUNK_LINE.match(data, at)
                if line is None:
                    self._keep(data[at:])
                    break
                size = int(line[1], 16)
                at = line.end()
                if not size:
                    self._begin_end(data[at:])
                    break
                stop = at + size
                if data.startswith(_CRLF, stop):  # all of it is here: the usual case, for the sake of speed
                    parts.append(data[at:stop])
                    at = stop + 2
                else:
                    left = size + 2
        self._left = left
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        if not self.ended:
            self.error = f"{_CUT_SHORT} (incomplete chunked read)"

    def _keep(self, line: bytes) -> None:
        """Keep a line that is not complete yet, if it can become one."""
        if _CRLF in line:
            self.error = f"illegal chunk header: {line[:40]!r}"
        elif len(line) > CHUNK_LINE_BYTES:
            self.error = f"a chunk header of more than {CHUNK_LINE_BYTES} bytes"
        self._line = line

    def _begin_end(self, rest: bytes) -> None:
        if rest.startswith(_CRLF):
            self.ended = True
            return
        self._trailer = trailer = h11.Connection(h11.CLIENT, max_incomplete_event_size=TRAILER_BYTES)
        trailer.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))
        trailer.send(h11.EndOfMessage())
        trailer.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        trailer.next_event()
        if rest:
            self._end(trailer, rest)

    def _end(self, trailer: h11.Connection, data: bytes) -> None:
        trailer.receive_data(data)
        try:
            self.ended = isinstance(trailer.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError as exc:
            self.error = str(exc)


def body_of(response: h11.Response, method: bytes) -> Body:
    """Return the decoder for the body of *response*, whose headers h11 has checked."""
    headers: dict[bytes, bytes] = dict(response.headers)
    if method == b"HEAD" or response.status_code in _NO_BODY:
        return Counted(0)
    if b"transfer-encoding" in headers:  # h11 lets nothing but "chunked" pass, and so it goes before a length
        return Chunked()
    if b"content-length" in headers:
        return Counted(int(headers[b"content-length"]))
    return Body()


class Inflater:
    """
    Decodes one response body.

    Args:
        window: What `zlib.decompressobj` takes: the format and its window size.
        fallback: The window to try if the very first bytes do not fit *window*.
    """

    def __init__(self, window: int, *, fallback: int | None = None) -> None:
        self._window = window
        self._fallback = fallback
        self._start = b""  # while another window may have to begin with it
        self._decoder = zlib.decompressobj(window)
        self._complete = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decode *chunk* in slices of at most 32 KiB; fewer bytes than given may come out, or none."""
        more = False  # whether output may be buffered inside, although all input is consumed
        while chunk or more:
            try:
                output = self._decoder.decompress(chunk, _STEP_BYTES)
            except zlib.error:
                if self._fallback is None:
                    raise
                # Some servers mean raw deflate by "deflate"; the first bytes tell.
                self._window, self._fallback = self._fallback, None
                self._decoder = zlib.decompressobj(self._window)
                chunk = self._start + chunk
                continue
            if self._fallback is not None:
                self._start += chunk
                if len(self._start) >= _ZLIB_HEADER_BYTES:
                    self._fallback = None
            chunk, more, self._complete = self._decoder.unconsumed_tail, len(output) == _STEP_BYTES, False
            if self._decoder.eof:
                # A gzip body may be several members, one behind the other.
                chunk, more, self._complete = self._decoder.unused_data, False, True
                self._decoder = zlib.decompressobj(self._window)
            yield output

    def finish(self) -> None:
        """Record the end of the body."""
        if not self._complete:
            raise ConnectionLostError(Reason.RESET, "the compressed body was cut short")


def inflater_for(content_encoding: str) -> Inflater | None:
    """Return a decoder for a `Content-Encoding` header, or `None` if nothing needs decoding."""
    applied = [name for part in content_encoding.lower().split(",") if (name := part.strip()) in _CODINGS]
    match applied:
        case []:  # servers send a charset, `none` or `identity, identity`: such a body is as it is
            return None
        case ["gzip" | "x-gzip"]:
            return Inflater(_GZIP_WINDOW)
        case ["deflate"]:
            return Inflater(_ZLIB_WINDOW, fallback=_RAW_WINDOW)
        case _:
            names = ", ".join(applied)[:80]
            raise ValueError(f"Content-Encoding {names!r} was not asked for and cannot be decoded")
