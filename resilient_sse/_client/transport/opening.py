"""Opening connections: within which limits, when it must not be cancelled, and which answers are refused."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from resilient_sse._client.backends import CLOSE_SECONDS, finish, hold, on_asyncio
from resilient_sse._client.transport.body import ACCEPTED_ENCODINGS
from resilient_sse._client.transport.clients import (
    AnyClient,
    Auth,
    Client,
    PlainClient,
    PlainResponse,
    library_of,
    own_client,
    proxy_of,
)
from resilient_sse._client.transport.connection import Connection, Shared, shared
from resilient_sse._client.transport.errors import OVER_PROXY, raise_translated
from resilient_sse._client.transport.http1 import POLL_SECONDS, HeaderWait, Unanswered
from resilient_sse._client.transport.reads import WOKEN, waits_for
from resilient_sse._client.transport.redirects import exchange
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
)
from resilient_sse._core.outage import is_event_stream
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from resilient_sse._client.request import PreparedRequest

_STREAMS = frozenset({200, 201})
_PROXY_REFUSES = 407
_MAX_COOKIES = 50  # what RFC 6265 asks of a user agent for each domain
_EXCERPT_BYTES = 16 * 1024
_EXCERPT_SECONDS = 2.0

# Between the first and the second of each pair httpcore can be cancelled without losing anything.
_MAY_CANCEL = ("connect_tcp.started", "start_tls.started", "send_request_headers.started")
_MUST_WAIT = ("connect_tcp.complete", "start_tls.complete", "response_closed.complete")

# What httpcore finds when it reads the body; one for all.
_NO_LIMITS: dict[str, float | None] = {}

# What ends with these returns the network stream.
_MAKES_STREAM = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")

# httpcore's own timeout is to strike first, for it says what was waited for.
_AFTER_HTTPCORE = 1.0


@lru_cache
def check_url(url: str) -> httpx.URL:
    """Raise now what httpx would at the first request; streams often share a URL, and to parse it takes 13 us."""
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"url cannot be used: {exc}") from None


class Transport:
    """
    Opens the connections of one stream.

    Args:
        client: The caller's client, which is never closed; `None` makes one of our own.
        uds: The path of a Unix socket that a client of our own connects to.
        auth: Credentials as httpx takes them; `None` leaves them to the client.
        compression: Whether to ask for a compressed body.
        connect_timeout: Seconds for a slot of the client's pool, for the connection, and for TLS, each.
        header_timeout: Seconds from the request to the end of the response headers.
        waiting_after: Seconds from the request to the notice that there is silence.
    """

    def __init__(
        self,
        client: Client | None,
        *,
        uds: str | None,
        auth: Auth | None,
        compression: bool,
        connect_timeout: float | None,
        header_timeout: float | None,
        waiting_after: float,
    ) -> None:
        self._injected = client
        self._uds = uds
        self._own: AnyClient | None = None
        self._cookies: httpx.Cookies | None = None
        self._auth = auth
        self._encoding = ACCEPTED_ENCODINGS if compression else "identity"
        self._connect_timeout = connect_timeout
        self._header_timeout = header_timeout
        self._waiting_after = waiting_after
        self._shared: Shared | None = None
        self._began_on_trio: bool | None = None
        self._unanswered = Unanswered()

    async def open(self, request: PreparedRequest, on_silence: Callable[[], Awaitable[None]]) -> Connection:
        """
        Send *request* and accept its answer as an event stream.

        Args:
            request: What to ask.
            on_silence: Is awaited once, if there is no answer for `waiting_after`.
        """
        client = self._client()
        limit = math.inf if self._header_timeout is None else self._header_timeout
        wait = HeaderWait(limit, self._waiting_after, on_silence)
        url = check_url(request.url)
        connection: Connection | None = None
        try:
            response = self._unanswered.answer()
            if response is None and isinstance(client, PlainClient) and request.content is None:
                response = await self._ask(client, request, url, wait)
            elif response is None:
                response = await self._send(client, request, url, wait)
            if not isinstance(response, PlainResponse):
                # The response keeps its request for hours; what has done its work must not be kept with it.
                response.request.extensions.update(timeout=_NO_LIMITS, trace=None)
            connection = Connection(response)
            self._shared = connection.shared
            await _accept(connection, client)
        except BaseException as exc:
            if not isinstance(exc, anyio.get_cancelled_exc_class()):
                self.forget()
            if connection is not None:
                await connection.aclose()
            await self.aclose()
            raise
        return connection

    async def _ask(
        self, client: PlainClient, request: PreparedRequest, url: httpx.URL, wait: HeaderWait
    ) -> httpx.Response:
        """Send what has no body over our own transport, where nothing of anybody else's takes a part."""
        extensions = {"timeout": {"connect": self._connect_timeout}, "header_wait": wait}
        try:
            return await exchange(
                client, request, url, encoding=self._encoding, options={"extensions": extensions}
            )
        except Exception as exc:  # noqa: BLE001 - raised again, whatever it is
            raise_translated(exc, opened=False)
        finally:
            del extensions

    async def _send(
        self, client: AnyClient, request: PreparedRequest, url: httpx.URL, wait: HeaderWait
    ) -> httpx.Response:
        """Send anything over any client."""
        pooled = _has_pool(self._injected)
        if pooled and self._began_on_trio and on_asyncio():  # httpcore keeps to trio's sockets then
            raise HandshakeError(
                "client= has been used on trio, and cannot be used on asyncio any more; give a stream a client "
                "that was made for its event loop, or none"
            )
        if self._began_on_trio is None:
            self._began_on_trio = not on_asyncio()
        kept = self._unanswered.kept
        opening = Opening(
            self._connect_timeout,
            wait,
            pooled=pooled,
            apart=self._injected is not None or self._auth is not None,
            asked_at=None if kept is None else kept.since,
            before=self._shared,
            late=self._unanswered.keep,
        )
        options: dict[str, Any] = {"extensions": opening.extensions}
        if self._auth is not None:
            options["auth"] = self._auth
        sending = exchange(client, request, url, encoding=self._encoding, options=options)
        return await opening.wait_for(sending, lambda: proxy_of(client, url))

    @property
    def is_asking(self) -> bool:
        """Whether a request was sent, and the wait for its answer cancelled: the next `open` goes on with it."""
        return self._unanswered.kept is not None or self._unanswered.late is not None

    def forget(self) -> None:
        """Close the connection of a request whose answer nobody will ask for."""
        self._unanswered.drop()

    async def aclose(self) -> None:
        """Close our own client, if one was made, and with it whatever it holds; the next request makes another."""
        own = self._own
        self.abandon()
        if own is not None:
            await finish(own.aclose, within=CLOSE_SECONDS)

    def abandon(self) -> None:
        """Let go of our own client, and keep its cookies."""
        own, self._own = self._own, None
        if own is not None:
            # Sticky sessions need a few; a server that sets ever more starts again at none.
            cookies: Any = own.cookies
            self._cookies = cookies if cookies is not None and len(cookies.jar) <= _MAX_COOKIES else None

    def _client(self) -> AnyClient:
        if self._injected is not None:
            return self._injected
        if self._own is None:
            # One client a connection: closing it leaves nothing behind, however its requests ended.
            self._own = own_client(self._cookies, self._uds, self._unanswered, plain=self._auth is None)
        return self._own


def _has_pool(client: Client | None) -> bool:
    # There is no public way to ask; where the attribute is missing, caution costs little.
    transport = getattr(client, "_transport", None)
    return client is not None and (
        transport is None or isinstance(transport, library_of(client).AsyncHTTPTransport)
    )


async def _accept(connection: Connection, client: AnyClient) -> None:
    """Raise what keeps the answer from being an event stream, if anything does."""
    status, headers, led_to = connection.status, connection.headers, connection.redirected_to
    content_type = headers.get("content-type", "")
    if status not in _STREAMS:
        excerpt = await _excerpt(connection)
        proxy = proxy_of(client, httpx.URL(connection.url)) if status == _PROXY_REFUSES else ""
        if proxy:
            refusal = f"the proxy {proxy} refuses the request: it asks for credentials ({status})"
            raise HandshakeError(refusal, status=status, headers=headers, body_excerpt=excerpt)
        raise BadStatusError(status=status, headers=headers, body_excerpt=excerpt, redirected_to=led_to)
    if not is_event_stream(content_type):
        excerpt = await _excerpt(connection)
        raise BadContentTypeError(
            content_type, status=status, headers=headers, body_excerpt=excerpt, redirected_to=led_to
        )
    try:
        connection.decode()
    except ValueError as exc:
        raise HandshakeError(str(exc), status=status, headers=headers, redirected_to=led_to) from None


async def _excerpt(connection: Connection) -> str:
    """Read the start of an error's body, as far as it comes in time; what cannot be decoded is left as it is."""
    taken = bytearray()
    with contextlib.suppress(ValueError):
        connection.decode()
    with anyio.move_on_after(_EXCERPT_SECONDS), contextlib.suppress(ConnectionLostError):
        while len(taken) < _EXCERPT_BYTES:
            chunk = await connection.receive(math.inf)
            if chunk is None:
                break
            taken += chunk
    return taken[:_EXCERPT_BYTES].decode("utf-8", "replace")


class Opening:
    """
    One attempt: its limits, which trace events lead, and its protection while it waits for a slot of a pool.

    httpcore 1.0.9 loses a slot for good when a request is cancelled while it is being given one, and a connection
    between being made and being used (encode/httpcore#1093).  Cancellation is held off in those moments only, from
    the one in which httpcore looks up how long it may wait for a slot: what runs before, authentication and hooks
    of the caller's, can always be cancelled.

    Args:
        connect_timeout: Seconds for the slot, the connection and TLS, each; the transport enforces it.
        wait: How the response headers are waited for.
        pooled: Whether a slot has to be waited for.
        apart: Whether functions of the caller's are a part of it: authentication, hooks.
        asked_at: When the request was sent, if it was for a wait that was cancelled.
        before: The HTTP/2 connection that the stream had before, which the request goes into if it is still there.
        late: Takes an answer that came at the very moment of a cancellation.
    """

    __slots__ = (
        "_apart", "_asked_at", "_before", "_connect", "_late", "_made", "_notice_at", "_protects", "_scope",
        "_sent", "_shared", "_wait", "extensions",
    )  # fmt: skip

    def __init__(
        self,
        connect_timeout: float | None,
        wait: HeaderWait,
        *,
        pooled: bool,
        apart: bool,
        asked_at: float | None,
        before: Shared | None,
        late: Callable[[httpx.Response], Coroutine[Any, Any, None]],
    ) -> None:
        self._before = before
        self._late = late
        self._apart = apart
        self._made: object = None
        self._shared: Shared | None = None
        self._wait = wait
        self._asked_at = asked_at
        self._notice_at = math.inf
        self._connect = math.inf if connect_timeout is None else connect_timeout
        # Without a limit on the wait for a slot, holding cancellation off could last for ever.
        self._protects = pooled and connect_timeout is not None
        self._scope = anyio.CancelScope()
        self._sent = False
        # Limits on silence are ours; httpx's would not know a waiting consumer from a busy one.
        limits = dict.fromkeys(("connect", "write", "pool"), connect_timeout)
        self.extensions: dict[str, Any] = {
            "timeout": _Timeouts({**limits, "read": None}, self),
            "trace": self._trace,
        }
        """What goes with the request."""

    async def wait_for(
        self, sending: Coroutine[Any, Any, httpx.Response], over: Callable[[], str]
    ) -> httpx.Response:
        """
        Send, and wait for the response.

        Args:
            sending: Does it.
            over: Names the proxy that is asked, if one is.
        """
        began = anyio.current_time()
        with self._scope as scope:
            # Transports that trace nothing (mocks, mostly) are held to the sum of all limits.
            scope.deadline = began + 2 * self._connect + self._wait.limit
            try:
                held = self._protects and on_asyncio()
                response = await self._response(
                    hold(sending, lambda: scope.shield and not scope.cancel_called) if held else sending,
                    began,
                )
            except Exception as exc:  # noqa: BLE001 - raised again, whatever it is
                if self._shared is None or not self._shared.is_left:
                    raise_translated(exc, opened=False)
            else:
                return response
            finally:
                sending.close()  # it may never have begun
                self.extensions = {}  # they refer to this object
        waited = anyio.current_time() - began
        limit = "stall_timeout" if self._sent else "connect_timeout and stall_timeout"
        words = f"no response headers after {waited:.1f} s ({limit})"
        proxy = over()
        raise ConnectionLostError(Reason.CONNECT, f"{OVER_PROXY} {proxy}: {words}" if proxy else words)

    async def _response(self, sending: Awaitable[httpx.Response], began: float) -> httpx.Response:
        """Wait for the response, and tell of a silence in between."""
        self._notice_at = (self._asked_at or began) + self._wait.notice
        work = waits_for(lambda: sending, apart=self._apart, late=self._late)
        response: httpx.Response
        seconds = max(self._notice_at - began, 0.0)
        is_told = False
        try:
            while (response := await work.read(seconds)) is WOKEN:
                now = anyio.current_time()
                left = self._scope.deadline - now
                if is_told:
                    seconds = left - CLOSE_SECONDS if self._shared is not None else math.inf
                    if self._shared is not None and seconds <= 0:
                        if not await self._shared.leave(self._wait.limit / 2):
                            self._scope.cancel()
                        seconds = math.inf  # what was left fails at once
                    continue
                if now < self._notice_at:
                    seconds = (
                        self._notice_at - now if self._notice_at < math.inf else max(seconds, POLL_SECONDS)
                    )
                    continue
                is_told, self._scope.deadline = True, math.inf
                await self._wait.on_silence()
                self._scope.deadline = anyio.current_time() + left  # callbacks take no time of ours
                seconds = math.inf if self._shared is None else left - CLOSE_SECONDS
        finally:
            await work.end()
        return response

    def asks_for_slot(self) -> None:
        """Hold cancellation off until the slot is there, or was not given in time."""
        self._notice_at = math.inf
        if self._protects:
            self._scope.shield = True
            self._scope.deadline = anyio.current_time() + self._connect + _AFTER_HTTPCORE

    async def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(_MAKES_STREAM):
            self._made = info.get("return_value")  # our own transport tells of none
        if name.endswith(_MAY_CANCEL):
            self._scope.shield = False
        elif name.endswith(_MUST_WAIT):
            self._scope.shield = self._protects
        if name.endswith("send_request_headers.started"):
            self._sent, self._shared = True, None
            now = anyio.current_time()
            since: float = info.get("since", now)  # of a request that was sent for a wait that was cancelled
            self._scope.deadline = max(since + self._wait.limit, now + POLL_SECONDS)
            self._notice_at = since + self._wait.notice
            if name.startswith("http2."):
                self._shared = self._before if self._made is None else shared(self._made)
            if self._shared is not None and (self._shared.is_left or self._wait.notice == math.inf):
                self._shared = None  # it is on one that others have made, or nothing wakes it in time
            if self._shared is not None:
                self._scope.deadline += CLOSE_SECONDS  # to close it in, before the wait is cancelled
        elif name.endswith(_MAY_CANCEL):
            self._scope.deadline = anyio.current_time() + 2 * self._connect + self._wait.limit
            self._notice_at = math.inf  # a connection, and TLS, have limits and words of their own


class _Timeouts(dict[str, "float | None"]):
    """The timeouts of a request; tells when the one for a slot is asked for, just before httpcore waits."""

    def __init__(self, timeouts: dict[str, float | None], opening: Opening) -> None:
        super().__init__(timeouts)
        self._opening = opening

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as the class it extends
        if key == "pool":
            self._opening.asks_for_slot()
        return super().get(key, default)
