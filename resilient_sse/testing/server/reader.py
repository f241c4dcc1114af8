"""One open stream: what it has been sent, and what waits to be."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from resilient_sse.testing.server.stores.protocol import StoredEvent
from resilient_sse.testing.wire import event as wire_event

if TYPE_CHECKING:
    from resilient_sse.testing.server.counters import Counters
    from resilient_sse.testing.server.peer import Peer
    from resilient_sse.testing.server.stores.protocol import EventStore
    from resilient_sse.testing.server.topics import Topic

__all__ = ["HEARTBEAT", "SLOW", "TRUNCATED", "Block", "Reader", "ReaderOptions"]

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

_log = logging.getLogger("resilient_sse")


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """
    What all readers of a server have in common.

    Attributes:
        page: How many events are read from the store at once.
        buffer: How many events may wait for a reader.
        retry: The reconnection time to send, in milliseconds, or `None`.
        heartbeat: Seconds between heartbeats without ids, or `None`.
        notify_slow: Send an event before a slow reader is dropped.
    """

    page: int
    buffer: int
    retry: int | None
    heartbeat: float | None
    notify_slow: bool


class Reader:
    """
    One open stream.

    Args:
        options: What all readers have in common.
        store: Where the events are.
        counters: Where to count.
        peer: The connection.
    """

    def __init__(self, options: ReaderOptions, store: EventStore, counters: Counters, peer: Peer) -> None:
        self.peer = peer
        self._options = options
        self._store = store
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._topic: Topic | None = None
        self._position = -1
        self._waiting: deque[StoredEvent | bytes] = deque()
        self._caught_up = False
        self._ended = False
        self._woken: asyncio.Future[None] | None = None
        self._retry = None if options.retry is None else b"retry: %d\n" % options.retry
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._loop.time()
        self._beat_later()

    def begin(self, topic: Topic, position: int, *, requested: int | None = None) -> None:
        """
        Read *topic* from behind *position*.

        Args:
            topic: The topic, which this reader has entered.
            position: The last id that is not to be sent.
            requested: The cursor, if it is unknown here: numbering began anew since.
        """
        self._topic, self._position = topic, position
        if requested is not None:
            self._waiting.appendleft(self._truncated("reset", requested, position + 1, None))

    async def next(self) -> Block | None:
        """
        Return what is to be sent next, as soon as there is something, or `None` at the end.

        Raises:
            StoreError: The store cannot be read.
        """
        while True:
            if self.peer.gone:
                return None
            if self._waiting:
                item = self._waiting.popleft()
                if isinstance(item, bytes):
                    return None, self._opened(item)
                if item.id <= self._position:
                    continue
                if item.id > self._position + 1:
                    self._waiting.appendleft(item)
                    return None, self._opened(self._gone(item.id))
                self._position = item.id
                return item.id, item.wire if self._retry is None else self._opened(item.wire)
            if self._ended:
                return None
            if not self._caught_up:
                await self._catch_up()
            elif self._retry is not None:
                return None, self._opened(b"")
            else:
                self._woken = self._loop.create_future()
                await self._woken

    def bring(self, item: StoredEvent | bytes) -> None:
        """Have *item* sent; one that does not keep up is dropped.  Whoever catches up reads for itself."""
        if self._ended or not self._caught_up:
            return
        if len(self._waiting) >= self._options.buffer:
            self.drop_slow(f"{self._options.buffer} events wait for it", notify=self._options.notify_slow)
            return
        self._waiting.append(item)
        self._wake()

    def end(self) -> None:
        """Send what waits, and end the response as it should end."""
        self._ended = True
        self._wake()

    def break_off(self) -> None:
        """End at once, without what waits."""
        self._waiting.clear()
        self.end()
        self.peer.reset()

    def drop_slow(self, why: str, *, notify: bool = False) -> None:
        """Drop a reader that does not keep up, after an event that says so if it can still be sent."""
        if self._ended:
            return
        self._counters.slow_client_disconnects += 1
        name = self._topic.name if self._topic else ""
        _log.warning("dropped a reader: %s (%s)", SLOW, why, extra={"sse_reason": SLOW, "sse_user": name})
        if not notify:
            self.break_off()
            return
        self._waiting.clear()
        self._waiting.append(_SLOW_BLOCK)
        self.end()
        # The timer of heartbeats is free now: nothing is brought to a reader that has ended.
        self.close()
        self._timer = self._loop.call_later(_NOTICE_SECONDS, self.peer.reset)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    async def _catch_up(self) -> None:
        """Read the next page; when there is none, events are brought from now on."""
        topic, options = self._topic, self._options
        if topic is None:
            raise RuntimeError("the reader was not begun")
        seen = topic.seen
        await asyncio.sleep(0)  # a store in memory never waits, and a long replay must not keep the loop
        page = await self._store.after(topic.name, self._position, options.page)
        self._counters.replayed += len(page)
        self._waiting.extend(page)
        # What was announced before the read, and is not in it, is gone for good.
        self._caught_up = not page and (topic.caught_up(self._position) or topic.caught_up(seen))

    def _beat_later(self) -> None:
        """Set the timer from when it was due, so that heartbeats do not drift."""
        if self._options.heartbeat is not None:
            self._due += self._options.heartbeat
            self._timer = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self._beat_later()
        if self._caught_up and not self._ended:
            self._counters.heartbeats += 1
            self.bring(_HEARTBEAT_BLOCK)

    def _opened(self, block: bytes) -> bytes:
        """Put the reconnection time before the first block of a connection; alone it is a block, too."""
        if self._retry is None:
            return block
        retry, self._retry = self._retry, None
        return retry + (block or b"\n")

    def _gone(self, number: int) -> bytes:
        requested, self._position = self._position, number - 1
        return self._truncated("history", requested, number, number - requested - 1)

    def _truncated(self, reason: str, after: int, following: int, missing: int | None) -> bytes:
        self._counters.truncated += 1
        data = {"reason": reason, "after": after, "next": following, "missing": missing}
        return wire_event(json.dumps(data), event=TRUNCATED)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
