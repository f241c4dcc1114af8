"""Where the reference server keeps its events: in memory, in SQLite, or in Redis or Valkey."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import anyio
from anyio import to_thread

from resilient_sse.checkpoints.redis_server import check_options, redis_py, text
from resilient_sse.testing.checks import check, check_whole
from resilient_sse.testing.wire import event as wire_event


class StoreError(Exception):
    """The store cannot be read or written; the cause says why."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """
    One event as it is kept, and as it goes over the wire.

    `TypeError` or `ValueError` if *event* or *data* cannot be sent.
    """

    stream: str
    id: int
    event: str | None
    data: str = field(repr=False)
    wire: bytes = field(init=False, repr=False, compare=False)
    """The block, written once however many streams it is sent on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wire", wire_event(self.data, id=str(self.id), event=self.event))


Announce: TypeAlias = Callable[[str | None, int], None]
"""Is told stream and id of an event that another process has stored; `None` means that some may be missing."""


class EventStore(Protocol):
    """
    Events in streams, numbered without a hole.

    An id is given out and its event stored in one step, so whoever sees an id can read every event before it.
    Each method raises `StoreError` when the store cannot be reached.  Those of this package keep *history* events
    of each stream, all with `None` (the default), and begin a stream with the id *first_id*.
    """

    @property
    def first_id(self) -> int:
        """The id of a stream's first event."""
        ...

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        """Store an event under the next id of *stream*; `ValueError` if *event* contains a line end."""
        ...

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        """Return the first *limit* events with a larger id, in order."""
        ...

    async def last(self, stream: str) -> int | None:
        """Return the id of the newest event, or `None` if there is none."""
        ...

    async def clear(self) -> None:
        """Forget all streams; numbering begins anew."""
        ...

    async def listen(self, announce: Announce) -> None:
        """Tell *announce* what other processes store, until cancelled; return at once if there can be none."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files; the next use opens them again."""
        ...


class _Store:
    """What the stores of this package have in common."""

    def __init__(self, first_id: int, history: int | None) -> None:
        check_whole("first_id", first_id)
        if history is not None:
            check_whole("history", history, least=1)
        self.first_id: int = first_id
        self._history = history

    async def listen(self, announce: Announce) -> None:
        """Return at once: nobody says that another process has stored something."""

    async def aclose(self) -> None:
        """Do nothing; the events stay."""


class MemoryStore(_Store):
    """A store in memory; it grows with what is published unless *history* bounds it."""

    def __init__(self, *, first_id: int = 1, history: int | None = None) -> None:
        super().__init__(first_id, history)
        self._streams: dict[str, list[StoredEvent]] = {}

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        # There is no await in here, so it is one step.
        events = self._streams.setdefault(stream, [])
        stored = StoredEvent(stream, events[-1].id + 1 if events else self.first_id, event or None, data)
        events.append(stored)
        if self._history is not None and len(events) > self._history:
            del events[0]
        return stored

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        events = self._streams.get(stream, [])
        start = max(id + 1 - events[0].id, 0) if events else 0
        return events[start : start + limit]

    async def last(self, stream: str) -> int | None:
        events = self._streams.get(stream)
        return events[-1].id if events else None

    async def clear(self) -> None:
        self._streams.clear()


# --- SQLite: outlives the process, and needs nothing but the standard library

T = TypeVar("T")

_BUSY_SECONDS = 30.0
_WAL_RETRY_SECONDS = 0.01

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    stream TEXT NOT NULL, id INTEGER NOT NULL, event TEXT, data TEXT NOT NULL, PRIMARY KEY (stream, id)
) WITHOUT ROWID
"""


class SQLiteStore(_Store):
    """
    A store in a SQLite file, in write-ahead mode, worked on in threads; it is made when there is none.

    Several processes may store into one file, but a process is not told what others store: readers see those
    events when they resume, or when their own server stores the next one.
    """

    def __init__(self, path: str | Path, *, first_id: int = 1, history: int | None = None) -> None:
        super().__init__(first_id, history)
        self._path = os.fspath(path)
        if self._path in ("", ":memory:"):  # which SQLite would forget at each `aclose`
            raise ValueError(
                f"path must name a file, not {self._path!r}; MemoryStore() keeps events in memory"
            )
        self._connection: sqlite3.Connection | None = None
        # One connection for all threads: SQLite lets only one write at a time anyway.
        self._lock = threading.Lock()

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        return await self._in_thread(lambda db: self._append(db, stream, event or None, data))

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        rows = await self._in_thread(
            lambda db: db.execute(
                "SELECT id, event, data FROM events WHERE stream = ? AND id > ? ORDER BY id LIMIT ?",
                (stream, id, limit),
            ).fetchall()
        )
        return [StoredEvent(stream, number, event, data) for number, event, data in rows]

    async def last(self, stream: str) -> int | None:
        query = "SELECT max(id) FROM events WHERE stream = ?"
        (number,) = await self._in_thread(lambda db: db.execute(query, (stream,)).fetchone())
        return number if isinstance(number, int) else None

    async def clear(self) -> None:
        await self._in_thread(lambda db: db.execute("DELETE FROM events"))

    async def aclose(self) -> None:
        """Close the file; the next use opens it again."""

        def close() -> None:
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None

        await to_thread.run_sync(close)

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                return work(self._connection)

        try:
            return await to_thread.run_sync(run)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        # Transactions are begun by hand: sqlite3's own would begin with a read lock, and two that want to become
        # writers then fail instead of waiting.
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # A write-ahead log: SQLite does not wait for others that open the same new file.
            until = time.monotonic() + _BUSY_SECONDS
            while True:
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(_WAL_RETRY_SECONDS)
            # A power cut may take the last events, never the file; a server that proves a client can live with it.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _append(self, db: sqlite3.Connection, stream: str, event: str | None, data: str) -> StoredEvent:
        with db:  # which commits, or rolls back
            db.execute("BEGIN IMMEDIATE")
            (last,) = db.execute("SELECT max(id) FROM events WHERE stream = ?", (stream,)).fetchone()
            stored = StoredEvent(stream, self.first_id if last is None else last + 1, event, data)
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (stream, stored.id, event, data))
            if self._history is not None:
                gone = (stream, stored.id - self._history)
                db.execute("DELETE FROM events WHERE stream = ? AND id <= ?", gone)
        return stored


# --- Redis or Valkey: several servers may share it

_RETRY_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_CONNECTIONS = 32
_WAIT_SECONDS = 30.0

# Number, store and announce in one step.
_APPEND = """
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SET', KEYS[2], ARGV[1] - 1) end
local id = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], '1-' .. id, 'e', ARGV[3], 'd', ARGV[4])
if ARGV[2] ~= '' then redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', ARGV[2]) end
redis.call('SADD', KEYS[3], ARGV[6])
redis.call('PUBLISH', ARGV[5], id .. ' ' .. ARGV[6])
return id
"""


class RedisStore(_Store):
    """
    A store in Redis or Valkey: one Redis stream for each of ours; all keys begin with *prefix*.

    Server processes that share it deliver each other's events at once: each listens on a channel.  *url* says
    where it is, `redis://HOST:PORT/DB`.
    """

    def __init__(
        self,
        url: str,
        *,
        first_id: int = 1,
        history: int | None = None,
        prefix: str = "resilient_sse",
    ) -> None:
        super().__init__(first_id, history)
        redis = redis_py("RedisStore")
        check("url", url, str, "a string such as redis://HOST:PORT/DB")
        self._failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        # The usual pool fails when all its connections are busy; this one waits.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_WAIT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
        )
        check_options(pool)
        # Its methods are typed for sync and async at once, and say next to nothing.
        self._client: Any = redis.asyncio.Redis.from_pool(pool)
        self._prefix = prefix
        self._channel = f"{prefix}:stored"

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        StoredEvent(stream, 0, event or None, data)  # raises what is wrong with it before it is stored
        history = "" if self._history is None else str(self._history)
        keys = [self._events(stream), f"{self._prefix}:{{{stream}}}:id", f"{self._prefix}:streams"]
        arguments = [str(self.first_id), history, event or "", data, self._channel, stream]
        number = await self._ask(self._client.eval(_APPEND, len(keys), *keys, *arguments))
        return StoredEvent(stream, int(number), event or None, data)

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        start = f"1-{max(id + 1, 0)}"
        rows = await self._ask(self._client.xrange(self._events(stream), min=start, count=limit))
        named = [(_number(row), {text(name): text(value) for name, value in row[1].items()}) for row in rows]
        return [StoredEvent(stream, number, told["e"] or None, told["d"]) for number, told in named]

    async def last(self, stream: str) -> int | None:
        rows = await self._ask(self._client.xrevrange(self._events(stream), count=1))
        return _number(rows[0]) if rows else None

    async def clear(self) -> None:
        known = f"{self._prefix}:streams"
        members = await self._ask(self._client.smembers(known))
        keys = [known]
        for member in members:
            stream = text(member)
            keys += [self._events(stream), f"{self._prefix}:{{{stream}}}:id"]
        await self._ask(self._client.delete(*keys))

    async def listen(self, announce: Announce) -> None:
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._channel)
                    announce(None, 0)
                    async for message in channel.listen():
                        number, _, stream = text(message["data"]).partition(" ")
                        announce(stream, int(number))
            except self._failures:
                await anyio.sleep(_RETRY_SECONDS)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _events(self, stream: str) -> str:
        return f"{self._prefix}:{{{stream}}}:events"

    async def _ask(self, answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - see the client
        try:
            return await answer
        except self._failures as error:
            raise StoreError(f"Redis: {error}") from error


def _number(row: Any) -> int:  # noqa: ANN401 - redis-py does not say
    return int(text(row[0]).partition("-")[2])
