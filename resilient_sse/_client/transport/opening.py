"""How long opening may take, and when it must not be cancelled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse._client.backends import hold, on_asyncio
from resilient_sse._client.transport.failures import OVER_PROXY, raise_translated
from resilient_sse._client.transport.reads import WOKEN, waits_for
from resilient_sse._client.transport.shared import CLOSE_SECONDS, Shared, shared
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    import httpx

__all__ = ["Opening"]

# Between the first and the second of each pair httpcore can be cancelled without losing anything.
_MAY_CANCEL = ("connect_tcp.started", "start_tls.started", "send_request_headers.started")
_MUST_WAIT = ("connect_tcp.complete", "start_tls.complete", "response_closed.complete")

# What httpcore finds when it reads the body; one for all.
_NO_LIMITS: dict[str, float | None] = {}

# Seconds between two looks at whether a connection is there, where silence is told of sooner than that.
_POLL = 0.05

# What ends with these returns the network stream.
_MAKES_STREAM = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")

# httpcore's own timeout is to strike first, for it says what was waited for.
_AFTER_HTTPCORE = 1.0


class Opening:
    """
    One attempt: its limits, which trace events lead, and its protection while it waits for a slot of a pool.

    httpcore 1.0.9 loses a slot for good when a request is cancelled while it is being given one, and a connection
    between being made and being used (encode/httpcore#1093).  Cancellation is held off in those moments only, from
    the one in which httpcore looks up how long it may wait for a slot: what runs before, authentication and hooks
    of the caller's, can always be cancelled.

    Args:
        connect_timeout: Seconds for the slot, the connection and TLS, each; the transport enforces it.
        header_timeout: Seconds from the request to the end of the response headers.
        pooled: Whether a slot has to be waited for.
        apart: Whether functions of the caller's are a part of it: authentication, hooks.
        quiet: Is awaited once, after a silence of so many seconds before the headers.
        waiting_after: These seconds.
        before: The HTTP/2 connection that the stream had before, which the request goes into if it is still there.
    """

    __slots__ = (
        "_apart",
        "_before",
        "_connect",
        "_headers",
        "_made",
        "_protects",
        "_quiet",
        "_quiet_at",
        "_scope",
        "_sent",
        "_shared",
        "_waiting_after",
        "extensions",
    )

    def __init__(
        self,
        connect_timeout: float | None,
        header_timeout: float | None,
        *,
        pooled: bool,
        apart: bool,
        quiet: Callable[[], Awaitable[None]],
        waiting_after: float,
        before: Shared | None,
    ) -> None:
        self._before = before
        self._apart = apart
        self._made: object = None
        self._shared: Shared | None = None
        self._quiet = quiet
        self._waiting_after = waiting_after
        self._quiet_at = math.inf
        self._connect = math.inf if connect_timeout is None else connect_timeout
        self._headers = math.inf if header_timeout is None else header_timeout
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
        self, sending: Coroutine[Any, Any, httpx.Response], *, over: str = ""
    ) -> httpx.Response:
        """
        Send, and wait for the response.

        Args:
            sending: Does it.
            over: The proxy that is asked, if one is.

        Raises:
            HandshakeError: The request cannot be sent, or a redirect cannot be followed.
            ConnectionLostError: No response came, or not in time.
        """
        began = anyio.current_time()
        with self._scope as scope:
            # Transports that trace nothing (mocks, mostly) are held to the sum of all limits.
            scope.deadline = began + 2 * self._connect + self._headers
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
                # The response keeps its request for hours; what has done its work must not be kept with it.
                response.request.extensions.update(timeout=_NO_LIMITS, trace=None)
                return response
            finally:
                sending.close()  # it may never have begun
                self.extensions = {}  # they refer to this object
        waited = anyio.current_time() - began
        limit = "stall_timeout" if self._sent else "connect_timeout and stall_timeout"
        words = f"no response headers after {waited:.1f} s ({limit})"
        raise ConnectionLostError(Reason.CONNECT, f"{OVER_PROXY} {over}: {words}" if over else words)

    async def _response(self, sending: Awaitable[httpx.Response], began: float) -> httpx.Response:
        """Wait for the response, and tell of a silence in between."""
        self._quiet_at = began + self._waiting_after
        work = waits_for(lambda: sending, apart=self._apart)
        response: httpx.Response
        patience = self._waiting_after
        is_told = False
        try:
            while (response := await work.read(patience)) is WOKEN:
                now = anyio.current_time()
                left = self._scope.deadline - now
                if is_told:
                    patience = left - CLOSE_SECONDS if self._shared is not None else math.inf
                    if self._shared is not None and patience <= 0:
                        if not await self._shared.leave(self._headers / 2):
                            self._scope.cancel()
                        patience = math.inf  # what was left fails at once
                    continue
                if now < self._quiet_at:
                    patience = self._quiet_at - now if self._quiet_at < math.inf else max(patience, _POLL)
                    continue
                is_told, self._scope.deadline = True, math.inf
                await self._quiet()
                self._scope.deadline = anyio.current_time() + left  # callbacks take no time of ours
                patience = math.inf if self._shared is None else left - CLOSE_SECONDS
        finally:
            await work.end()
        return response

    def asks_for_slot(self) -> None:
        """Hold cancellation off until the slot is there, or was not given in time."""
        self._quiet_at = math.inf
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
            self._scope.deadline = max(since + self._headers, now + _POLL)
            self._quiet_at = since + self._waiting_after
            if name.startswith("http2."):
                self._shared = self._before if self._made is None else shared(self._made)
            if self._shared is not None and (self._shared.is_left or self._waiting_after == math.inf):
                self._shared = None  # it is on one that others have made, or nothing wakes it in time
            if self._shared is not None:
                self._scope.deadline += CLOSE_SECONDS  # to close it in, before the wait is cancelled
        elif name.endswith(_MAY_CANCEL):
            self._scope.deadline = anyio.current_time() + 2 * self._connect + self._headers
            self._quiet_at = math.inf  # a connection, and TLS, have limits and words of their own


class _Timeouts(dict[str, "float | None"]):
    """The timeouts of a request; tells when the one for a slot is asked for, just before httpcore waits."""

    def __init__(self, timeouts: dict[str, float | None], opening: Opening) -> None:
        super().__init__(timeouts)
        self._opening = opening

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as the class it extends
        if key == "pool":
            self._opening.asks_for_slot()
        return super().get(key, default)
