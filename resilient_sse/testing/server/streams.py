"""
One open stream: what it has been sent, what waits to be, and the connection under it.

A reader pulls: it reads the store behind its position, a page at a time, and sleeps where there is nothing more.
An announcement only wakes it, so it does not matter in which order events are announced, how often, or by whom.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import anyio
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from resilient_sse.testing.proxy.connection import reset_at_close
from resilient_sse.testing.server.requests import Counters
from resilient_sse.testing.server.stores import EventStore, StoreError
from resilient_sse.testing.wire import event as wire_event

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

# So long a slow reader has for taking the notice before its connection is reset.
_NOTICE_SECONDS = 1.0

_FAREWELL_SECONDS = 1.0

# sse-starlette's own pings would go between the bytes of a fault, past gzip and past silence: our heartbeats are
# blocks like any other.  No two of its versions agree on how to switch its own off.
_NEVER = 10_000_000

_PEER = "resilient_sse.peer"

_log = logging.getLogger("resilient_sse")


class Peer:
    """
    The client's end of a connection, which ASGI hides: to close it for certain, or to do wrong on it.

    *transport* is uvicorn's; `None` where another server is at work, which cannot be helped.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport

    @classmethod
    def note(cls, scope: Scope, send: Send) -> None:
        """Put the peer into *scope*, from the *send* that the server itself has given."""
        # uvicorn's protocols pass a bound method of the object that holds the transport.
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        scope[_PEER] = cls(transport if isinstance(transport, asyncio.Transport) else None)

    @classmethod
    def of(cls, scope: Scope) -> Peer:
        """Return the peer noted in *scope*."""
        peer = scope.get(_PEER)
        return peer if isinstance(peer, Peer) else cls(None)

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


class Channel:
    """What the readers of one stream wait for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.readers: set[Reader] = set()
        self.last: int = -1  # the largest id announced
        self.beat: asyncio.Task[None] | None = None  # what publishes heartbeats with ids

    def announce(self, number: int | None) -> None:
        """Wake the readers for an event; `None` means that some may have been missed."""
        if number is not None:
            self.last = max(self.last, number)
        for reader in list(self.readers):
            reader.wake(number)


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What all readers of a server have in common: its arguments; *heartbeat* is about those without ids."""

    page: int
    buffer: int
    retry: int | None
    heartbeat: float | None
    notify_slow: bool


class Reader:
    """One open stream: a reader of *channel*, whose events are in *store*."""

    def __init__(
        self, options: ReaderOptions, channel: Channel, store: EventStore, counters: Counters, peer: Peer
    ) -> None:
        self.peer = peer
        self._options = options
        self._channel = channel
        self._store = store
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._position = -1  # the last id that was sent, or is not to be
        self._live = False  # it has read all there was; only from then on can it be too slow
        self._ended = False
        self._stopped = False
        self._opening = b"" if options.retry is None else b"retry: %d\n" % options.retry
        self._notice: bytes | None = None
        self._farewell: bytes | None = None
        self._woken = asyncio.Event()
        self._due = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._beat_later()

    async def begin(self, cursor: int | None, *, live: bool, overlap: int) -> None:
        """Find where the stream begins: after *cursor*, less *overlap*; without one at the first, or *live*."""
        name, before = self._channel.name, self._store.first_id - 1
        last = await self._store.last(name)
        if cursor is None:
            self._position = last if live and last is not None else before
        elif cursor > (before if last is None else last):
            # An id that was never given out here: numbering has begun anew, so all there is is new.
            self._position = before
            self._notice = self._truncated("reset", cursor, before + 1, None)
        else:
            self._position = max(cursor, before)
            if overlap and self._position > before:
                first = await self._store.first(name)
                oldest = self._position if first is None else first - 1
                self._position = min(self._position, max(self._position - overlap, before, oldest))

    async def blocks(self) -> AsyncGenerator[Block]:
        """Yield what is to be sent, as soon as there is something, up to the end."""
        channel, options = self._channel, self._options
        replaying = True
        if self._notice is not None:
            yield None, self._opened(self._notice)
        while not (self._stopped or self.peer.gone):
            if self._ended and not self._live:
                return
            self._woken.clear()
            if self._timer is not None and self._loop.time() >= self._due:
                self._beat_later()
                if self._live:
                    self._counters.heartbeats += 1
                    yield None, _HEARTBEAT_BLOCK
            if replaying:  # a store in memory never waits, and a long replay must not keep the loop
                await asyncio.sleep(0)
            try:
                page = await self._store.after(channel.name, self._position, options.page)
            except StoreError:
                # It has missed something: a new connection will tell it what.
                _log.exception("the event store cannot be read; ending a stream")
                self.peer.reset()
                return
            if replaying:
                self._counters.replayed += len(page)
                replaying = len(page) == options.page
            for stored in page:
                if stored.id > self._position + 1:
                    missing = stored.id - self._position - 1
                    yield None, self._opened(self._truncated("history", self._position, stored.id, missing))
                self._position = stored.id
                yield stored.id, self._opened(stored.wire)
                if self._stopped:
                    break
            if len(page) == options.page:
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
        """Have the reader look into the store, unless too much waits for it there: then it is dropped."""
        if (
            number is None or number > self._position
        ):  # others it has had, for two servers may announce one event
            self._woken.set()
        if self._live and self._channel.last - self._position > self._options.buffer:
            self.drop_slow(f"{self._options.buffer} events wait for it", notify=self._options.notify_slow)

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
        user = self._channel.name
        _log.warning("dropped a reader: %s (%s)", SLOW, why, extra={"sse_reason": SLOW, "sse_user": user})
        if not notify:
            self.break_off()
            return
        self._stopped = True
        self._farewell = _SLOW_BLOCK
        self.close()  # there will be no heartbeat
        self._timer = self._loop.call_later(_NOTICE_SECONDS, self.peer.reset)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat_later(self) -> None:
        """Set the timer from when it was due, so that heartbeats do not drift."""
        if self._options.heartbeat is not None:
            self._due += self._options.heartbeat
            self._timer = self._loop.call_at(self._due, self._woken.set)

    def _opened(self, block: bytes) -> bytes:
        """Put the reconnection time before the first block of a connection."""
        opening, self._opening = self._opening, b""
        return opening + block

    def _truncated(self, reason: str, after: int, following: int, missing: int | None) -> bytes:
        self._counters.truncated += 1
        data = {"reason": reason, "after": after, "next": following, "missing": missing}
        return wire_event(json.dumps(data), event=TRUNCATED)


class EventStream(EventSourceResponse):
    """
    The response of a stream: sse-starlette's, with the headers and the end that are ours.

    *on_slow* is called when an event took longer than *send_timeout* seconds, *on_shutdown* when a server of
    the user's own is told to exit, and *on_end* at the end, however it comes.
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
        options: dict[str, Any] = {
            "headers": headers,
            "ping": _NEVER,
            "sep": "\n",
            "send_timeout": send_timeout,
            "shutdown_event": SimpleNamespace(set=on_shutdown),  # all that sse-starlette asks of an event
            "shutdown_grace_period": _FAREWELL_SECONDS,
        }
        EventSourceResponse.__init__(self, body, **options)  # pyright: ignore[reportUnknownMemberType] - it says no more
        if not http_version.startswith("1"):
            del self.headers["Connection"]  # RFC 9113, 8.2.2: connection-specific fields are malformed
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
