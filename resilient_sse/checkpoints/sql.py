"""
The position in the caller's own database, and in the caller's own transaction: effects exactly once.

Drivers are sync or async.  All of this is written for async ones; a sync driver gives no coroutine to wait for, so
the same code runs to its end at once (`_at_once`).
"""

from __future__ import annotations

import inspect
import re
import weakref
from array import array
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias, TypeVar, cast

from resilient_sse._client.backends import in_thread, outlive
from resilient_sse._core.errors import CheckpointError, moved
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.ports import Checkpoint

__all__ = ["SQLCheckpoint"]

T = TypeVar("T")
Work: TypeAlias = "Callable[[Any], Coroutine[Any, Any, T]]"
_Known: TypeAlias = "tuple[int, array[int]]"
"""The version of the first of some positions in a row, and the hash of each: 8 bytes; a `Checkpoint` takes 170."""

_PLACE = re.compile(r":(\w+)")

# So many records in one transaction can be rolled back and gone on behind.
_UNDONE = 10_001


class SQLCheckpoint:
    """
    A store in a table of the caller's database: DB-API connections (psycopg, sqlite3, ...) or SQLAlchemy.

    With `ack="manual"` and `record`, results and position are one commit: after a crash at any moment both are
    there or neither, so no event takes effect twice.  With `ack="auto"` it is a store like any other, with a
    transaction of its own for each save.

    The table is the caller's to make; `ddl` is the statement.

    Args:
        connect: Opens a connection for what is read and saved outside of the caller's transactions: a function,
            `def` or `async def`, that returns a connection, or an `Engine` or `AsyncEngine` of SQLAlchemy.
        table: The name of the table, with a schema before it if need be.
        paramstyle: How the driver marks parameters, in DB-API's words (`"numeric"` is not supported); `None` asks
            the driver's module.

    Raises:
        TypeError: *connect* is neither.
        ValueError: *table* is no name.
    """

    def __init__(
        self,
        connect: Callable[[], Any] | Any,  # noqa: ANN401 - nothing of a driver is imported here
        *,
        table: str = "resilient_sse_positions",
        paramstyle: str | None = None,
    ) -> None:
        if not re.fullmatch(r"\w+(\.\w+)?", table):
            raise ValueError(f"table must be a name, or a schema and a name, not {table!r}")
        is_connection = hasattr(connect, "cursor") or (
            hasattr(connect, "execute") and _of_sqlalchemy(connect)
        )
        if is_connection or not (callable(connect) or _of_sqlalchemy(connect)):
            raise TypeError(f"connect must be a function or an engine of SQLAlchemy, not {connect!r}")
        self._connect: Any = connect
        self._table = table
        self._paramstyle = paramstyle
        # What may be in the table: a position that was found there, and those recorded since, which the caller may
        # roll back, one or many at once.
        self._known: dict[str, _Known] = {}
        # By keys whose stream cannot know how far they have come: the last event, what its commit leaves, and the
        # connection.
        self._recorded: dict[str, tuple[ServerSentEvent, Checkpoint, weakref.ref[Any] | None]] = {}

    @property
    def ddl(self) -> str:
        """The statement that makes the table, for a migration."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self._table} (consumer TEXT PRIMARY KEY, "
            "last_event_id TEXT NOT NULL, version BIGINT NOT NULL)"
        )

    def record(self, connection: Any, event: ServerSentEvent, *, key: str | None = None) -> None:  # noqa: ANN401
        """
        Save *event* as processed, within the transaction that *connection* is in.

        Args:
            connection: A connection of a sync DB-API driver, or a `Connection` or `Session` of SQLAlchemy.  Commit
                it together with the results; after a rollback just go on.
            event: The event.
            key: The `checkpoint_key` of the stream; `None` while only streams of one key have used this store.

        Raises:
            CheckpointError: Another consumer has moved the position, no stream has loaded it yet, or *event* is
                the one recorded last: its commit was done, though the answer may have been lost.  Roll back.
                Or the connection is in autocommit, as far as the driver tells (sqlite3, psycopg, mysql-connector).
        """
        _at_once(self.arecord(connection, event, key=key))

    async def arecord(self, connection: Any, event: ServerSentEvent, *, key: str | None = None) -> None:  # noqa: ANN401
        """Do the same on a connection whose methods are coroutines: psycopg's, aiosqlite's, SQLAlchemy's."""
        if key is None and len(self._known) == 1:
            (key,) = self._known
        if key is None or key not in self._known:
            begun = ", ".join(map(repr, self._known))
            wanted = f"pass key=, one of {begun}" if begun else "iterate a stream that uses this store first"
            raise CheckpointError(f"it is not known which position to record: {wanted}", key=key or "")
        if _commits_alone(connection):
            raise CheckpointError(
                "the connection is in autocommit, so results and position are not one commit: begin a transaction",
                key=key,
            )
        saved = await self._save(connection, key, event.last_event_id, self._known[key], event)
        self._recorded[key] = event, saved, _reference(connection)

    async def load(self, key: str) -> Checkpoint | None:
        """
        Return the position saved under *key*, or `None`.

        Raises:
            CheckpointError: The database cannot be read.
        """
        found = await self._transaction(key, lambda connection: self._load(connection, key))
        self._known[key] = _known(found)
        self._recorded.pop(key, None)
        return found

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position over *expected*, in a transaction of its own.

        Raises:
            CheckpointError: Another consumer has saved in between, or the database cannot be written.
        """
        if key in self._recorded:
            raise CheckpointError(
                'record() replaces all other saves: give the stream ack="manual", and do not call its commit()',
                key=key,
            )
        return await self._transaction(
            key, lambda connection: self._save(connection, key, last_event_id, _known(expected))
        )

    def __repr__(self) -> str:
        """Show the table."""
        return f"<SQLCheckpoint {self._table}>"

    async def _load(self, connection: Any, key: str) -> Checkpoint | None:  # noqa: ANN401
        sql = f"SELECT last_event_id, version, consumer FROM {self._table} WHERE consumer = :key"  # noqa: S608 - a checked name
        row = await _maybe((await self._execute(connection, sql, {"key": key})).fetchone())
        if row is None:
            return None
        # Dictionaries are the rows of psycopg's dict_row, for one.
        last_event_id, version, found = row.values() if hasattr(row, "values") else row
        if found not in (key, key.encode()):
            raise CheckpointError(
                f"the table {self._table!r} takes this key and {found!r} for the same:"
                " give the column consumer a binary collation, in MySQL utf8mb4_bin",
                key=key,
            )
        return Checkpoint(last_event_id, version)

    async def _save(
        self,
        connection: Any,  # noqa: ANN401
        key: str,
        last_event_id: str,
        known: _Known,
        event: ServerSentEvent | None = None,
    ) -> Checkpoint:
        present = await self._load(connection, key)
        last, left, before = self._recorded.get(key, (None, None, None))
        if event is not None and event is last and present == left:
            raise CheckpointError(
                "this event is recorded already: roll back, and go on with the next one, for a commit is done"
                " whose answer was lost",
                key=key,
            )
        version = 0 if present is None else int(present.version)
        first, positions = known
        place = version - first
        if place < 0:
            raise CheckpointError(
                "the position has gone back in the database, as by a fail-over: open the stream anew",
                key=key,
            )
        if place >= len(positions) or positions[place] != hash(present):
            raise moved(key)
        values = {"id": last_event_id, "new": version + 1, "key": key}
        if present is None:
            sql = f"INSERT INTO {self._table} (last_event_id, version, consumer) VALUES (:id, :new, :key)"  # noqa: S608
        else:
            sql = (
                f"UPDATE {self._table} SET last_event_id = :id, version = :new "  # noqa: S608
                "WHERE consumer = :key AND version = :old"
            )
            values["old"] = version
        try:
            done = await self._execute(connection, sql, values)
        except Exception as exc:
            if type(exc).__name__ in ("IntegrityError", "UniqueViolation"):  # each driver has its own
                raise moved(key) from exc
            raise
        saved = Checkpoint(last_event_id, version + 1)
        # Some drivers cannot tell how many rows there were, and say -1.
        if done.rowcount != 1 and (done.rowcount >= 0 or await self._load(connection, key) != saved):
            raise moved(key)
        # Which of them it will be depends on the caller's commit.
        positions[place + 1 :] = _known(saved)[1]
        # What another connection finds there is committed, and no rollback goes behind it.
        is_other = before is not None and before() is not connection
        surplus = place if is_other else max(len(positions) - _UNDONE, 0)
        del positions[:surplus]
        self._known[key] = first + surplus, positions
        return saved

    async def _execute(self, connection: Any, sql: str, values: dict[str, Any]) -> Any:  # noqa: ANN401
        connection = getattr(connection, "dbapi_connection", connection)  # of SQLAlchemy's raw_connection()
        if _of_sqlalchemy(connection):
            return await _maybe(connection.execute(import_module("sqlalchemy").text(sql), values))
        style = self._paramstyle or _style_of(connection)
        sql, parameters = _in_style(style, sql, values)
        cursor = await _maybe(connection.cursor())
        await _maybe(cursor.execute(sql, parameters))
        return cursor

    async def _transaction(self, key: str, work: Work[T]) -> T:
        try:
            scope = self._connect.begin() if _of_sqlalchemy(self._connect) else None
            if hasattr(scope, "__aenter__") or inspect.iscoroutinefunction(self._connect):
                return await outlive(lambda: _whole(scope, self._connect, work))
            return await in_thread(lambda: _at_once(_whole(scope, partial(_opened, self._connect), work)))
        except CheckpointError:
            raise
        except Exception as exc:
            words = f"the table {self._table!r} could not be read or written"
            if self._table in str(exc):  # not where the database is away
                words += "; if it is missing, the statement in SQLCheckpoint.ddl makes it"
            raise CheckpointError(f"{words}: {exc}", key=key) from exc


def _reference(connection: Any) -> weakref.ref[Any] | None:  # noqa: ANN401
    with suppress(TypeError):  # those of sqlite3 cannot be referred to, but fail over to nothing
        return weakref.ref(connection)
    return None


def _commits_alone(connection: Any) -> bool:  # noqa: ANN401
    """Tell whether sqlite3, psycopg or mysql-connector would commit each statement by itself."""
    status = getattr(getattr(connection, "info", None), "transaction_status", None)
    idle = getattr(connection, "in_transaction", None) is False  # sqlite3; of SQLAlchemy it is a method
    by_hand = idle and getattr(connection, "isolation_level", "") is None
    return by_hand or ((idle or status == 0) and getattr(connection, "autocommit", None) is True)


def _known(position: Checkpoint | None) -> _Known:
    return 0 if position is None else position.version, array("q", [hash(position)])


async def _whole(scope: Any, connect: Callable[[], Any], work: Work[T]) -> T:  # noqa: ANN401
    """Do *work* in a transaction of its own, on a connection of its own."""
    if hasattr(scope, "__aenter__"):
        async with scope as connection:
            return await work(connection)
    if scope is not None:
        with scope as connection:
            return await work(connection)
    connection = await _maybe(connect())
    try:
        result = await work(connection)
        await _maybe(connection.commit())
    except BaseException:
        # To close is not enough: an error keeps cursors alive, and those keep locks.
        with suppress(Exception):
            await _maybe(connection.rollback())
        raise
    else:
        return result
    finally:
        await _maybe(connection.close())


def _opened(connect: Callable[[], Any]) -> Any:  # noqa: ANN401 - a driver's
    """Open a connection in a thread, which has no event loop."""
    connection = connect()
    if inspect.isawaitable(connection):
        if inspect.iscoroutine(connection):
            connection.close()
        raise TypeError("connect returned an awaitable: make it an `async def`")
    return connection


async def _maybe(result: Any) -> Any:  # noqa: ANN401 - a driver's
    return await result if inspect.isawaitable(result) else result


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as exc:
        return cast("T", exc.value)
    with suppress(RuntimeError):  # a driver that waits on its way out, too
        work.close()
    raise TypeError("the connection's methods are coroutines: use arecord(), or an async connect function")


def _of_sqlalchemy(thing: object) -> bool:
    return any(base.__module__.startswith("sqlalchemy.") for base in type(thing).__mro__)


def _style_of(connection: object) -> str:
    """Ask the driver's module, or that of the driver's class which the connection's is made of."""
    for base in type(connection).__mro__:
        style = getattr(import_module(base.__module__.partition(".")[0]), "paramstyle", None)
        if style is not None:
            return str(style)
    raise ValueError(
        f"the driver of {type(connection).__name__!r} does not tell its paramstyle: pass paramstyle=,"
        " or an AsyncEngine of SQLAlchemy if it is no DB-API driver, like asyncpg"
    )


def _in_style(style: str, sql: str, values: dict[str, Any]) -> tuple[str, Any]:
    """Rewrite the parameters, written `:name`, in a style of DB-API's."""
    if style == "named":
        return sql, values
    if style == "pyformat":
        return _PLACE.sub(r"%(\1)s", sql), values
    if style not in ("qmark", "format"):
        raise ValueError(f"paramstyle must be named, pyformat, qmark or format, not {style!r}")
    return _PLACE.sub("?" if style == "qmark" else "%s", sql), tuple(
        values[name] for name in _PLACE.findall(sql)
    )
