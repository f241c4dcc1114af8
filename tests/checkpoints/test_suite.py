"""The suite that judges stores: ours pass it, and stores with a fault each do not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from unicodedata import normalize

import aiosqlite
import anyio
import anyio.lowlevel
import psycopg
import pytest
import redis.asyncio
import sqlalchemy
import sqlalchemy.ext.asyncio

from resilient_sse import CheckpointError
from resilient_sse.checkpoints import (
    Checkpoint,
    MemoryCheckpoint,
    RedisCheckpoint,
    SQLCheckpoint,
    SQLiteCheckpoint,
)
from resilient_sse.testing.checkpoint_suite import CheckpointSuite


class TestMemory(CheckpointSuite):
    """Positions for the life of a process (P20)."""

    backends = ("asyncio", "trio")
    survives = False

    @pytest.fixture
    def open_store(self):
        store = MemoryCheckpoint()
        return lambda: store

    def test_of_two_threads_one_wins(self):
        """Each version is saved once, whichever event loops the consumers of one key run in (P20, P33)."""
        store, won = MemoryCheckpoint(), list[int]()

        async def contend(name: str):
            known = None
            for number in range(3000):
                try:
                    known = await store.save("key", f"{name}{number}", expected=known)
                    won.append(known.version)
                except CheckpointError:
                    known = await store.load("key")

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor() as threads:
                list(threads.map(lambda name: asyncio.run(contend(name)), "abcd"))
        finally:
            sys.setswitchinterval(before)
        assert sorted(won) == list(range(1, len(won) + 1))


class TestSQLite(CheckpointSuite):
    """Positions in a file (R152, P20, P55)."""

    backends = ("asyncio", "trio")

    @pytest.fixture
    def open_store(self, tmp_path: Path):
        return partial(SQLiteCheckpoint, tmp_path / "positions.db")


class TestRedis(CheckpointSuite):
    """Positions in a real Valkey, by a URL: in a thread, on both loops (R152, P20, P55)."""

    backends = ("asyncio", "trio")
    heals = True

    @pytest.fixture
    def open_store(self, server: str, request: pytest.FixtureRequest):
        return partial(RedisCheckpoint, server, prefix=f"{request.node.nodeid}:")


class TestRedisAsyncio(CheckpointSuite):
    """The same by a client of redis-py's asyncio kind, which the caller closes."""

    heals = True
    test_of_two_processes_one_wins = None  # TestRedis races

    @pytest.fixture
    def open_store(self, server: str, request: pytest.FixtureRequest):
        class Store(RedisCheckpoint):
            async def aclose(self):
                await super().aclose()
                await self._server.client.aclose()

        return lambda: Store(redis.asyncio.Redis.from_url(server), prefix=f"{request.node.nodeid}:")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make a file of SQLite with the table."""
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(SQLCheckpoint(lambda: None).ddl)
    return path


class TestSQL(CheckpointSuite):
    """Positions in the caller's database, by a sync driver of DB-API or an engine of SQLAlchemy (P55)."""

    backends = ("asyncio", "trio")
    test_of_two_processes_one_wins = (
        None  # these cannot be pickled, to be sent to another; TestPostgreSQL races
    )

    @pytest.fixture(params=["driver", "engine"])
    def open_store(self, request: pytest.FixtureRequest, database: Path):
        engine = sqlalchemy.create_engine(f"sqlite:///{database}")
        connect = engine if request.param == "engine" else partial(sqlite3.connect, database)
        yield lambda: SQLCheckpoint(connect)
        engine.dispose()


class TestSQLByCoroutines(CheckpointSuite):
    """The same by a driver, or an engine, whose methods are coroutines."""

    test_of_two_processes_one_wins = None

    @pytest.fixture(params=["driver", "engine"])
    def open_store(self, request: pytest.FixtureRequest, database: Path):
        class OfAnEngine(SQLCheckpoint):
            async def aclose(self):
                await self._connect.dispose()

        async def connect():
            return await aiosqlite.connect(database)

        if request.param == "driver":
            return lambda: SQLCheckpoint(connect)
        url = f"sqlite+aiosqlite:///{database}"
        return lambda: OfAnEngine(sqlalchemy.ext.asyncio.create_async_engine(url))


class TestPostgreSQL(CheckpointSuite):
    """The same in a real PostgreSQL."""

    backends = ("asyncio", "trio")

    @pytest.fixture
    def open_store(self, postgresql: str):
        store = SQLCheckpoint(lambda: psycopg.connect(postgresql))
        with psycopg.connect(postgresql) as database:
            database.execute(store.ddl)
            database.execute("TRUNCATE resilient_sse_positions")
        return partial(SQLCheckpoint, partial(psycopg.connect, postgresql))


class Overwrites(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        return await super().save(key, last_event_id, expected=self._positions.get(key))


class ComparesVersionsOnly(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        present = self._positions.get(key)
        if present is not None and expected is not None and present.version == expected.version:
            expected = present
        return await super().save(key, last_event_id, expected=expected)


class ForgetsTheVersion(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        saved = await super().save(key, last_event_id, expected=expected)
        self._positions[key] = dataclasses.replace(saved, version=1)
        return self._positions[key]


class ReturnsAnother(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        saved = await super().save(key, last_event_id, expected=expected)
        return dataclasses.replace(saved, version=saved.version + 1)


class DropsTheEmptyId(MemoryCheckpoint):
    async def load(self, key):
        found = await super().load(key)
        return found if found is None or found.last_event_id else None


class FoldsKeys(MemoryCheckpoint):
    fold = staticmethod(lambda key: key[:255])

    async def load(self, key):
        return await super().load(self.fold(key))

    async def save(self, key, last_event_id, *, expected):
        return await super().save(self.fold(key), last_event_id, expected=expected)


class FoldsCase(FoldsKeys):
    fold = staticmethod(str.lower)


class FoldsSpaces(FoldsKeys):
    fold = staticmethod(str.rstrip)


class FoldsAccents(FoldsKeys):
    fold = staticmethod(partial(normalize, "NFC"))


class StripsIds(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        return await super().save(key, last_event_id.strip(), expected=expected)


class RaisesAnything(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        try:
            return await super().save(key, last_event_id, expected=expected)
        except CheckpointError as exc:
            raise RuntimeError("conflict") from exc


class LooksThenWrites(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        if self._positions.get(key) != expected:
            raise CheckpointError("conflict", key=key)
        await anyio.lowlevel.checkpoint()
        saved = Checkpoint(last_event_id, 1 if expected is None else expected.version + 1)
        self._positions[key] = saved
        return saved


class WritesInHalves(MemoryCheckpoint):
    async def save(self, key, last_event_id, *, expected):
        present = self._positions.get(key)
        if present != expected:
            raise CheckpointError("conflict", key=key)
        version = 1 if expected is None else expected.version + 1
        self._positions[key] = Checkpoint("half", version)
        await anyio.sleep(0.001)
        self._positions[key] = Checkpoint(last_event_id, version)
        return self._positions[key]


class InAFileWithoutALock:
    """Right for all tasks and threads of one process, and wrong for two."""

    def __init__(self, path: Path):
        self._path = path

    async def load(self, key):
        positions = json.loads(self._path.read_text()) if self._path.exists() else {}
        return Checkpoint(*positions[key]) if key in positions else None

    async def save(self, key, last_event_id, *, expected):
        positions = json.loads(self._path.read_text()) if self._path.exists() else {}
        if (Checkpoint(*positions[key]) if key in positions else None) != expected:
            raise CheckpointError("conflict", key=key)
        positions[key] = (last_event_id, 1 if expected is None else expected.version + 1)
        written = self._path.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(positions))
        written.replace(self._path)
        return Checkpoint(*positions[key])


def test_a_race_of_two_processes_is_found(tmp_path: Path):
    """A store that compares and then writes is right within a process, and found with two (P55)."""
    store, suite = partial(InAFileWithoutALock, tmp_path / "positions.json"), CheckpointSuite()
    suite.test_of_saves_at_once_one_wins(store)
    with pytest.raises(AssertionError, match="two saves were accepted over one position"):
        suite.test_of_two_processes_one_wins(store)


def test_what_cannot_be_raced_is_skipped_loudly():
    """A function that cannot be sent to another process is told of, and how to give one that can."""
    with pytest.raises(pytest.skip.Exception, match=r"NOT TESTED WITH TWO PROCESSES.*functools\.partial"):
        CheckpointSuite().test_of_two_processes_one_wins(lambda: None)


def failed(store_type, *, survives=False) -> list[str]:
    """Name the tests of the suite that a store fails."""
    suite = CheckpointSuite()
    suite.survives = survives
    names = []
    for name in [name for name in dir(suite) if name.startswith("test_") and "processes" not in name]:
        one = store_type()
        try:
            getattr(suite, name)(store_type if survives else lambda one=one: one)
        except (AssertionError, CheckpointError, ExceptionGroup, RuntimeError, pytest.fail.Exception):
            names.append(name)
    return names


@pytest.mark.parametrize(
    "faulty",
    [
        Overwrites,
        ComparesVersionsOnly,
        ForgetsTheVersion,
        ReturnsAnother,
        DropsTheEmptyId,
        FoldsKeys,
        FoldsCase,
        FoldsSpaces,
        FoldsAccents,
        StripsIds,
        RaisesAnything,
        LooksThenWrites,
        WritesInHalves,
    ],
)
def test_a_faulty_store_is_found(faulty):
    """At least one test of the suite fails for each fault (P55)."""
    assert failed(faulty) != []


def test_positions_that_do_not_outlive_the_store_are_found():
    """A store that keeps nothing fails the suite, unless it says so."""
    assert "test_positions_outlive_the_store" in failed(MemoryCheckpoint, survives=True)
