"""Positions in a file of SQLite: they outlive the process, with nothing to install and no server to run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast
from weakref import WeakSet

from resilient_sse._client.backends import in_thread, on_asyncio, to_its_end
from resilient_sse._core.errors import CheckpointError, moved
from resilient_sse._core.ports import Checkpoint

__all__ = ["SQLiteCheckpoint"]

T = TypeVar("T")

_INHERITED: list[sqlite3.Connection] = []

_WAIT_SECONDS = 5.0
# An event loop can be held for so long without harm: a turn of a stream's events may take five times as much.
_AT_ONCE_SECONDS = 0.001

_CREATE = """
    CREATE TABLE IF NOT EXISTS resilient_sse_positions (
        key TEXT PRIMARY KEY, last_event_id TEXT NOT NULL, version INTEGER NOT NULL
    ) WITHOUT ROWID
"""
_LOAD = "SELECT last_event_id, version FROM resilient_sse_positions WHERE key = ?"
_INSERT = """
    INSERT INTO resilient_sse_positions (last_event_id, key, version) VALUES (?, ?, 1) ON CONFLICT DO NOTHING
"""
_UPDATE = """
    UPDATE resilient_sse_positions SET last_event_id = ?, version = version + 1
    WHERE key = ? AND version = ? AND last_event_id = ?
"""

_ADVICE = {
    "SQLITE_BUSY": f"another program has kept it locked for {_WAIT_SECONDS:g} s; keep transactions on it short",
    "SQLITE_CANTOPEN": "it cannot be opened; its directory must exist, and be writable",
    "SQLITE_CORRUPT": "it is damaged; move it away to begin anew, or put a copy back",
    "SQLITE_ERROR": "it has a table of that name that is another program's; choose another path",
    "SQLITE_FULL": "the disk is full; nothing was saved, and the next save tries again",
    "SQLITE_IOERR": "the disk fails, or a quota is spent; nothing was saved, and the next save tries again",
    "SQLITE_NOTADB": "it is no SQLite database; choose another path",
    "SQLITE_PERM": "it may not be read and written; mend its permissions",
    "SQLITE_READONLY": "it may not be written, nor its directory; mend the permissions",
}
"""What a user can do, by SQLite's primary result code."""


class WorkerThread:
    """
    A thread of its own for short functions, one after the other; it ends with this object.

    On asyncio who calls waits for a millisecond in the event loop, for waking it costs more than most functions
    take: 15 us a call, and one through `in_thread` 65; behind a function that took longer nobody does.  On trio
    they are the same.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] | None = None
        self._late = 0  # calls that take longer, behind which others need not hope
        self._slow = False  # so did the function of the last one

    async def call(self, function: Callable[[], T]) -> T:
        """Call *function* in the thread, and wait for its end, although the caller may be cancelled."""
        if not on_asyncio():
            return await in_thread(function)
        job = _Job(function)
        self._started().put(job)
        if not job.ended.acquire(timeout=0.0 if self._late or self._slow else _AT_ONCE_SECONDS):
            self._late += 1
            try:
                await to_its_end(job.wait)
            finally:
                self._late -= 1
        self._slow = job.took > _AT_ONCE_SECONDS
        return cast("T", job.outcome())

    def _started(self) -> SimpleQueue[_Job | None]:
        with self._starting:
            if self._jobs is None:
                jobs: SimpleQueue[_Job | None] = SimpleQueue()
                threading.Thread(target=_work, args=(jobs,), name="resilient_sse", daemon=True).start()
                self._jobs = jobs
            return self._jobs

    def __del__(self) -> None:
        """End the thread."""
        if self._jobs is not None:
            self._jobs.put(None)


class _Job:
    """A function that a thread is to call."""

    __slots__ = ("_error", "_function", "_result", "_waiter", "ended", "took")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._waiter: asyncio.Future[None] | None = None
        self.ended = threading.Lock()
        self.ended.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self.took = 0.0

    def run(self) -> None:
        """Call it."""
        began = time.perf_counter()
        try:
            self._result = self._function()
        except BaseException as exc:  # noqa: BLE001 - it is raised where the call is awaited
            self._error = exc
        self.took = time.perf_counter() - began
        self.ended.release()
        if self._waiter is not None:
            with contextlib.suppress(RuntimeError):  # the event loop was stopped, and closed, meanwhile
                self._waiter.get_loop().call_soon_threadsafe(self._waiter.set_result, None)

    async def wait(self) -> None:
        """Wait for its end."""
        self._waiter = asyncio.get_running_loop().create_future()
        if not self.ended.acquire(blocking=False):  # else it has ended, and may not know of the waiter
            await self._waiter

    def outcome(self) -> Any:  # noqa: ANN401 - what the function returned
        """Return or raise what it did."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # it refers to this frame
        return self._result


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job


class SQLiteCheckpoint:
    """
    A store in a file, for many streams and many processes of one machine.

    A position survives the end of the process, however it ends.  When the machine loses power the last saves may
    be taken back (the log is written ahead but not flushed at each save): those events come again, and none is
    lost.  The work is done in a thread: whatever the disk and other programs do, the event loop waits for a
    millisecond at most.  The file must lie on a local disk: the locks of SQLite do not hold on network file
    systems.

    Args:
        path: The file, made at the first use if it does not exist; its directory must exist.

    Raises:
        TypeError: *path* is no path.
        ValueError: It names no file: `""` and `":memory:"`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        if not isinstance(self._path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"path must be a string or a path, not {path!r}")
        if self._path in ("", ":memory:"):
            raise ValueError("path must name a file; for positions in memory there is MemoryCheckpoint()")
        self._path = os.path.abspath(self._path)  # noqa: PTH100 - a program may change its directory later
        self._database: sqlite3.Connection | None = None
        self._patience = 0.0  # what SQLite is told to wait for a lock
        self._begin()
        _stores.add(self)

    async def load(self, key: str) -> Checkpoint | None:
        """
        Return the position saved under *key*, or `None`.

        Raises:
            CheckpointError: The file cannot be read.
        """

        def load(database: sqlite3.Connection) -> Checkpoint | None:
            row = database.execute(_LOAD, (key,)).fetchone()
            return None if row is None else Checkpoint(*row)

        return await self._call(key, load)

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position over *expected*.

        Raises:
            CheckpointError: Another consumer has saved in between, or the file cannot be written; then nothing has
                changed in it.
        """

        def save(database: sqlite3.Connection) -> Checkpoint:
            if expected is None:
                done = database.execute(_INSERT, (last_event_id, key))
            else:
                known = (last_event_id, key, expected.version, expected.last_event_id)
                done = database.execute(_UPDATE, known)
            if not done.rowcount:
                raise moved(key)
            return Checkpoint(last_event_id, 1 if expected is None else expected.version + 1)

        return await self._call(key, save)

    def close(self) -> None:
        """Close the file; it may be used again, which opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_lock"):
            self.close()

    def __repr__(self) -> str:
        """Show where the positions lie."""
        return f"<SQLiteCheckpoint {self._path!r}>"

    def _begin(self) -> None:
        """Begin, be it anew behind a fork: a child has no such thread, and what it held stays locked."""
        if self._database is not None:
            _INHERITED.append(self._database)  # which must neither be used there nor closed
        self._thread = WorkerThread()
        self._lock = threading.Lock()
        self._database = None

    async def _call(self, key: str, work: Callable[[sqlite3.Connection], T]) -> T:
        until = time.monotonic() + _WAIT_SECONDS  # behind others that wait for the same lock, too
        return await self._thread.call(lambda: self._run(key, work, until))

    def _run(self, key: str, work: Callable[[sqlite3.Connection], T], until: float) -> T:
        with self._lock:
            try:
                database = self._opened(key, until)
                left = round(max(until - time.monotonic(), 0.0), 1)
                if left != self._patience:
                    database.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")
                    self._patience = left
                return work(database)
            except sqlite3.Error as exc:
                name = getattr(exc, "sqlite_errorname", "")
                advice = next((text for code, text in _ADVICE.items() if name.startswith(code)), str(exc))
                raise CheckpointError(f"the positions in {self._path!r}: {advice} ({exc})", key=key) from exc

    def _opened(self, key: str, until: float) -> sqlite3.Connection:
        if self._database is not None:
            if self._is_in_place():
                return self._database
            self._database.close()
            self._database = None
            advice = (
                "it was removed or replaced while it was in use; nothing was saved, so make the stream anew"
            )
            raise CheckpointError(f"the positions in {self._path!r}: {advice}", key=key)
        database = sqlite3.connect(
            self._path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            # Of a new file only: each save writes a page.
            database.execute("PRAGMA page_size = 1024")
            ahead = database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            while not ahead:
                try:
                    database.execute("PRAGMA journal_mode = WAL")
                    ahead = True
                except sqlite3.OperationalError as exc:
                    # At once, where several programs begin with a new file.
                    if exc.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                        raise
                    time.sleep(0.01)
            # A commit is in the log, which the kernel has: only a loss of power can take it back.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_CREATE)
        except sqlite3.Error:
            database.close()
            raise
        self._file = os.stat(self._path)  # noqa: PTH116 - a Path costs more than this
        self._database, self._patience = database, _WAIT_SECONDS
        return database

    def _is_in_place(self) -> bool:
        """Tell whether saves go to the file that the next start will find; SQLite does not, with a log ahead."""
        try:
            return os.path.samestat(self._file, os.stat(self._path))  # noqa: PTH116 - see above
        except FileNotFoundError:
            return False
        except OSError:  # it may not be looked at any more, and is open
            return True


# --- Around a fork

_stores: WeakSet[SQLiteCheckpoint] = WeakSet()
_kept: list[SQLiteCheckpoint] = []


def _before() -> None:
    """Keep other threads out of SQLite, whose locks the child would inherit; those that wait there hold none."""
    _kept.extend(store for store in [*_stores] if store._lock.acquire(timeout=0.1))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _in_parent() -> None:
    while _kept:
        _kept.pop()._lock.release()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _in_child() -> None:
    for store in [*_stores]:
        store._begin()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    _kept.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
