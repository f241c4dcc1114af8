"""One accepted response, read to its end or closed."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import ref

import anyio
import httpx
from anyio.lowlevel import current_token

from resilient_sse._client.backends import CLOSE_SECONDS, clock, finish, in_background
from resilient_sse._client.log import redacted
from resilient_sse._client.transport.body import Inflater, inflater_for
from resilient_sse._client.transport.clients import PlainResponse
from resilient_sse._client.transport.errors import raise_translated
from resilient_sse._client.transport.reads import Source, reads_of
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

# A read that is cancelled before it begins may still return what was buffered; never as often as this.
_BUFFERED_CHUNKS = 1000


class Connection:
    """
    One accepted response.

    Over our own transport a read can be cancelled and loses nothing by it.  Over any other a read that fails or is
    cancelled has closed the connection on its way out.

    Attributes:
        status: Its status.
        headers: Its headers, names in lower case.
        url: The URL that has answered.
        lasting: Whether it outlives reads that are cancelled.
        redirected_to: Where redirects have led, without its query; `None` if there were none.
        shared: What others use too, if it is HTTP/2.
        source: Where its bytes come from.
        arrived: How many bytes arrived for the last read.
    """

    __slots__ = (
        "_chunks", "_inflater", "_is_read", "_response", "_slices", "_token", "arrived",
        "headers", "lasting", "redirected_to", "shared", "source", "status", "url",
    )  # fmt: skip

    def __init__(self, response: httpx.Response | PlainResponse) -> None:
        self.status = response.status_code
        self.url = str(response.url)
        # items() is linear; dict(headers) asks for each name, and httpx then looks through all of them.
        self.headers: Mapping[str, str] = dict(response.headers.items())
        self.redirected_to = redacted(self.url) if response.history else None
        self._response = response
        self._inflater: Inflater | None = None
        self._slices: Iterator[bytes] | None = None
        self.arrived = 0
        self.shared: Shared | None = None
        self._is_read = False
        self.lasting = isinstance(response, PlainResponse)
        if isinstance(response, PlainResponse):
            self.source: Source = response.stream
            return
        # A mock, or a hook of the caller's client, may have read the body already, and decoded it.
        self._is_read = response.is_stream_consumed
        self._token = current_token()
        self._chunks = aiter(httpx.ByteStream(response.content)) if self._is_read else response.aiter_raw()
        self.source = reads_of(response, self._chunks)
        if response.extensions.get("http_version") == b"HTTP/2":
            self.shared = shared(response.extensions.get("network_stream"))

    def decode(self) -> None:
        """Undo the content encoding from here on."""
        if not self._is_read:
            self._inflater = inflater_for(self.headers.get("content-encoding", ""))

    async def receive(self, seconds: float) -> bytes | None:
        """
        Return the next decoded bytes, or `None` at the clean end; `arrived` tells how many came for them.

        Either may be nothing: a compressed body can arrive without yielding, and yield without arriving.  Both are
        if nothing came in time.

        Args:
            seconds: The seconds to wait.
        """
        try:
            if self._slices is not None:
                self.arrived, self.source.since = 0, None
                for data in self._slices:
                    return data
            raw = await self.source.read(seconds)
            if raw is None:
                if self._inflater is not None:
                    self._inflater.finish()
                return None
            self.arrived = len(raw)
            if self._inflater is None or not raw:
                return raw
            self._slices = self._inflater.feed(raw)
            return next(self._slices, b"")
        except zlib.error as exc:
            raise ConnectionLostError(Reason.PROTOCOL, f"undecodable content: {exc}") from exc
        except Exception as exc:
            if self.shared is not None and self.shared.is_left:
                silent = "nothing came over the HTTP/2 connection, for any stream"
                raise ConnectionLostError(Reason.STALL, silent) from exc
            raise_translated(exc, opened=True)

    async def leave_shared(self, silence: float) -> None:
        """
        Close what streams share, behind so long a silence of this one, unless it is alive.

        It is if anything has come over it within half of that, for a server shows life twice in a stall timeout.
        """
        if self.shared is not None and await self.shared.leave(silence / 2):
            with contextlib.suppress(ConnectionLostError):
                await self.receive(CLOSE_SECONDS)

    def abandon(self) -> None:
        """Have the connection closed although nobody can wait for it: its stream was dropped."""
        if isinstance(self._response, PlainResponse):
            self._response.stream.abort()
        else:
            in_background(self.aclose, self._token)

    async def aclose(self) -> None:
        """Close the connection, within a bound, whatever its last words are and whoever is cancelled meanwhile."""
        await finish(self._close, within=CLOSE_SECONDS)

    async def _close(self) -> None:
        if not self.lasting and not self.source.pending:
            with contextlib.suppress(Exception):
                await self._unwind()
            await self.source.end()
        with contextlib.suppress(Exception):
            await self._response.aclose()
        if not isinstance(self._response, PlainResponse):
            self._response.request.extensions["trace"] = (
                None  # httpx's objects refer to each other in circles
            )

    async def _unwind(self) -> None:
        """
        End the read by cancelling it, which unwinds the generators that httpx and httpcore have nested.

        Closing the response alone leaves them suspended, to be finalised one by one, and trio complains of each.
        """
        with anyio.CancelScope() as read:
            read.cancel()
            for _ in range(_BUFFERED_CHUNKS):
                await anext(self._chunks)


class Shared:
    """
    A connection that streams share: HTTP/2 of a client of the caller's.

    If its peer has gone without a word, neither reads nor writes fail for many minutes, and httpcore sends every
    further request into it.  Whoever stalls on it must know whether all of it is silent: this stands in for the
    `read` of its network stream, and so knows when anything has come over it, for whomever.

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
        with contextlib.suppress(AttributeError, TypeError):
            stream.read = Shared(stream)
    return stream.read if isinstance(stream.read, Shared) else None
