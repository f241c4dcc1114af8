"""One suite for every store: in memory, SQLite, and a real Valkey (R192)."""

import multiprocessing
import sqlite3
import threading

import anyio
import pytest

from resilient_sse.testing.server import MemoryStore, RedisStore, SQLiteStore, StoredEvent, StoreError
from tests.e2e.watching import eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def anyio_backend():
    """Stores live in the server's loop, which is asyncio's; redis-py knows no other."""
    return "asyncio"


@pytest.fixture
async def store(make_store):
    """Give an empty store."""
    store = make_store()
    yield store
    await store.aclose()


async def test_what_is_stored_comes_back(store):
    """R192, R226: id, type and data come back as they were, whatever is in them."""
    texts = ["a", "", "two\nlines", "crlf\r\nhere", "€uro 😀 \x00", " ", '{"n": 1}', "'; DROP TABLE events"]
    stored = [
        await store.append("u", "typ e" if number % 2 else None, text) for number, text in enumerate(texts)
    ]
    assert [event.id for event in stored] == list(range(1, len(texts) + 1))
    assert await store.after("u", 0, 100) == stored
    assert [event.data for event in stored] == texts
    assert [event.event for event in stored[:2]] == [None, "typ e"]
    assert [event.wire for event in await store.after("u", 0, 2)] == [
        b"id: 1\ndata: a\n\n",
        b"event: typ e\nid: 2\ndata: \n\n",
    ]


async def test_replay_from_every_position(store):
    """R38, R179, R142: for each k of 0..N exactly k+1..N come back, in order, in pages; where it ends is known."""
    assert (await store.last("u"), await store.after("u", 0, 10)) == (None, [])
    for number in range(1, 13):
        await store.append("u", None, str(number))
    assert await store.last("u") == 12
    for k in range(-1, 14):
        for limit in (100, 3):
            ids = [event.id for event in await store.after("u", k, limit)]
            assert ids == list(range(max(k, 0) + 1, 13))[:limit]


async def test_a_thousand_publishers(make_store):
    """R140, R192: 1,000 publish at once, where a store is shared over two, and the ids are 1..1000, each once."""
    one = make_store()
    other = one if isinstance(one, MemoryStore) else make_store()
    ids = []

    async def publish(number):
        ids.append((await (one, other)[number % 2].append("u", None, str(number))).id)

    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(publish, number)
    assert sorted(ids) == list(range(1, 1001))
    events = await one.after("u", 0, 2000)
    assert events == await other.after("u", 0, 2000)
    assert [event.id for event in events] == list(range(1, 1001))
    assert sorted(int(event.data) for event in events) == list(range(1000))
    await one.aclose()
    await other.aclose()


async def test_streams_are_apart(store):
    """R140: each user has a numbering of its own, whatever the name."""
    names = ["a", "b", "{a}", "a}b{", "ü:1", "a:id", "x" * 256, "streams"]
    for turn in (1, 2):
        for name in names:
            assert (await store.append(name, None, f"{name}{turn}")).id == turn
    for name in names:
        assert [event.data for event in await store.after(name, 0, 9)] == [f"{name}1", f"{name}2"]


async def test_history_is_bounded(make_store):
    """R142, R140: only the newest are kept, and the numbers, which begin where they are told to, go on."""
    store = make_store(history=4, first_id=0)
    for _ in range(10):
        await store.append("u", None, "x")
    assert await store.last("u") == 9
    assert [event.id for event in await store.after("u", -1, 100)] == [6, 7, 8, 9]
    await store.aclose()


async def test_closed_or_cleared(store):
    """R40: a server that restarts uses its store again; one that was emptied begins anew."""
    for name in ("u", "v"):
        await store.append(name, None, "a")
    await store.aclose()
    await store.aclose()
    assert [event.data for event in await store.after("u", 0, 9)] == ["a"]
    await store.clear()
    assert await store.after("u", 0, 10) == []
    assert [(await store.append(name, None, "y")).id for name in ("u", "v")] == [1, 1]


async def test_a_bad_event_leaves_no_hole(store):
    """R140: an event that cannot be written is refused before it takes a number."""
    await store.append("u", None, "a")
    with pytest.raises(ValueError, match="single line"):
        await store.append("u", "two\nlines", "b")
    assert (await store.append("u", None, "c")).id == 2


@pytest.mark.proof
@pytest.mark.ci
def test_a_new_file_that_many_open_at_once(tmp_path):
    """R192: SQLite itself does not wait for whoever turns the write-ahead log on in the same moment."""
    failures = []

    def use(store, barrier):
        barrier.wait(60)
        try:
            anyio.run(store.last, "u")
        except StoreError as error:
            failures.append(error)

    for number in range(60):
        barrier = threading.Barrier(6)
        stores = [SQLiteStore(tmp_path / f"{number}.db") for _ in range(6)]
        threads = [threading.Thread(target=use, args=(store, barrier)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for store in stores:
            anyio.run(store.aclose)
    assert failures == []


def _append_many(path, barrier):
    async def main():
        store = SQLiteStore(path)
        await store.last("u")
        barrier.wait(60)  # so that they really are at it at once
        for _ in range(200):
            await store.append("u", None, "x")
        await store.aclose()

    anyio.run(main)


@pytest.mark.proof
@pytest.mark.ci
async def test_sqlite_in_several_processes(tmp_path, monkeypatch, pytestconfig):
    """R192: processes that append to one file at once wait for each other, and leave no hole."""
    monkeypatch.syspath_prepend(pytestconfig.rootpath)  # they import this very module
    path = tmp_path / "shared.db"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_append_many, args=[path, barrier]) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        await anyio.to_thread.run_sync(process.join, 60)
        assert process.exitcode == 0
    store = SQLiteStore(path)
    assert [event.id for event in await store.after("u", 0, 9999)] == list(range(1, 601))
    await store.aclose()


async def test_sqlite_writes_ahead(tmp_path):
    """R192: readers do not wait for writers."""
    store = SQLiteStore(tmp_path / "wal.db")
    await store.append("u", None, "x")
    await store.aclose()
    with sqlite3.connect(tmp_path / "wal.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


async def test_what_cannot_be_reached_is_typed(tmp_path):
    """R192: a failure is a StoreError with its cause, for every store that can fail."""
    for store in (SQLiteStore(tmp_path / "missing" / "x.db"), RedisStore("redis://127.0.0.1:1/0")):
        for ask in (store.append("u", None, "x"), store.after("u", 0, 1), store.last("u")):
            with pytest.raises(StoreError) as raised:
                await ask
            assert raised.value.__cause__ is not None
        await store.aclose()


async def test_redis_tells_what_others_store(valkey_url):
    """R192: what one process stores, another is told of at once, after a first word that some may be missing."""
    here, there = RedisStore(valkey_url, prefix="told"), RedisStore(valkey_url, prefix="told")
    told = []
    async with anyio.create_task_group() as group:
        group.start_soon(here.listen, lambda *event: told.append(event))
        assert await eventually(lambda: told, within=10)
        await there.append("ü 1", "typ", "x y\n€")
        assert await eventually(lambda: len(told) == 2, within=10)
        group.cancel_scope.cancel()
    assert told == [(None, 0), ("ü 1", 1)]
    assert await here.after("ü 1", 0, 9) == [StoredEvent("ü 1", 1, "typ", "x y\n€")]
    await here.aclose()
    await there.aclose()
