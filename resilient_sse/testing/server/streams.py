"""
One open stream: what it has been sent, what waits to be, and the connection under it.

A reader pulls: it reads the store behind its position, a page at a time, and sleeps where there is nothing more.
An announcement only wakes it, so it does not matter in which order events are announced, how often, or by whom.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from resilient_sse.testing.proxy.connection import reset_at_close
from resilient_sse.testing.server.stores import StoreError
from resilient_sse.testing.wire import event as wire_event

if TYPE_CHECKING:
    from resilient_sse.testing.server.app import ReferenceServer

Block: TypeAlias = tuple[int | None, bytes]
"""The id of an event, `None` for what has no id, and the bytes."""

SLOW = "client_too_slow"
"""Why a reader is dropped that does not keep up, and the type of the event that says so."""

TRUNCATED = "truncated"
"""The type of the event that says that history is gone."""

HEARTBEAT = "heartbeat"
"""The type of heartbeats."""

_HEARTBEAT_BLOCK = wire_event("{}", event=HEARTBEAT)
_SLOW_BLOCK = wire_event(json.dumps({"reason": SLOW}), event=SLOW)

_FAREWELL_SECONDS = 1.0

# sse-starlette's own pings would go between the bytes of a fault, past gzip and past silence: our heartbeats are
# blocks like any other.  No two of its versions agree on how to switch its own off.
_NEVER = 10_000_000

_log = logging.getLogger("resilient_sse")


class Peer:
    """
    The client's end of a connection, which ASGI hides: to close it for certain, or to do wrong on it.

    *send* is the server's own; where that is not uvicorn, the end is not found.
    """

    __slots__ = ("_transport",)

    def __init__(self, send: Send) -> None:
        # uvicorn's protocols pass a bound method of the object that holds the transport.
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    @property
    def gone(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport is not None and self._transport.is_closing()

    def reset(self) -> bool:
        """Close with a reset, whatever is still to be sent; return whether that was possible."""
        if self._transport is None:
            return False
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            reset_at_close(sock)
        self._transport.abort()
        return True

    def cut(self, data: bytes) -> None:
        """Send *data* as it is, between the chunks, and close; `RuntimeError` if this is not uvicorn."""
        if self._transport is None:
            raise RuntimeError("this fault needs uvicorn: no other server lets its connections be found")
        self._transport.write(data)
        self._transport.close()


class Reader:
    """One open stream: a reader of the events of *user*."""

    def __init__(self, server: ReferenceServer, user: str, peer: Peer) -> None:
        self.user = user
        self.peer = peer
        self.server = server
        self._counters = server.counters
        self._position = -1  # the last id that was sent, or is not to be
        self._live = False  # it has read all there was; only from then on can it be too slow
        self._ended = False
        self._stopped = False
        self._opening = b"" if server.retry is None else b"retry: %d\n" % server.retry
        self._notice: bytes | None = None
        self._farewell: bytes | None = None
        self._beat = False
        self._woken = asyncio.Event()

    async def begin(self, cursor: int | None) -> None:
        """Find where the stream begins: after *cursor*, less the overlap; without one where the server says."""
        server, store = self.server, self.server.store
        before = store.first_id - 1
        last = await store.last(self.user)
        if cursor is None:
            self._position = last if server.start == "live" and last is not None else before
        elif cursor > (before if last is None else last):
            # An id that was never given out here: numbering has begun anew, so all there is is new.
            self._position = before
            self._notice = self._truncated("reset", cursor, before + 1, None)
        else:
            self._position = max(cursor, before)
            overlapping = max(self._position - server.overlap, before)
            if overlapping < self._position:
                for stored in await store.after(self.user, overlapping, 1):  # older ones may be gone
                    self._position = min(self._position, stored.id - 1)

    async def blocks(self) -> AsyncGenerator[Block]:
        """Yield what is to be sent, as soon as there is something, up to the end."""
        server = self.server
        replaying = True
        if self._notice is not None:
            yield None, self._opened(self._notice)
        while not (self._stopped or self.peer.gone):
            if self._ended and not self._live:
                return
            self._woken.clear()
            if self._beat:
                self._beat = False
                self._counters.heartbeats += 1
                yield None, _HEARTBEAT_BLOCK
            if replaying:  # a store in memory never waits, and a long replay must not keep the loop
                await asyncio.sleep(0)
            try:
                page = await server.store.after(self.user, self._position, server.page)
            except StoreError:
                # It has missed something: a new connection will tell it what.
                _log.exception("the event store cannot be read; ending a stream")
                self.peer.reset()
                return
            if replaying:
                self._counters.replayed += len(page)
                replaying = len(page) == server.page
            for stored in page:
                if stored.id > self._position + 1:
                    missing = stored.id - self._position - 1
                    yield None, self._opened(self._truncated("history", self._position, stored.id, missing))
                self._position = stored.id
                yield stored.id, self._opened(stored.wire)
                if self._stopped:
                    break
            if len(page) == server.page:
                continue
            self._live = True
            if self._opening:
                yield None, self._opened(b"\n")
            if self._ended and not self._woken.is_set():
                return
            await self._woken.wait()
        if self._farewell is not None:
            yield None, self._farewell

    def wake(self, number: int | None) -> None:
        """Have the reader look for an event, unless too much waits for it already: then it is dropped."""
        if number is None or number > self._position:  # others it has: two servers may announce one event
            self._woken.set()
        if self._live and number is not None and number - self._position > self.server.buffer:
            self.drop_slow(f"{self.server.buffer} events wait for it", notify=self.server.notify_slow)

    def beat(self) -> None:
        """Send a heartbeat without an id, unless there is still something to replay."""
        self._beat = self._live
        self._woken.set()

    def end(self) -> None:
        """Send what waits, and end the response as it should end."""
        self._ended = True
        self._woken.set()

    def break_off(self) -> None:
        """End at once, without what waits."""
        self._stopped = True
        self._woken.set()
        self.peer.reset()

    def drop_slow(self, why: str, *, notify: bool = False) -> None:
        """Drop a reader that does not keep up, after an event that says so if it can still be sent."""
        if self._ended or self._stopped:
            return
        self._counters.slow_client_disconnects += 1
        extra = {"sse_reason": SLOW, "sse_user": self.user}
        _log.warning("dropped a reader: %s (%s)", SLOW, why, extra=extra)
        if notify:
            self._stopped = True
            self._farewell = _SLOW_BLOCK
        else:
            self.break_off()

    def _opened(self, block: bytes) -> bytes:
        """Put the reconnection time before the first block of a connection."""
        opening, self._opening = self._opening, b""
        return opening + block

    def _truncated(self, reason: str, after: int, following: int, missing: int | None) -> bytes:
        self._counters.truncated += 1
        data = {"reason": reason, "after": after, "next": following, "missing": missing}
        return wire_event(json.dumps(data), event=TRUNCATED)


class EventStream(EventSourceResponse):
    """The response of a stream: sse-starlette's, with the headers and the end that are ours."""

    def __init__(
        self, reader: Reader, body: AsyncGenerator[bytes], *, http_version: str, content_encoding: str | None
    ) -> None:
        server = reader.server
        headers = {"Cache-Control": "no-cache"}
        if content_encoding is not None:
            headers |= {"Content-Encoding": content_encoding, "Vary": "Accept-Encoding"}
        options: dict[str, Any] = {
            "headers": headers,
            "ping": _NEVER,
            "sep": "\n",
            "send_timeout": server.send_timeout,
            # All that sse-starlette asks of an event; it is set when a server of the user's own is told to exit.
            "shutdown_event": SimpleNamespace(set=server.end_streams),
            "shutdown_grace_period": _FAREWELL_SECONDS,
        }
        EventSourceResponse.__init__(self, body, **options)  # pyright: ignore[reportUnknownMemberType] - it says no more
        if not http_version.startswith("1"):
            del self.headers["Connection"]  # RFC 9113, 8.2.2: connection-specific fields are malformed
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        except* TimeoutError:
            self._reader.drop_slow(f"it took nothing for {self.send_timeout:g} s")
            self._reader.peer.reset()  # if it has been told before, it has not taken that either
            # The server learns of the closed connection a moment later, and would complain about half a response.
            with anyio.move_on_after(_FAREWELL_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    pass
        finally:
            self._reader.server.forget(self._reader)
