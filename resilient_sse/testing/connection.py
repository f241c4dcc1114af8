"""One scripted connection: waits like a socket, fails like httpcore, and is closed exactly once."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TypedDict

import anyio
import anyio.lowlevel
import httpx

from resilient_sse._client.backends import on_asyncio
from resilient_sse.testing.wire import Pause

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

__all__ = ["CUT_SHORT", "ClientOptions", "Connection", "ReplyStream", "ScriptTransport"]

CUT_SHORT = "peer closed connection without sending complete message body (incomplete chunked read)"
"""How httpcore words a body that ends in the middle."""


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
        """Wait so long, or until it is closed; like httpcore's reads under no scope that has a deadline."""
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


class ReplyStream(httpx.AsyncByteStream):
    """
    The body of a reply.

    The server keeps its own time: a chunk after `pause(10)` is sent ten seconds after the one before it, even
    if the client is slow to ask.  A slow reader finds waiting what was sent meanwhile.

    Args:
        connection: The connection it comes over.
        parts: The chunks, as they go over the wire, and the pauses between them.
        failure: What is raised after the last part; `None` ends the body cleanly.
        hang: Whether to keep silent for ever after the last part.
        close_takes: Seconds that closing takes.
    """

    def __init__(
        self,
        connection: Connection,
        parts: Iterator[bytes | Pause],
        *,
        failure: Exception | None,
        hang: bool,
        close_takes: float,
    ) -> None:
        self._connection = connection
        self._parts = parts
        self._failure = failure
        self._hang = hang
        self._close_takes = close_takes
        self._due = anyio.current_time()
        self._closing = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for part in self._parts:
                if isinstance(part, Pause):
                    self._due += part.seconds
                else:
                    await self._connection.wait_until(self._due)
                    yield part
            await self._finish()
        except BaseException:
            # httpcore gives up a connection whose body failed or was abandoned, cancellation included.
            self._connection.close()
            raise

    async def _finish(self) -> None:
        await self._connection.wait_until(math.inf if self._hang else self._due)
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame

    @override
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


class ClientOptions(TypedDict, total=False):
    """What `Script.client` passes on to `httpx.AsyncClient`."""

    auth: httpx.Auth | tuple[str, str] | None
    base_url: str
    cookies: dict[str, str]
    follow_redirects: bool
    headers: dict[str, str]
    max_redirects: int
    params: dict[str, str]
    timeout: httpx.Timeout | float | None


class ScriptTransport(httpx.AsyncBaseTransport):
    """
    The httpx transport that leads to a script; closing it closes the connections that were opened through it.

    Args:
        answer: Answers one request.
    """

    def __init__(
        self, answer: Callable[[httpx.Request, list[Connection]], Awaitable[httpx.Response]]
    ) -> None:
        self._answer = answer
        self._connections: list[Connection] = []

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Play the next step of the script."""
        self._connections = [connection for connection in self._connections if not connection.closed]
        return await self._answer(request, self._connections)

    @override
    async def aclose(self) -> None:
        """Close every connection that is still open."""
        for connection in self._connections:
            connection.close()
