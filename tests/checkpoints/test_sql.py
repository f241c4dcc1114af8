"""Results and position in one transaction: after whatever happens, both are there or neither (P55)."""

from __future__ import annotations

import io
import pickle
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import aiosqlite
import psycopg
import pytest
import sqlalchemy
import sqlalchemy.orm

from resilient_sse import CheckpointError, ResilientStream, ServerSentEvent
from resilient_sse.checkpoints import Checkpoint, SQLCheckpoint
from resilient_sse.testing import Script, event

URL = "http://test/"


class Shop:
    """A database of the user's own, with results beside the position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SQLCheckpoint(self.connect)
        with closing(self.connect()) as database:
            database.execute(self.store.ddl)
            database.execute("CREATE TABLE results (data TEXT)")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)

    def results(self) -> list[str]:
        with closing(self.connect()) as database:
            return [data for (data,) in database.execute("SELECT data FROM results ORDER BY rowid")]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make the database."""
    return Shop(tmp_path / "shop.db")


def stream(store, script: Script, **options):
    """Open a stream that commits by hand."""
    return ResilientStream(URL, checkpoint=store, ack="manual", client=script.client(), **options)


def numbered(*numbers: int):
    """Make events."""
    return [event(f"order {number}", id=str(number)) for number in numbers]


async def work(shop: Shop, script: Script, fail_at: str | None = None) -> None:
    """Keep each event's data as a result; the handler fails at one of them, behind the insert."""
    async with stream(shop.store, script, until="done") as events:
        async for taken in events:
            with closing(shop.connect()) as database, database:
                if taken.event != "done":
                    database.execute("INSERT INTO results VALUES (?)", (taken.data,))
                shop.store.record(database, taken)
                if taken.id == fail_at:
                    raise RuntimeError("the handler failed")


async def test_results_and_position_are_one_commit(shop):
    """An event whose handler failed has no effect, and comes again; none has two."""
    script = Script()
    script.respond(*numbered(1, 2, 3)).hang()
    with pytest.raises(RuntimeError, match="handler"):
        await work(shop, script, fail_at="2")
    assert shop.results() == ["order 1"]
    script.respond(*numbered(2, 3), event("", id="4", event="done"))
    await work(shop, script)
    assert script.requests[-1].headers["Last-Event-ID"] == "1"
    assert shop.results() == ["order 1", "order 2", "order 3"]
    assert (await shop.store.load(URL)).last_event_id == "4"


async def test_rollbacks(shop):
    """A transaction may hold many records, and be rolled back; the store follows what the database holds (P55)."""
    script = Script()
    script.respond(*numbered(1, 2, 3)).hang()
    async with stream(shop.store, script) as events:
        for count in (2, 1):
            taken = [await anext(events) for _ in range(count)]
            for attempt in range(3):
                with closing(shop.connect()) as database, suppress(ZeroDivisionError), database:
                    for each in taken:
                        database.execute("INSERT INTO results VALUES (?)", (f"{each.data} {attempt}",))
                        shop.store.record(database, each)
                    if attempt < 2:
                        raise ZeroDivisionError
    assert shop.results() == ["order 1 2", "order 2 2", "order 3 2"]
    assert await shop.store.load(URL) == Checkpoint("3", 3)


async def test_what_a_record_leaves_in_memory(shop):
    """A rollback may undo thousands, for each of many streams: eight bytes tell which it was (P55)."""
    await shop.store.load("key")
    with closing(shop.connect()) as database:
        for number in range(300):
            item = ServerSentEvent(event="message", data="", last_event_id=f"{number:030}")
            shop.store.record(database, item, key="key")
    assert len(pickle.dumps(shop.store._known)) < 300 * 20


async def test_a_driver_that_cannot_count_rows(tmp_path):
    """DB-API allows it to say -1; the table itself tells."""

    class Cursor(sqlite3.Cursor):
        rowcount = -1

    class Connection(sqlite3.Connection):
        def cursor(self):
            return super().cursor(Cursor)

    path = tmp_path / "shop.db"
    store = SQLCheckpoint(lambda: sqlite3.connect(path, factory=Connection), paramstyle="qmark")
    with closing(sqlite3.connect(path)) as database:
        database.execute(store.ddl)
    known = None
    for last_event_id in ("1", "2"):
        known = await store.save("a", last_event_id, expected=known)
        assert await store.load("a") == known
    with pytest.raises(CheckpointError, match="another consumer"):
        await store.save("a", "3", expected=None)


async def test_keys_that_the_table_takes_for_the_same(tmp_path):
    """A collation that ignores case, as MySQL's do, gives no stream the position of another."""
    path = tmp_path / "shop.db"
    store = SQLCheckpoint(lambda: sqlite3.connect(path))
    with closing(sqlite3.connect(path)) as database:
        database.execute(store.ddl.replace("consumer TEXT", "consumer TEXT COLLATE NOCASE"))
    saved = await store.save("http://test/Orders", "1", expected=None)
    script = Script()
    script.respond(*numbered(1)).hang()
    with pytest.raises(CheckpointError, match="collation"):
        async with stream(store, script, checkpoint_key="http://test/orders") as events:
            await anext(events)
    with pytest.raises(CheckpointError, match="collation"):
        await store.save("http://test/orders", "2", expected=saved)
    assert await store.load("http://test/Orders") == saved


async def test_another_consumer_moves_the_position(shop):
    """The second to write gets an error, and its results are rolled back with it."""
    script = Script()
    script.respond(*numbered(1, 2)).hang()
    async with stream(shop.store, script) as events:
        first = await anext(events)
        with closing(shop.connect()) as database, database:
            shop.store.record(database, first)
        other = SQLCheckpoint(shop.connect)
        await other.save(URL, "elsewhere", expected=await other.load(URL))
        second = await anext(events)
        with closing(shop.connect()) as database:
            database.execute("INSERT INTO results VALUES ('never')")
            with pytest.raises(CheckpointError, match="another consumer"):
                shop.store.record(database, second)
            database.rollback()
    assert shop.results() == []
    assert (await shop.store.load(URL)).last_event_id == "elsewhere"


async def test_a_commit_whose_answer_was_lost(shop):
    """Who does the transaction again is told that it is done: no event takes effect twice (P55)."""
    script = Script()
    script.respond(*numbered(1, 2)).hang()

    def work(taken):
        with closing(shop.connect()) as database, database:
            database.execute("INSERT INTO results VALUES (?)", (taken.data,))
            shop.store.record(database, taken)

    async with stream(shop.store, script) as events:
        taken = await anext(events)
        work(taken)
        for _ in range(2):
            with pytest.raises(CheckpointError, match="recorded already: roll back"):
                work(taken)
        work(await anext(events))
    assert shop.results() == ["order 1", "order 2"]


async def test_the_position_has_gone_back(shop):
    """No other consumer is blamed for a fail-over to a replica that lagged, or a table that was emptied (P55)."""
    first = await shop.store.save(URL, "1", expected=None)
    second = await shop.store.save(URL, "2", expected=first)
    for statement in (
        "UPDATE resilient_sse_positions SET last_event_id = '1', version = 1",
        "DELETE FROM {}",
    ):
        with closing(shop.connect()) as database, database:
            database.execute(statement.format("resilient_sse_positions"))
        with pytest.raises(CheckpointError, match="gone back in the database"):
            await shop.store.save(URL, "3", expected=second)


async def test_what_was_committed_has_gone_back(shop):
    """Between two transactions, each on a connection of its own, a fail-over is no rollback (P55)."""

    class Connection(sqlite3.Connection):
        """As of most drivers, it can be referred to."""

    def work(number, *, fails=False):
        with closing(sqlite3.connect(shop.path, factory=Connection)) as database, suppress(OSError), database:
            for each in (number, number + 1):
                shop.store.record(database, ServerSentEvent(last_event_id=str(each)))
            if fails:
                raise OSError

    await shop.store.load(URL)
    work(1)
    work(3, fails=True)
    work(5)
    with closing(shop.connect()) as database, database:
        database.execute("UPDATE resilient_sse_positions SET last_event_id = '1', version = 1")
    with pytest.raises(CheckpointError, match="gone back in the database"):
        work(7)
    await shop.store.load(URL)
    work(2)
    assert await shop.store.load(URL) == Checkpoint("3", 3)


async def test_which_stream(shop):
    """With more streams than one, or none that has begun, the key must be given."""
    script = Script()
    script.respond(*numbered(1)).hang()
    async with stream(shop.store, script, checkpoint_key="a") as events:
        taken = await anext(events)
        with closing(shop.connect()) as database:
            with pytest.raises(CheckpointError, match="iterate a stream"):
                SQLCheckpoint(shop.connect).record(database, taken)
            await shop.store.load("b")
            with pytest.raises(CheckpointError, match="'a', 'b'"):
                shop.store.record(database, taken)
            shop.store.record(database, taken, key="a")
            database.commit()
    assert (await shop.store.load("a")).last_event_id == "1"
    assert await shop.store.load("b") is None


async def test_the_table_is_missing(tmp_path):
    """The error names it."""
    store = SQLCheckpoint(lambda: sqlite3.connect(tmp_path / "empty.db"), table="app_positions")
    with pytest.raises(CheckpointError, match=r"app_positions.*ddl.*no such table"):
        await store.load("a")


async def test_a_database_that_is_away():
    """The error tells that, and does not guess at the table."""
    store = SQLCheckpoint(lambda: psycopg.connect("host=127.0.0.1 port=1"))
    with pytest.raises(CheckpointError, match=r"could not be read or written: .*refused") as caught:
        await store.load("a")
    assert "ddl" not in str(caught.value)


@pytest.mark.parametrize("table", ["", "a b", "x; DROP TABLE y", "a.b.c", '"q"'])
def test_a_table_must_have_a_plain_name(table):
    """It goes into statements as it is."""
    with pytest.raises(ValueError, match="table"):
        SQLCheckpoint(lambda: None, table=table)


def test_connect_must_connect():
    """A connection itself is not what is wanted: transactions of the store's own need theirs."""
    with closing(sqlite3.connect(":memory:")) as database:
        for wrong in ("sqlite:///x", database):
            with pytest.raises(TypeError, match="a function or an engine"):
                SQLCheckpoint(wrong)


async def test_styles_of_parameters(tmp_path):
    """The driver's module says which it wants, also below a class of the user's; or the caller says it."""

    class Connection(sqlite3.Connection):
        pass

    shop = Shop(tmp_path / "shop.db")
    own = SQLCheckpoint(lambda: sqlite3.connect(shop.path, factory=Connection))
    styled = [SQLCheckpoint(shop.connect, paramstyle=style) for style in ("qmark", "named")]
    for store in (own, *styled):
        known = await store.save("a", "1", expected=await store.load("a"))
        assert await store.load("a") == known
    with pytest.raises(CheckpointError, match=r"pass paramstyle=.*asyncpg"):
        await SQLCheckpoint(io.BytesIO).load("a")
    with pytest.raises(CheckpointError, match="paramstyle"):
        await SQLCheckpoint(shop.connect, paramstyle="shell").load("a")


@pytest.mark.parametrize("kind", ["dictionaries", "raw_connection"])
async def test_connections_that_are_not_plain(shop, kind):
    """Rows may be dictionaries, and the connection one of a pool of SQLAlchemy's."""

    def connect():
        connection = shop.connect()
        connection.row_factory = lambda cursor, row: dict(
            zip([each[0] for each in cursor.description], row, strict=True)
        )
        return connection

    pool = sqlalchemy.create_engine(f"sqlite:///{shop.path}")
    opened = connect if kind == "dictionaries" else pool.raw_connection
    store = SQLCheckpoint(opened)
    script = Script()
    script.respond(*numbered(1, 2)).hang()
    async with stream(store, script) as events:
        for _ in range(2):
            taken = await anext(events)
            with closing(opened()) as database:
                store.record(database, taken)
                database.commit()
    assert await store.load(URL) == await shop.store.load(URL) == Checkpoint("2", 2)
    pool.dispose()


async def test_a_connection_of_coroutines_needs_arecord(shop, anyio_backend):
    """`record` says what to call instead."""
    if anyio_backend == "trio":
        return  # aiosqlite is for asyncio
    script = Script()
    script.respond(*numbered(1)).hang()
    async with stream(shop.store, script) as events, aiosqlite.connect(shop.path) as database:
        taken = await anext(events)
        with pytest.raises(TypeError, match="arecord"):
            shop.store.record(database, taken)
        await shop.store.arecord(database, taken)
        await database.commit()
    assert await shop.store.load(URL) == Checkpoint("1", 1)


async def test_a_lambda_around_an_async_connect(shop):
    """What it returns cannot be awaited in the thread where it is called; the error says what to write instead."""
    store = SQLCheckpoint(lambda: aiosqlite.connect(shop.path))
    with pytest.raises(CheckpointError, match="`async def`"):
        await store.load(URL)


async def test_a_session_of_sqlalchemy(shop):
    """Objects and position in one commit."""
    engine = sqlalchemy.create_engine(f"sqlite:///{shop.path}")
    store = SQLCheckpoint(engine)
    script = Script()
    script.respond(*numbered(1)).hang()
    async with stream(store, script) as events:
        taken = await anext(events)
        with sqlalchemy.orm.Session(engine) as session, session.begin():
            session.execute(sqlalchemy.text("INSERT INTO results VALUES (:data)"), {"data": taken.data})
            store.record(session, taken)
    assert shop.results() == ["order 1"]
    assert await store.load(URL) == Checkpoint("1", 1)
    engine.dispose()


async def test_postgresql(postgresql):
    """The same in a real PostgreSQL, whose driver marks parameters otherwise."""
    store = SQLCheckpoint(lambda: psycopg.connect(postgresql), table="own_positions")
    with psycopg.connect(postgresql) as database:
        database.execute(store.ddl)
        database.execute("CREATE TABLE IF NOT EXISTS results (data TEXT)")
        database.execute("TRUNCATE results, own_positions")
    script = Script()
    script.respond(*numbered(1, 2)).hang()
    async with stream(store, script) as events:
        for fails in (False, True):
            taken = await anext(events)
            with suppress(ZeroDivisionError), psycopg.connect(postgresql) as database:
                database.execute("INSERT INTO results VALUES (%s)", (taken.data,))
                store.record(database, taken)
                if fails:
                    raise ZeroDivisionError
    with psycopg.connect(postgresql) as database:
        assert database.execute("SELECT data FROM results").fetchall() == [("order 1",)]
    assert await store.load(URL) == Checkpoint("1", 1)
    many = 2**31 - 1  # saves: 25 days of a thousand a second
    with psycopg.connect(postgresql) as database:
        database.execute("UPDATE own_positions SET version = %s", (many,))
    assert (await store.save(URL, "2", expected=Checkpoint("1", many))).version == many + 1


async def test_a_stream_that_saves_by_itself(shop):
    """It is told that `record` wants `ack="manual"`, instead of blaming another consumer."""
    script = Script()
    script.respond(*numbered(1, 2, 3)).hang()
    async with ResilientStream(URL, checkpoint=shop.store, client=script.client()) as events:
        first = await anext(events)
        with closing(shop.connect()) as database, database:
            shop.store.record(database, first)
        with pytest.raises(CheckpointError, match='ack="manual"'):
            await anext(events)
    assert (await shop.store.load(URL)).last_event_id == "1"


@pytest.mark.parametrize("kind", ["sqlite3", "psycopg"])
async def test_a_connection_in_autocommit_is_refused(shop, postgresql, kind):
    """Results and position would be two commits; behind a BEGIN of the caller's own they are one (P55)."""

    def connect():
        if kind == "sqlite3":
            return sqlite3.connect(shop.path, isolation_level=None)
        return psycopg.connect(postgresql, autocommit=True)

    item = ServerSentEvent(event="message", data="", last_event_id="1")
    store = SQLCheckpoint(connect, table="alone")
    with closing(connect()) as database:
        database.execute(store.ddl)
        database.execute("DELETE FROM alone")
        await store.load("key")
        database.execute("BEGIN")
        store.record(database, item)
        database.execute("ROLLBACK")
        with pytest.raises(CheckpointError, match="begin a transaction"):
            store.record(database, item)
    assert await store.load("key") is None


async def test_events_that_are_filtered_before_the_first(shop):
    """The stream saves that it has passed them, and `record` goes on from there (P55)."""
    script = Script()
    script.respond(event("noise", id="1", event="noise"), *numbered(3)).hang()
    async with stream(shop.store, script, events=["message"]) as events:
        taken = await anext(events)
        with closing(shop.connect()) as database, database:
            shop.store.record(database, taken)
    assert await shop.store.load(URL) == Checkpoint("3", 2)
