"""The reference server: a Starlette application that streams events and loses none."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from resilient_sse.testing.server.arguments import (
    check_flags,
    check_numbers,
    check_parts,
    check_times,
    store_of,
)
from resilient_sse.testing.server.checks import check_event, check_text, check_user, check_whole
from resilient_sse.testing.server.counters import Counters, RequestRecord
from resilient_sse.testing.server.endpoints import Endpoints
from resilient_sse.testing.server.limits import Admission
from resilient_sse.testing.server.parameters import DEFAULT_USER
from resilient_sse.testing.server.reader import HEARTBEAT, Reader, ReaderOptions
from resilient_sse.testing.server.stores.protocol import EventStore, StoredEvent, StoreError
from resilient_sse.testing.server.topics import Topic, Topics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from starlette.applications import Starlette

    from resilient_sse.testing.server.faults import Faults
    from resilient_sse.testing.server.limits import RateLimit
    from resilient_sse.testing.server.peer import Peer

__all__ = ["DONE", "ReferenceServer"]

DONE = "done"
"""The type of completion events."""

_MANY_REQUESTS = 100_000

_log = logging.getLogger("resilient_sse")


class ReferenceServer:
    """
    A server that does everything a resilient client relies on; it lives in one event loop, that of asyncio.

    `app` is the application.  `serving` and `open_server` run it; any ASGI server does, but only under uvicorn
    can slow readers be cut off for certain, and only there do all faults work.

    Args:
        store: Where events are kept; `None` (the default) makes a `MemoryStore`.
        heartbeat: Seconds between heartbeats; `None` sends none.
        heartbeat_ids: Number heartbeats, and keep them like any other event.
        retry: The reconnection time to send once for each connection, in milliseconds; `None` sends none.  To a
            `ResilientStream` it is the least delay, so pass `None` to watch a quicker *backoff* of its own.
        start: What a client without an id gets: `"live"` what is published from now on, `"first"` everything.
        page: How many events a replay reads from the store at once.
        history: How many events of each user the store made here keeps; `None` keeps all.
        gzip: Compress for clients that accept it.
        send_timeout: Seconds after which a reader that takes nothing is dropped.
        buffer: How many events may wait for a reader before it is dropped.
        rate_limit: How often one user may open a stream; `None` sets no limit.
        notify_slow: Send an event `client_too_slow` to a reader whose buffer is full, before it is dropped.
        faults: What to do wrong.
        overlap: How many events the client already has are sent again at a resume.
        first_id: The id of the first event in the store made here.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: A value is out of its range, or *history* or *first_id* is given with a *store*.
    """

    def __init__(
        self,
        store: EventStore | None = None,
        *,
        heartbeat: float | None = 10.0,
        heartbeat_ids: bool = False,
        retry: int | None = 1000,
        start: Literal["live", "first"] = "live",
        page: int = 100,
        history: int | None = None,
        gzip: bool = False,
        send_timeout: float = 30.0,
        buffer: int = 1000,
        rate_limit: RateLimit | None = None,
        notify_slow: bool = False,
        faults: Faults | None = None,
        overlap: int = 0,
        first_id: int = 1,
    ) -> None:
        check_numbers(page=(page, 1), buffer=(buffer, 1), overlap=(overlap, 0), retry=(retry, 0))
        check_times(heartbeat, send_timeout)
        check_flags(heartbeat_ids=heartbeat_ids, gzip=gzip, notify_slow=notify_slow)
        check_parts(start, rate_limit, faults)
        self.store: EventStore = store_of(store, first_id, history)
        self.start = start
        self.gzip = gzip
        self.send_timeout = send_timeout
        self.overlap = overlap
        self.faults = faults
        self.admission: Admission = Admission(rate_limit)
        self.topics: Topics = Topics(self.store)
        self.counters: Counters = Counters()
        self.requests: list[RequestRecord] = []
        """Requests for a stream, the newest last; of very many, the oldest are forgotten."""
        self.max_live_per_user: int = 0
        """How many streams one user has had open at once, at the most."""
        self.on_open: list[Callable[[str], None]] = []
        """Are told the user of each stream that is opened, in the server's loop."""
        self.accepting: bool = True
        self._beat = heartbeat if heartbeat_ids else None
        alone = None if heartbeat_ids else heartbeat
        self._options = ReaderOptions(page, buffer, retry, alone, notify_slow)
        self._since_done: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self.app: Starlette = Endpoints(self).app(self._lifespan)

    @property
    def live(self) -> int:
        """How many streams are open."""
        return sum(not reader.peer.gone for reader in self.topics.readers())

    async def publish(self, data: str, *, event: str | None = None, user_id: str = DEFAULT_USER) -> int:
        """
        Store an event and bring it to the user's readers; to be called in the server's loop.

        Args:
            data: The text; `json.dumps` makes one of other values.
            event: The event type; `None` (the default) for none.
            user_id: For whom; at most 256 characters.

        Returns:
            The event's id.

        Raises:
            TypeError: An argument is no text.
            ValueError: *event* contains a line end, *user_id* is too long, or a text cannot be encoded as UTF-8.
            StoreError: It could not be stored.
        """
        check_text("data", data, hint="; json.dumps makes one of other values")
        check_event(event)
        check_user(user_id)
        stored = await self.store.append(user_id, event, data)
        self._since_done[user_id] += 1
        return self._announce(stored)

    async def complete(
        self, user_id: str = DEFAULT_USER, *, total: int | None = None, event: str = DONE
    ) -> int:
        """
        Publish the completion event, whose data declare how many events came before it: `{"total": 50}`.

        Args:
            user_id: For whom.
            total: What to declare; `None` (the default) takes what this server has published for the user since
                its last completion event.  Heartbeats do not count.
            event: The event type.

        Returns:
            The event's id.

        Raises:
            TypeError: An argument is of the wrong kind.
            ValueError: A value is out of its range; see `publish`.
            StoreError: It could not be stored.
        """
        check_event(event)
        check_user(user_id)
        if total is not None:
            check_whole("total", total, least=0)
        declared = self._since_done[user_id] if total is None else total
        stored = await self.store.append(user_id, event, json.dumps({"total": declared}))
        del self._since_done[user_id]
        return self._announce(stored)

    def stats(self) -> dict[str, int]:
        """Return all figures by name."""
        return {**self.counters.to_dict(), "live": self.live, "max_live_per_user": self.max_live_per_user}

    async def clear(self) -> None:
        """
        Forget all events; ids begin anew.

        Raises:
            StoreError: The store could not be cleared.
        """
        await self.store.clear()
        self._since_done.clear()

    def end_streams(self) -> None:
        """End all streams cleanly; new ones are refused until `accepting` is set again."""
        self.accepting = False
        self.topics.each(lambda reader: reader.end())

    def break_streams(self) -> None:
        """Reset all connections, as a crash does."""
        self.topics.each(lambda reader: reader.break_off())

    def note(self, record: RequestRecord) -> None:
        """Keep the record of a request."""
        if len(self.requests) >= _MANY_REQUESTS:
            del self.requests[: _MANY_REQUESTS // 2]
        self.requests.append(record)

    def enter(self, user: str, peer: Peer) -> tuple[Reader, Topic]:
        """Open a stream."""
        reader = Reader(self._options, self.store, self.counters, peer)
        topic = self.topics.enter(reader, user)
        self.counters.connections += 1
        self.max_live_per_user = max(
            self.max_live_per_user, sum(not other.peer.gone for other in topic.readers)
        )
        if self._beat is not None and topic.beat is None:
            self._beat_later(topic, asyncio.get_running_loop().time())
        if self._listening is None:
            self._listening = self._spawn(self.store.listen(self.topics.announce))
        for told in self.on_open:
            told(user)
        return reader, topic

    def leave(self, reader: Reader, topic: Topic) -> None:
        """Close a stream."""
        reader.close()
        self.topics.leave(reader, topic)

    def _announce(self, stored: StoredEvent) -> int:
        self.counters.published += 1
        self.topics.announce(stored)
        return stored.id

    def _beat_later(self, topic: Topic, due: float) -> None:
        """Publish a heartbeat for a topic later, for as long as somebody reads it."""
        if self._beat is not None:
            due += self._beat
            topic.beat = asyncio.get_running_loop().call_at(due, self._beat_now, topic, due)

    def _beat_now(self, topic: Topic, due: float) -> None:
        self._spawn(self._publish_heartbeat(topic.name))
        self._beat_later(topic, due)

    async def _publish_heartbeat(self, user: str) -> None:
        try:
            stored = await self.store.append(user, HEARTBEAT, "{}")
        except StoreError:
            _log.exception("the heartbeat could not be stored")
        else:
            self.counters.heartbeats += 1
            self._announce(stored)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        self.accepting = True
        try:
            yield
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._listening = None
            await self.store.aclose()
