"""
The steps of a script: what the server does with one request, and the connection that it does it over.

A connection waits like a socket, fails like httpcore, and is closed exactly once.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import NoReturn, TypeAlias

import anyio
import anyio.lowlevel
import httpx

from resilient_sse._client.backends import on_asyncio
from resilient_sse.testing.checks import check
from resilient_sse.testing.wire import Pause, counted, encoded

CUT_SHORT = "peer closed connection without sending complete message body (incomplete chunked read)"
"""How httpcore words a body that ends in the middle."""

HeaderItems: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
"""Response headers; as pairs when one of them occurs more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """
    A request as the server saw it.

    Attributes:
        method: The method, in capitals.
        url: The whole URL.
        headers: The headers.
        content: The body.
        at: When it arrived, in seconds on the event loop's clock.
    """

    method: str
    url: str
    headers: httpx.Headers
    content: bytes
    at: float

    @property
    def last_event_id(self) -> str | None:
        """The `Last-Event-ID` header, read as UTF-8 as the standard wants it; `None` if there was none."""
        for name, value in self.headers.raw:
            if name.lower() == b"last-event-id":
                return value.decode("utf-8", "replace")
        return None

    def __str__(self) -> str:
        resumed = "" if self.last_event_id is None else f" (Last-Event-ID: {self.last_event_id})"
        return f"{self.method} {self.url} at {self.at:g} s{resumed}"


class Ending(enum.Enum):
    """How the body of a reply ends; the values are the words of the transcript."""

    END = "a clean end"
    DROP = "a drop"
    CUT = "a cut"
    HANG = "silence"


class Reply:
    """
    An answer: status, headers, chunks with pauses between them, and an ending.

    Each chunk is one read of the client.  The ending methods return the reply itself, so that a handler can
    write `return Reply(event("a")).drop()`.  Without one the body ends cleanly.

    Args:
        *parts: Chunks (`bytes`) and pauses, in order.  An empty chunk is left out.
        status: The status code.
        headers: Response headers.
        content_type: The media type, unless *headers* has one; `None` sends none.
        gzip: Compress, with a flush after each chunk, and say so in `Content-Encoding`.
        after: Seconds from the request to the response headers; `math.inf` for a server that never answers.
        close_takes: Seconds that `aclose()` on the client's side takes.

    Raises:
        TypeError: A part is neither bytes nor a pause, or another argument has the wrong type.
    """

    def __init__(
        self,
        *parts: bytes | Pause,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = "text/event-stream",
        gzip: bool = False,
        after: float = 0.0,
        close_takes: float = 0.0,
    ) -> None:
        for part in parts:
            check("parts", part, (bytes, Pause), "bytes, as event() makes them, or pause(seconds)")
        check("status", status, int, "a whole number such as 503")
        check("after", after, (int, float), "a number of seconds")
        check("close_takes", close_takes, (int, float), "a number of seconds")
        self.parts = parts
        self.status = status
        self.headers: httpx.Headers = httpx.Headers(headers)
        self.gzip = gzip
        self.after = after
        self.close_takes = close_takes
        self.ending: Ending = Ending.END
        self.failure: Exception | None = None
        if content_type is not None:
            self.headers.setdefault("Content-Type", content_type)
        if gzip:
            self.headers["Content-Encoding"] = "gzip"

    def end(self) -> Reply:
        """End the body cleanly, as a server does that has said everything."""
        return self._with_ending(Ending.END)

    def drop(self, error: Exception | None = None) -> Reply:
        """
        Reset the connection after the last part.

        Args:
            error: What the client's read raises; by default `httpx.ReadError`, with no text as in real life.
        """
        return self._with_ending(Ending.DROP, error or httpx.ReadError(""))

    def cut(self) -> Reply:
        """Close the connection in mid-body: `httpx.RemoteProtocolError`, in httpcore's words."""
        return self._with_ending(Ending.CUT, httpx.RemoteProtocolError(CUT_SHORT))

    def hang(self) -> Reply:
        """Keep silent after the last part until the client closes, is cancelled or times out."""
        return self._with_ending(Ending.HANG)

    async def play(self, connection: Connection) -> httpx.Response:
        """
        Send the headers over *connection* and return the response whose body is still to come.

        Raises:
            httpx.ReadTimeout: The headers come too late for the request's timeout.
        """
        await connection.wait_until(anyio.current_time() + self.after)
        return httpx.Response(self.status, headers=self.headers, stream=_Body(connection, self))

    def __str__(self) -> str:
        if self.after == math.inf:
            return "no answer"
        chunks = [part for part in self.parts if isinstance(part, bytes)]
        size = counted(sum(map(len, chunks)), "byte")
        return f"{self.status}, {counted(len(chunks), 'chunk')} ({size}), then {self.ending.value}"

    def _with_ending(self, ending: Ending, failure: Exception | None = None) -> Reply:
        self.ending = ending
        self.failure = failure
        return self


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    No connection at all.

    Attributes:
        error: What the client's request raises; `None` (the default) is a closed port's `httpx.ConnectError`.
        after: Seconds until then; `math.inf` is a host that swallows packets.

    Raises:
        TypeError: *error* is no exception, or *after* is no number.
    """

    error: Exception | None = None
    after: float = 0.0

    def __post_init__(self) -> None:
        check("error", self.error, (Exception, NoneType), "an exception such as httpx.ConnectError('')")
        check("after", self.after, (int, float), "a number of seconds")

    async def play(self, timeouts: Mapping[str, float | None]) -> NoReturn:
        """
        Fail the request.

        Args:
            timeouts: What httpx sends along with the request; `connect` is the one that counts.

        Raises:
            httpx.ConnectError: Or whatever *error* is.
            httpx.ConnectTimeout: The request's timeout struck first.
        """
        limit = timeouts.get("connect")
        if limit is not None and limit < self.after:
            await anyio.sleep(limit)
            raise httpx.ConnectTimeout("")
        await anyio.sleep(self.after)
        raise self.error or httpx.ConnectError("All connection attempts failed")

    def __str__(self) -> str:
        return "no connection" if self.error is None else f"no connection: {self.error!r}"


Step: TypeAlias = Reply | Refusal
"""What the server does with one request."""

Handler: TypeAlias = Callable[[RecordedRequest], Step | Awaitable[Step]]
"""Looks at a request, perhaps asserts something about it, and returns a step or raises an error of httpx."""


class Connection:
    """
    An accepted connection, from its request to the moment when the client lets go of it.

    Args:
        name: How it is called in messages.
        timeouts: What httpx sends along with a request: seconds, or `None`, under `connect`, `read`, ...
        on_close: Called once, when the connection is closed.
    """

    def __init__(
        self, name: str, timeouts: Mapping[str, float | None], on_close: Callable[[Connection], None]
    ) -> None:
        self.name = name
        limit = timeouts.get("read")
        self._read_timeout = math.inf if limit is None else limit
        self._on_close = on_close
        self._news = anyio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the client has let go of it."""
        return self._closed

    def close(self) -> None:
        """Let go of the connection; a read that is pending on it fails.  Doing it twice is doing it once."""
        if not self.closed:
            self._closed = True
            self._news.set()
            self._on_close(self)

    async def wait_until(self, moment: float) -> None:
        """
        Wait as a read does for bytes that arrive at *moment*, on the event loop's clock.

        Raises:
            httpx.ReadTimeout: They come too late for the timeout of the request.
            httpx.ReadError: The connection is closed, or was closed meanwhile.
        """
        delay = moment - anyio.current_time()
        patience = min(delay, self._read_timeout)
        if patience > 0:
            await self._arrival(patience)
        else:
            await anyio.lowlevel.checkpoint()
        if self.closed:
            raise httpx.ReadError("")
        if patience < delay:
            raise httpx.ReadTimeout("")  # httpx's own have no text either

    async def _arrival(self, patience: float) -> None:
        # Like httpcore's reads under no scope that has a deadline.
        news = self._news = anyio.Event()
        if not on_asyncio():
            with anyio.move_on_after(patience):
                await news.wait()
            return
        timer = None if patience == math.inf else asyncio.get_running_loop().call_later(patience, news.set)
        try:
            await news.wait()
        finally:
            if timer is not None:
                timer.cancel()


class _Body(httpx.AsyncByteStream):
    """
    The body of a reply.

    The server keeps its own time: a chunk after `pause(10)` is sent ten seconds after the one before it, even
    if the client is slow to ask.  A slow reader finds waiting what was sent meanwhile.
    """

    def __init__(self, connection: Connection, reply: Reply) -> None:
        self._connection = connection
        self._parts = encoded(reply.parts, gzip=reply.gzip, complete=reply.ending is Ending.END)
        self._failure = reply.failure
        self._hang: bool = reply.ending is Ending.HANG
        self._close_takes = reply.close_takes
        self._due = anyio.current_time()
        self._closing = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for part in self._parts:
                if isinstance(part, Pause):
                    self._due += part.seconds
                else:
                    await self._connection.wait_until(self._due)
                    yield part
            await self._connection.wait_until(math.inf if self._hang else self._due)
            failure, self._failure = self._failure, None
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # it refers to this frame
        except BaseException:
            # httpcore gives up a connection whose body failed or was abandoned, cancellation included.
            self._connection.close()
            raise

    async def aclose(self) -> None:
        """Close the connection; only the first call does."""
        if self._closing or self._connection.closed:
            return
        self._closing = True
        try:
            if self._close_takes:
                await anyio.sleep(self._close_takes)
        finally:
            self._connection.close()
