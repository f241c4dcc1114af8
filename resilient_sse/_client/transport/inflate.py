"""Content decoding in bounded steps, so that a small body cannot become a large one in memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ACCEPTED_ENCODINGS", "Inflater", "inflater_for"]

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
        """
        Decode *chunk* in slices of at most 32 KiB; fewer bytes than given may come out, or none.

        Raises:
            zlib.error: The bytes are not of the announced encoding.
        """
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
        """
        Take note of the end of the body.

        Raises:
            ConnectionLostError: It is not complete.
        """
        if not self._complete:
            raise ConnectionLostError(Reason.RESET, "the compressed body was cut short")


def inflater_for(content_encoding: str) -> Inflater | None:
    """
    Return a decoder for a `Content-Encoding` header, or `None` if nothing needs decoding.

    Raises:
        ValueError: It is not an encoding we decode.
    """
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
