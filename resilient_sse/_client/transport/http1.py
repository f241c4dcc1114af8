"""
An httpx transport for streams that last: HTTP/1.1, one connection a request, never pooled.

httpcore's pool is made for short requests: its work grows with the number of open connections (4,600 streams
took 100 seconds), a read that is cancelled closes its connection, and a live event costs 23 microseconds there.
What httpx does above a transport (authentication, cookies, hooks, redirects) is not our business here.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self, cast

import anyio
import h11
import httpx
from anyio.lowlevel import checkpoint

from resilient_sse._client.backends import running
from resilient_sse._client.log import DEFAULT_PORTS
from resilient_sse._client.transport.body import body_of
from resilient_sse._client.transport.sockets import Address, connect
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient_sse._client.transport.body import Body
    from resilient_sse._client.transport.sockets import Socket

MAX_PORT: Final = 65535

HEAD_BYTES: Final = 100 * 1024
"""The longest head of a response, as in httpcore."""

# Interim responses (1xx) before the real one; a server that sends no end of them would never be slow.
_MAX_INTERIM: Final = 100

POLL_SECONDS: Final = 0.05
"""What a wait for the head takes at least, however long ago the request was sent."""


class Asked(NamedTuple):
    """A request as it goes out, but for its body."""

    method: str
    url: httpx.URL
    headers: list[tuple[bytes, bytes]]


@dataclass(slots=True)
class _Sent:
    """A request that was sent to its end."""

    asked: Asked
    socket: Socket
    connection: h11.Connection
    since: float
    loop: object


class Unanswered:
    """
    Keeps a request that was sent, and the wait for whose answer was cancelled.

    A program that waits for less time than an answer takes, again and again, finds it here: the request is not
    sent again, and the answer comes all the same.

    Attributes:
        kept: The request.
        late: Its answer instead, which came at the very moment of the cancellation, and its event loop.
    """

    __slots__ = ("kept", "late")

    def __init__(self) -> None:
        self.kept: _Sent | None = None
        self.late: tuple[Any, object] | None = None

    async def keep(self, response: Any) -> None:  # noqa: ANN401 - httpx's, or what stands for it
        """Keep the answer; one that is not of our own transport is closed, as each that is cancelled."""
        if isinstance(response.stream, ResponseStream):
            self.late = response, running()
        else:
            await response.aclose()

    def answer(self) -> Any:  # noqa: ANN401 - see above
        """Return the answer that was kept, unless its event loop has ended."""
        if self.late is None or self.late[1] is not running():
            return None
        (response, _), self.late = self.late, None
        return response

    def take(self, asked: Asked) -> _Sent | None:
        """Return what was kept of this request; what was kept of another one is given up."""
        kept = self.kept
        if self.late or (kept is not None and (kept.loop is not running() or kept.asked != asked)):
            self.drop()
        kept, self.kept = self.kept, None
        return kept

    def drop(self) -> None:
        """Close the connection, if there is one: nobody will ask for the answer."""
        if self.kept is not None:
            self.kept.socket.abort()
        if self.late is not None:
            self.late[0].stream.abort()
        self.kept = self.late = None


class StreamTransport(httpx.AsyncBaseTransport):
    """
    Opens a connection for each request.

    Args:
        context: Returns the TLS context; asked at the first `https` request, for making one takes 30 ms.
        uds: The path of a Unix socket to connect to, whatever the URL says.
        unanswered: What the transport before has sent, if the wait for its answer was cancelled.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        *,
        uds: str | None = None,
        unanswered: Unanswered | None = None,
    ) -> None:
        self._context = context
        self._uds = uds
        self._unanswered = unanswered or Unanswered()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, and return when the head of the response is there."""
        asked = Asked(request.method, request.url, request.headers.raw)
        head, stream = await self.ask(
            asked, cast("httpx.AsyncByteStream", request.stream), request.extensions
        )
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=stream,
            extensions={
                "http_version": b"HTTP/" + head.http_version,
                "reason_phrase": head.reason,
                ResponseStream.EXTENSION: stream,
            },
        )

    async def ask(
        self, asked: Asked, content: httpx.AsyncByteStream | None, extensions: Mapping[str, Any]
    ) -> tuple[h11.Response, ResponseStream]:
        """
        Send a request, and return the head of the response when it is there.

        Args:
            asked: The request.
            content: Its body, if its headers tell of one.
            extensions: As httpx has them, and `header_wait` for the head of the response.
        """
        url, trace = asked.url, extensions.get("trace")
        if url.scheme not in DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol(f"the scheme {url.scheme!r} is neither http nor https")
        if trace is not None:
            await trace("connection.connect_tcp.started", {})
        sent = self._unanswered.take(asked)
        socket = (
            sent.socket
            if sent is not None
            else await connect(
                Address(url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme], self._uds),
                context=self._context() if url.scheme == "https" else None,
                timeout=extensions.get("timeout", {}).get("connect"),
            )
        )
        try:
            since = sent.since if sent is not None else socket.clock()
            if trace is not None:
                await trace("http11.send_request_headers.started", {"since": since})
            if sent is None:
                sent = _Sent(asked, socket, await _send(asked, content, socket), since, running())
            head = await _head(sent, extensions.get("header_wait") or HeaderWait())
            body = body_of(head, asked.method.encode())
            stream = ResponseStream(socket, body, sent.connection.trailing_data[0])
        except BaseException as exc:
            if sent is not None and isinstance(exc, anyio.get_cancelled_exc_class()):
                self._unanswered.kept = sent
            else:
                socket.abort()
            raise
        return head, stream


class ResponseStream(httpx.AsyncByteStream):
    """The body of one response, and the connection it comes over."""

    __slots__ = ("_body", "_rest", "_socket", "abort", "since", "wake")

    EXTENSION: Final = "resilient_sse.stream"
    """Where the extensions of a response have it."""

    pending = False  # a read that was woken or cancelled leaves everything as it is

    def __init__(self, socket: Socket, body: Body, rest: bytes) -> None:
        self._socket = socket
        self._body = body
        self._rest = rest
        self.since: float | None = None
        """When the last read began to wait, on the clock of the event loop; `None` if it had not to."""
        self.wake = socket.wake
        self.abort = socket.abort

    async def read(self, seconds: float, /) -> bytes | None:
        """
        Return what has come, or `None` at the end; nothing after so many seconds, or after `wake`.

        A read that is cancelled leaves everything as it is.
        """
        socket, body = self._socket, self._body
        self.since = None
        while not body.ended:
            if body.error:
                raise httpx.RemoteProtocolError(body.error)
            if self._rest or socket.parts:
                data, self._rest = body.feed(self._rest or socket.take()), b""
                if data:
                    return data
            elif socket.error is not None:
                _raise(socket)
            elif socket.ended:
                body.finish()
                if body.ended and socket.cut:
                    # RFC 9112, section 8: complete at the close "unless an error was indicated by the underlying
                    # connection (e.g., an "incomplete close" in TLS would leave the response incomplete".
                    raise httpx.RemoteProtocolError("peer closed connection without close_notify of TLS")
            else:
                if self.since is None:
                    self.since = socket.clock()
                    socket.until = self.since + seconds
                await socket.wait()
                if not socket.ready and socket.clock() >= socket.until:
                    return b""
        return None

    async def end(self) -> None:
        """There is no read to end."""

    def __aiter__(self) -> Self:
        """Iterate over what comes; an object, for a generator could not go on after a cancellation."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next bytes."""
        data = await self.read(math.inf)
        if data is None:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Close the connection, and return when it is closed."""
        await self._socket.aclose()


class HeaderWait(NamedTuple):
    """
    How the head of a response is waited for.

    Attributes:
        limit: The seconds from the request to its end.
        notice: The seconds to the notice that there is silence.
        on_silence: Is awaited then, once.
    """

    limit: float = math.inf
    notice: float = math.inf
    on_silence: Callable[[], Awaitable[None]] = checkpoint


async def _send(asked: Asked, content: httpx.AsyncByteStream | None, socket: Socket) -> h11.Connection:
    """Send a request; return h11's view of it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    try:
        head = h11.Request(method=asked.method, target=asked.url.raw_path, headers=asked.headers)
        data = connection.send(head) or b""
        if content is not None:
            async for part in content:
                if part:  # the head may go alone: the body may be long in coming
                    await socket.send(data)
                    data = connection.send(h11.Data(data=part)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
    except h11.LocalProtocolError as exc:
        raise httpx.LocalProtocolError(str(exc)) from exc
    await socket.send(data)
    return connection


async def _head(sent: _Sent, wait: HeaderWait) -> h11.Response:
    """Read the head of the response, past interim ones."""
    connection, socket, since, interim = sent.connection, sent.socket, sent.since, 0
    # Who asks again and again may hear of an answer that has come meanwhile.
    deadline = max(since + wait.limit, socket.clock() + POLL_SECONDS)
    socket.until = min(since + wait.notice, deadline)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError(str(exc)) from exc
        if isinstance(event, h11.Response):
            return event
        if event is not h11.NEED_DATA:
            interim += 1
            if interim > _MAX_INTERIM or not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError("Server sends interim responses without sending a response.")
        elif data := socket.take():
            connection.receive_data(data)
        elif socket.error is not None:
            _raise(socket)
        elif socket.ended:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        else:
            await socket.wait()
            if socket.ready or (now := socket.clock()) < socket.until:
                continue
            if now >= deadline:
                words = f"no response headers after {now - since:.1f} s (stall_timeout)"
                raise ConnectionLostError(Reason.CONNECT, words)
            await wait.on_silence()
            socket.until = deadline = deadline + socket.clock() - now  # callbacks take no time of ours


def _raise(socket: Socket) -> NoReturn:
    """Raise the error of *socket*, which must not keep it: by its traceback it leads back, in a circle."""
    error, socket.error = socket.error, None
    try:
        raise httpx.ReadError(str(error)) from error
    finally:
        del error
