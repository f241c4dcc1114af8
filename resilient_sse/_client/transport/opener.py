"""Opening connections, and refusing answers that are no event stream."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from resilient_sse._client.backends import finish, on_asyncio
from resilient_sse._client.transport.connection import CLOSE_SECONDS, Connection
from resilient_sse._client.transport.exchange import exchange
from resilient_sse._client.transport.http1 import Unanswered
from resilient_sse._client.transport.inflate import ACCEPTED_ENCODINGS
from resilient_sse._client.transport.library import Auth, Client, library_of, proxy_of
from resilient_sse._client.transport.opening import Opening
from resilient_sse._client.transport.own import own_client
from resilient_sse._client.transport.shared import Shared
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
)
from resilient_sse._core.outage import is_event_stream

if TYPE_CHECKING:
    from resilient_sse._client.request import PreparedRequest

__all__ = ["Transport", "check_url"]

_STREAMS = frozenset({200, 201})
_PROXY_REFUSES = 407
_MAX_COOKIES = 50  # what RFC 6265 asks of a user agent for each domain
_EXCERPT_BYTES = 16 * 1024
_EXCERPT_SECONDS = 2.0


def check_url(url: str) -> None:
    """
    Raise now what httpx would at the first request.

    Raises:
        ValueError: httpx cannot use the URL.
    """
    try:
        httpx.URL(url)
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
        self._own: httpx.AsyncClient | None = None
        self._cookies = httpx.Cookies()
        self._auth = auth
        self._encoding = ACCEPTED_ENCODINGS if compression else "identity"
        self._connect_timeout = connect_timeout
        self._header_timeout = header_timeout
        self._waiting_after = waiting_after
        self._shared: Shared | None = None
        self._began_on_trio: bool | None = None
        self._unanswered = Unanswered()

    async def open(self, request: PreparedRequest, quiet: Callable[[], Awaitable[None]]) -> Connection:
        """
        Send *request* and accept its answer as an event stream.

        Args:
            request: What to ask.
            quiet: Is awaited once, if there is no answer for `waiting_after`.

        Raises:
            HandshakeError: The answer cannot become an event stream, or the request cannot be sent.
            ConnectionLostError: There was no answer.
        """
        pooled = _has_pool(self._injected)
        if pooled and self._began_on_trio and on_asyncio():  # httpcore keeps to trio's sockets then
            raise HandshakeError(
                "client= has been used on trio, and cannot be used on asyncio any more; give a stream a client "
                "that was made for its event loop, or none"
            )
        if self._began_on_trio is None:
            self._began_on_trio = not on_asyncio()
        opening = Opening(
            self._connect_timeout,
            self._header_timeout,
            pooled=pooled,
            apart=self._injected is not None or self._auth is not None,
            quiet=quiet,
            waiting_after=self._waiting_after,
            before=self._shared,
        )
        client = self._client()
        options: dict[str, Any] = {"extensions": opening.extensions}
        if self._auth is not None:
            options["auth"] = self._auth
        connection: Connection | None = None
        try:
            sending = exchange(client, request, encoding=self._encoding, options=options)
            connection = Connection(
                await opening.wait_for(sending, over=proxy_of(client, httpx.URL(request.url)))
            )
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

    @property
    def is_asking(self) -> bool:
        """Whether a request was sent, and the wait for its answer cancelled: the next `open` goes on with it."""
        return self._unanswered.is_sent

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
            few = len(own.cookies.jar) <= _MAX_COOKIES
            self._cookies = own.cookies if few else httpx.Cookies()

    def _client(self) -> Client:
        if self._injected is not None:
            return self._injected
        if self._own is None:
            # One client a connection: closing it leaves nothing behind, however its requests ended.
            self._own = own_client(self._cookies, self._uds, self._unanswered)
        return self._own


def _has_pool(client: Client | None) -> bool:
    # There is no public way to ask; where the attribute is missing, caution costs little.
    transport = getattr(client, "_transport", None)
    return client is not None and (
        transport is None or isinstance(transport, library_of(client).AsyncHTTPTransport)
    )


async def _accept(connection: Connection, client: Client) -> None:
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
