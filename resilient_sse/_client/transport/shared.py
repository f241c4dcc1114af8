"""
A connection that streams share: HTTP/2 of a client of the caller's.

If its peer has gone without a word, neither reads nor writes fail for many minutes, and httpcore sends every
further request into it.  Whoever stalls on it must know whether all of it is silent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import ref

from resilient_sse._client.backends import clock, finish
from resilient_sse._client.transport.reads import CLOSE_SECONDS

__all__ = ["CLOSE_SECONDS", "Shared", "shared"]


class Shared:
    """
    Stands in for the `read` of a network stream, and so knows when anything has come over it, for whomever.

    Attributes:
        is_left: Whether we have closed the connection.
    """

    __slots__ = ("_clock", "_heard", "_stream", "is_left")

    def __init__(self, stream: object) -> None:
        self._stream = ref(stream)  # which refers to this object
        self._clock = clock()
        self._heard = self._clock()
        self.is_left = False

    async def __call__(self, *args: Any, **kwargs: Any) -> bytes:  # noqa: ANN401 - as its library reads
        stream: Any = self._stream()
        data: bytes = await stream.__class__.read(stream, *args, **kwargs)
        self._heard = self._clock()
        return data

    async def leave(self, silence: float) -> bool:
        """
        Close the connection if nothing has come for so many seconds; return whether it is closed.

        Reads that are under way fail then.  By such a failure alone its library learns that the connection is
        of no use any more: whoever waits for a read has to close it first, and to see the read to its end.
        """
        stream: Any = self._stream()
        if stream is not None and self._clock() - self._heard >= silence:
            self.is_left = True
            await finish(stream.aclose, within=CLOSE_SECONDS)
        return self.is_left


def shared(stream: Any) -> Shared | None:  # noqa: ANN401 - of its library
    """Return what watches the network stream of an HTTP/2 connection; `None` if it cannot be watched."""
    if not isinstance(stream.read, Shared):
        with suppress(AttributeError, TypeError):
            stream.read = Shared(stream)
    return stream.read if isinstance(stream.read, Shared) else None
