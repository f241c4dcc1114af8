"""Cancellation at every wait of a stream that saves: nothing is lost or saved twice, and nothing stays open."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import aiosqlite
import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import redis.asyncio
import sqlalchemy.ext.asyncio

from resilient_sse import ResilientStream
from resilient_sse._client.backends import in_thread
from resilient_sse.checkpoints import Checkpoint, RedisCheckpoint, SQLCheckpoint, SQLiteCheckpoint, sqlite
from resilient_sse.testing import Reply, Script, event
from tests.client.support import stepped
from tests.relay.copying import eventually

EVENTS = 3
NEVER = 10**9
KINDS = ("sqlite", "redis", "redis.asyncio", "sql", "aiosqlite", "sqlalchemy")


@dataclass
class Place:
    """A store, and what shows that nothing was left there."""

    store: Any
    left: Callable[[], object] = lambda: None
    """What is still in use; nothing should be."""


def of_sqlite(path: str) -> Callable[[], None]:
    """Return what fails if a lock is kept."""

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")

    return write


@asynccontextmanager
async def opened(kind: str, path: str, server: str) -> AsyncIterator[Place]:
    """Open a store of some kind."""
    write = of_sqlite(path)
    if kind in ("sql", "aiosqlite", "sqlalchemy"):
        with closing(sqlite3.connect(path)) as database:
            database.execute(SQLCheckpoint(lambda: None).ddl)
    if kind == "sqlite":
        with closing(SQLiteCheckpoint(path)) as store:
            yield Place(store, write)
    elif kind == "redis":
        store = RedisCheckpoint(server)
        yield Place(store)
        await store.aclose()
    elif kind == "redis.asyncio":
        client = redis.asyncio.Redis.from_url(server)
        yield Place(RedisCheckpoint(client), lambda: client.connection_pool._in_use_connections)
        await client.aclose()
    elif kind == "sql":
        yield Place(SQLCheckpoint(lambda: sqlite3.connect(path)), write)
    elif kind == "aiosqlite":

        async def connect() -> Any:
            return await aiosqlite.connect(path)

        yield Place(SQLCheckpoint(connect), write)
    else:
        engine = sqlalchemy.ext.asyncio.create_async_engine(f"sqlite+aiosqlite:///{path}")
        yield Place(SQLCheckpoint(engine), lambda: write() or engine.pool.checkedout())
        await engine.dispose()


def replayed(request: Any) -> Reply:
    """Send what lies behind the given event."""
    numbers = range(int(request.last_event_id or 0) + 1, EVENTS + 1)
    return Reply(*(event(str(n), id=str(n)) for n in numbers)).hang()


async def cut_at(step: int, cut: str, place: Place, key: str) -> tuple[int, list[str]]:
    """Read a stream that saves each event, cancelled once; return the number of steps and what went wrong."""
    script = Script()
    script.always(replayed)
    steps = 0
    got: list[str] = []

    def count(cancel: Callable[[], object]) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            cancel()

    options = {
        "checkpoint": place.store,
        "checkpoint_key": key,
        "until": lambda taken: taken.id == str(EVENTS),
    }
    async with ResilientStream("http://test/", client=script.client(), **options) as stream:
        while True:
            with anyio.CancelScope() as scope:
                task: Any = asyncio.current_task() if cut == "task" else None
                stop = partial(count, scope.cancel if task is None else task.cancel)
                try:
                    got.append((await stepped(stream.__anext__(), stop)).data)
                except StopAsyncIteration:
                    break
                except asyncio.CancelledError:
                    if task is None:
                        raise
                    task.uncancel()
    stored = await place.store.load(key)
    left = place.left()
    wrong = [
        f"step {step}: {what}"
        for held, what in (
            (got == ["1", "2", "3"], f"delivered {got}"),
            (stored == Checkpoint("3", 3), f"position {stored}"),
            (not left, f"in use: {left}"),
        )
        if not held
    ]
    return steps, wrong


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["sql", "aiosqlite"])
async def test_a_save_that_has_begun_ends(tmp_path, kind):
    """`Task.cancel` reaches neither a thread nor a driver in its midst: what was begun is saved (3.5, P15)."""
    begun, path = anyio.Event(), str(tmp_path / "positions.db")
    async with opened(kind, path, "") as place:
        connect = place.store._connect

        def connect_late() -> Any:
            anyio.from_thread.run_sync(begun.set)
            time.sleep(2.2)  # longer than a driver that may be frozen is waited for
            return connect()

        async def connect_late_by_coroutine() -> Any:
            begun.set()
            await anyio.sleep(0.05)
            return await connect()

        store = SQLCheckpoint(connect_late if kind == "sql" else connect_late_by_coroutine)
        saving = asyncio.create_task(store.save("key", "1", expected=None))
        await begun.wait()
        saving.cancel()
        await anyio.sleep(0.01)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert await place.store.load("key") == Checkpoint("1", 1)


async def test_what_waits_for_a_thread_is_cancelled_at_once(monkeypatch):
    """Hundreds of saves into a server that is frozen end with those that are under way (3.5, P15)."""
    threads = anyio.to_thread.current_default_thread_limiter()
    monkeypatch.setattr(threads, "total_tokens", 1)
    go = threading.Event()
    begun = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, lambda: anyio.from_thread.run_sync(begun.set) or go.wait(20))
        await begun.wait()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(in_thread, go.set)
            await eventually(lambda: threads.statistics().tasks_waiting, "it waits")
            waiting.cancel_scope.cancel()
        assert not go.is_set()
        go.set()


@pytest.mark.parametrize("call", [sqlite.WorkerThread().call, in_thread], ids=["sqlite", "others"])
def test_the_end_of_a_program_waits_for_a_save(call):
    """`asyncio.run` cancels all tasks at its end, ours included; the thread ends first (P21)."""
    go, waited, tasks = threading.Event(), [], []

    async def release() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            waited.append(not tasks[0].done())
            go.set()

    async def main() -> None:
        tasks.extend(map(asyncio.create_task, (call(lambda: go.wait(20)), release())))
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert waited == [True]
    assert tasks[0].cancelled()


@pytest.mark.parametrize(
    "anyio_backend, cut, kind",
    [
        *(("asyncio", "task", kind) for kind in ("sqlite", "redis", "redis.asyncio", "sqlalchemy")),
        *(
            pytest.param("asyncio", cut, kind, marks=pytest.mark.proof)
            for cut, kind in [*product(["scope"], KINDS), ("task", "sql"), ("task", "aiosqlite")]
        ),
        *(
            pytest.param("trio", "scope", kind, marks=pytest.mark.proof)
            for kind in ("sqlite", "redis", "sql")
        ),
    ],
)
async def test_cancelled_at_every_wait(server, tmp_path, monkeypatch, *, kind, cut):
    """Going on delivers each event once, saves each once, and keeps neither lock nor connection (P21)."""
    monkeypatch.setattr(sqlite, "_AT_ONCE_SECONDS", 0.0)  # so that each save is a wait
    async with opened(kind, str(tmp_path / "positions.db"), server) as place:
        total, wrong = await cut_at(NEVER, cut, place, f"{tmp_path}")
        assert not wrong
        assert total > EVENTS
        for step in range(1, total + 1):
            _, found = await cut_at(step, cut, place, f"{tmp_path} {step}")
            wrong += found
    assert not wrong
