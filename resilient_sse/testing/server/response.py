"""The response of a stream: sse-starlette's, with the headers, the compression and the end that are ours."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import anyio
from sse_starlette import EventSourceResponse

from resilient_sse.testing.wire import Compressor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Receive, Scope, Send

__all__ = ["EventStream", "small_compressor"]

# sse-starlette's own heartbeats are comments, and no two of its versions agree on how to switch them off.
_NEVER = 10_000_000

_FAREWELL_SECONDS = 1.0

_CAN_SAY_FAREWELL = "shutdown_event" in inspect.signature(EventSourceResponse).parameters

# 20 KiB for each stream instead of zlib's usual 256: events are small, and a thousand streams are many.
_WINDOW = 16 + 11
_MEMORY = 4


def small_compressor() -> Compressor:
    """Return what compresses one stream."""
    return Compressor(window=_WINDOW, memory=_MEMORY)


class EventStream(EventSourceResponse):
    """
    The response of a stream.

    Args:
        body: What to send.
        http_version: The request's.
        content_encoding: What the body is encoded as, or `None`.
        send_timeout: Seconds that one event may take.
        on_slow: Is called when one took longer.
        on_shutdown: Is called when a server of the user's own is told to exit.
        on_end: Is called at the end, however it comes.
    """

    def __init__(
        self,
        body: AsyncGenerator[bytes],
        *,
        http_version: str,
        content_encoding: str | None,
        send_timeout: float,
        on_slow: Callable[[], None],
        on_shutdown: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        headers = {"Cache-Control": "no-cache"}
        if content_encoding is not None:
            headers |= {"Content-Encoding": content_encoding, "Vary": "Accept-Encoding"}
        more: dict[str, Any] = {}
        if _CAN_SAY_FAREWELL:
            more = {"shutdown_event": _Bell(on_shutdown), "shutdown_grace_period": _FAREWELL_SECONDS}
        more |= {"headers": headers, "ping": _NEVER, "sep": "\n", "send_timeout": send_timeout}
        EventSourceResponse.__init__(self, body, **more)  # pyright: ignore[reportUnknownMemberType] - it says no more
        if not http_version.startswith("1"):
            del self.headers["Connection"]  # RFC 9113, 8.2.2: connection-specific fields are malformed
        self._body = body
        self._on_slow = on_slow
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        except* TimeoutError:
            self._on_slow()
            # The server learns of the closed connection a moment later, and would complain about half a response.
            with anyio.move_on_after(_FAREWELL_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    pass
        finally:
            self._on_end()


class _Bell:
    """All that sse-starlette asks of an event: to be set."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.set = ring
