"""Content decoding in bounded steps, so that a small body cannot become a large one in memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ACCEPTED_ENCODINGS", "Inflater", "inflater_for"]

ACCEPTED_ENCODINGS = "gzip, deflate"

# How much one step may produce: the parser sees a bomb in slices and stops it at max_event_bytes.
_STEP_BYTES = 64 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_WINDOW = zlib.MAX_WBITS
_RAW_WINDOW = -zlib.MAX_WBITS


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
        self._decoder = zlib.decompressobj(window)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """
        Decode *chunk* in slices of at most 64 KiB; fewer bytes than given may come out, or none.

        Raises:
            zlib.error: The bytes are not of the announced encoding.
        """
        while chunk:
            try:
                output = self._decoder.decompress(chunk, _STEP_BYTES)
            except zlib.error:
                if self._fallback is None:
                    raise
                # Some servers mean raw deflate by "deflate"; the first bytes tell.
                self._window, self._fallback = self._fallback, None
                self._decoder = zlib.decompressobj(self._window)
                continue
            self._fallback = None
            yield output
            chunk = self._decoder.unconsumed_tail
            if self._decoder.eof:
                # A gzip body may be several members, one behind the other.
                chunk = self._decoder.unused_data
                self._decoder = zlib.decompressobj(self._window)
            while not chunk and len(output) == _STEP_BYTES:
                # All input is consumed, but the step was full: more output may be buffered inside.
                output = self._decoder.decompress(b"", _STEP_BYTES)
                yield output


def inflater_for(content_encoding: str) -> Inflater | None:
    """
    Return a decoder for a `Content-Encoding` header, or `None` if nothing needs decoding.

    Raises:
        ValueError: It is not an encoding we decode.
    """
    match content_encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Inflater(_GZIP_WINDOW)
        case "deflate":
            return Inflater(_ZLIB_WINDOW, fallback=_RAW_WINDOW)
        case other:
            raise ValueError(f"Content-Encoding {other[:40]!r} cannot be decoded, only {ACCEPTED_ENCODINGS}")
