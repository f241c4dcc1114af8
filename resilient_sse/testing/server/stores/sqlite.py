"""Events in a SQLite file: they outlive the process, and need nothing but the standard library."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from resilient_sse.testing.server.stores.protocol import Announce, StoredEvent, StoreError, check_bounds

T = TypeVar("T")

_BUSY_SECONDS = 30.0
_RETRY_SECONDS = 0.01

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    stream TEXT NOT NULL, id INTEGER NOT NULL, event TEXT, data TEXT NOT NULL, PRIMARY KEY (stream, id)
) WITHOUT ROWID
"""


class SQLiteStore:
    """
    A store in a SQLite file, in write-ahead mode, worked on in threads.

    Several processes may store into one file, but a process is not told what others store: readers see those
    events when they resume, or when their own server stores the next one.

    Args:
        path: The file; it is made when there is none.
        first_id: The id of a stream's first event.
        history: How many events of each stream are kept; `None` (the default) keeps all.

    Raises:
        TypeError: A value is of the wrong kind.
        ValueError: A number is out of its range, or *path* names no file.
    """

    def __init__(self, path: str | Path, *, first_id: int = 1, history: int | None = None) -> None:
        check_bounds(first_id, history)
        self._path = os.fspath(path)
        if self._path in ("", ":memory:"):  # which SQLite would forget at each `aclose`
            raise ValueError(
                f"path must name a file, not {self._path!r}; MemoryStore() keeps events in memory"
            )
        self.first_id: int = first_id
        self._history = history
        self._connection: sqlite3.Connection | None = None
        # One connection for all threads: SQLite lets only one write at a time anyway.
        self._lock = threading.Lock()

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        """Store an event under the next id of *stream*."""
        return await self._in_thread(lambda db: self._append(db, stream, event or None, data))

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        """Return the first *limit* events with a larger id, in order."""
        rows = await self._in_thread(
            lambda db: db.execute(
                "SELECT id, event, data FROM events WHERE stream = ? AND id > ? ORDER BY id LIMIT ?",
                (stream, id, limit),
            ).fetchall()
        )
        return [StoredEvent(stream, number, event, data) for number, event, data in rows]

    async def first(self, stream: str) -> int | None:
        """Return the id of the oldest event that is still there, or `None` if there is none."""
        return await self._edge(stream, "SELECT min(id) FROM events WHERE stream = ?")

    async def last(self, stream: str) -> int | None:
        """Return the id of the newest event, or `None` if there is none."""
        return await self._edge(stream, "SELECT max(id) FROM events WHERE stream = ?")

    async def clear(self) -> None:
        """Forget all streams; numbering begins anew."""
        await self._in_thread(lambda db: db.execute("DELETE FROM events"))

    async def listen(self, announce: Announce) -> None:
        """Return at once: SQLite cannot say that another process has written."""

    async def aclose(self) -> None:
        """Close the file; the next use opens it again."""

        def close() -> None:
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None

        await to_thread.run_sync(close)

    async def _edge(self, stream: str, query: str) -> int | None:
        (number,) = await self._in_thread(lambda db: db.execute(query, (stream,)).fetchone())
        return number if isinstance(number, int) else None

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
            _use_wal(db)
            # A power cut may take the last events, never the file; a server that proves a client can live with it.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _append(self, db: sqlite3.Connection, stream: str, event: str | None, data: str) -> StoredEvent:
        with closing(db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                (last,) = cursor.execute("SELECT max(id) FROM events WHERE stream = ?", (stream,)).fetchone()
                stored = StoredEvent(stream, self.first_id if last is None else last + 1, event, data)
                cursor.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (stream, stored.id, event, data))
                if self._history is not None:
                    cursor.execute(
                        "DELETE FROM events WHERE stream = ? AND id <= ?", (stream, stored.id - self._history)
                    )
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
        return stored

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<SQLiteStore at {self._path!r}>"


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite does not wait for others that open the same new file."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
