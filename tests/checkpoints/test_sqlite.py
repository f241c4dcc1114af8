"""SQLite on bad days: each fault is a `CheckpointError` that says what to do, and what was saved stays."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

from resilient_sse import CheckpointError, ResilientStream
from resilient_sse.checkpoints import Checkpoint, SQLCheckpoint, SQLiteCheckpoint, sqlite
from resilient_sse.testing import Script, event
from tests.skipping import skip_aloud


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "positions.db"


class Disk:
    """A small disk of its own."""

    def __init__(self, place: Path) -> None:
        self.file = place / "positions.db"
        self._place = str(place)
        self._ballast = place / "ballast"

    def mount(self, *options: str) -> bool:
        """Mount it, or mount it anew with other options; whether that may be done."""
        command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=256k", *options)), "tmpfs", self._place]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 1024)

    def clear(self) -> None:
        """Make room again."""
        self._ballast.unlink()

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "-l", self._place], check=True)  # noqa: S607 - the system's


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a disk; that takes root."""
    disk = Disk(tmp_path)
    if not disk.mount():
        skip_aloud("a small disk to fill: mounting one takes root on Linux")
    yield disk
    disk.unmount()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the file locked, as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("wrong, error", [("", ValueError), (":memory:", ValueError), (42, TypeError)])
def test_a_path_must_name_a_file(wrong, error):
    """Memory has a store of its own; anything else is refused where it is passed."""
    with pytest.raises(error, match=r"must name a file|PathLike"):
        SQLiteCheckpoint(wrong)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"this is a letter, and no database at all" * 30, "no SQLite database"),
        (None, "its directory must exist"),
    ],
    ids=["another file", "no directory"],
)
async def test_it_cannot_be_used(path, content, says):
    """A file of another kind is left as it is, and a missing directory is not made."""
    place = path if content else path / "below" / "positions.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as raised:
        await SQLiteCheckpoint(place).load("a")
    assert raised.value.key == "a"
    assert (path.read_bytes() if path.exists() else None) == content


async def test_the_table_is_another_programs(path):
    """It is told of and left as it is: that of a `SQLCheckpoint`, say, has other columns (P55)."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(SQLCheckpoint(lambda: None).ddl)
    with closing(SQLiteCheckpoint(path)) as store:
        for wrong in (store.load("a"), store.save("a", "1", expected=None)):
            with pytest.raises(CheckpointError, match="is another program's"):
                await wrong
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM resilient_sse_positions").fetchall() == []


async def test_it_is_damaged(path):
    """Broken pages are told of, not read as no position."""
    store = SQLiteCheckpoint(path)
    known = None
    for number in range(200):
        known = await store.save(f"{number} {'x' * 200}", "1", expected=None)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)
    assert known is not None
    with pytest.raises(CheckpointError, match="damaged"):
        await SQLiteCheckpoint(path).load("7 " + "x" * 200)


async def test_another_program_keeps_it_locked(path, monkeypatch):
    """The save waits for a while, and the one behind the lock goes well."""
    monkeypatch.setattr("resilient_sse.checkpoints.sqlite._WAIT_SECONDS", 0.05)
    store = SQLiteCheckpoint(path)
    known = await store.save("a", "1", expected=None)
    with locked(path), pytest.raises(CheckpointError, match="kept it locked"):
        await store.save("a", "2", expected=known)
    assert await store.load("a") == known
    assert (await store.save("a", "2", expected=known)).last_event_id == "2"


async def test_all_streams_wait_for_one_lock_at_once(path, monkeypatch):
    """Not one behind the other's wait: each hears of it in time (P55)."""
    monkeypatch.setattr("resilient_sse.checkpoints.sqlite._WAIT_SECONDS", 0.3)
    store, errors = SQLiteCheckpoint(path), []

    async def save(key: str) -> None:
        with pytest.raises(CheckpointError, match="kept it locked"):
            await store.save(key, "1", expected=None)
        errors.append(key)

    await store.load("a")
    began = time.monotonic()
    with locked(path):
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(save, str(number))
    assert len(errors) == 40
    assert time.monotonic() - began < 40 * 0.3 / 2
    assert (await store.save("a", "1", expected=None)).version == 1


class Contended(sqlite3.Connection):
    """Refuses once to keep a log, as SQLite does at once where another program is about to do so."""

    refused = False

    def execute(self, sql, *parameters):
        if sql == "PRAGMA journal_mode = WAL" and not self.refused:
            self.refused = True
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorname = "SQLITE_BUSY"
            raise error
        return super().execute(sql, *parameters)


async def test_programs_that_begin_at_once(path, monkeypatch):
    """They wait for each other (P55)."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Contended))
    store = SQLiteCheckpoint(path)
    assert await store.load("a") is None
    assert store._database.refused


async def test_the_event_loop_goes_on(path):
    """While a save waits for a lock, other tasks work (P55)."""
    store = SQLiteCheckpoint(path)
    ticks = 0
    saved = None

    async def save():
        nonlocal saved
        saved = await store.save("a", "1", expected=None)

    await store.load("a")
    async with anyio.create_task_group() as tasks:
        with locked(path):
            tasks.start_soon(save)
            while ticks < 20:
                await anyio.sleep(0.005)
                ticks += 1
            assert saved is None
    assert saved is not None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_event_loop_waits_for_one_slow_save_only(monkeypatch):
    """Those behind it are as slow, so nothing is hoped for (P55)."""
    thread, go = sqlite.WorkerThread(), threading.Event()
    async with anyio.create_task_group() as tasks:
        first = asyncio.create_task(thread.call(lambda: go.wait(10)))
        await asyncio.sleep(0)
        monkeypatch.setattr(sqlite, "_AT_ONCE_SECONDS", 20.0)
        tasks.start_soon(thread.call, lambda: None)
        await asyncio.sleep(0)
        go.set()
        assert await first


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_event_loop_does_not_wait_behind_a_slow_save(monkeypatch):
    """A disk that was slow may be slow again: others get their turn at once (P55)."""
    thread, go = sqlite.WorkerThread(), threading.Event()
    await thread.call(lambda: go.wait(0.05))
    monkeypatch.setattr(sqlite, "_AT_ONCE_SECONDS", 20.0)
    task = asyncio.create_task(thread.call(lambda: go.wait(10)))
    await asyncio.sleep(0)
    go.set()
    assert await task


async def test_a_full_disk(disk):
    """Nothing is saved and nothing is lost; with room again the stream goes on where it was (P55)."""
    store = SQLiteCheckpoint(disk.file)
    script = Script()
    script.respond(*[event("x" * 4000, id=f"{number} {'y' * 2000}") for number in range(9)]).hang()
    got = []
    errors = []
    async with ResilientStream("http://test/", checkpoint=store, client=script.client()) as stream:
        while len(got) < 9:
            if len(got) == 2 and not errors:
                disk.fill()
            try:
                got.append(await anext(stream))
            except CheckpointError as error:
                errors.append(str(error))
                disk.clear()
    assert "disk is full" in errors[0]
    assert [int(taken.id.split()[0]) for taken in got] == list(range(9))
    assert (await store.load("http://test/")).last_event_id == got[-1].id
    store.close()


async def test_a_quota_is_spent(path):
    """The error says so, and with room the next save goes well."""
    store = SQLiteCheckpoint(path)
    known = await store.save("a", "1", expected=None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="quota is spent"):
            await store.save("a", "2", expected=known)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert await store.save("a", "2", expected=known) == Checkpoint("2", 2)


@pytest.mark.parametrize("replaced", [False, True])
async def test_the_file_is_taken_away(path, replaced):
    """A save into a file that the next start does not find is an error, and no save (P55)."""
    store = SQLiteCheckpoint(path)
    known = await store.save("a", "1", expected=None)
    if replaced:
        other = SQLiteCheckpoint(path.with_suffix(".copy"))
        await other.save("a", "0", expected=None)
        other.close()
        path.with_suffix(".copy").replace(path)
    else:
        path.unlink()
    for file in path.parent.glob("*-*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="removed or replaced"):
        await store.save("a", "2", expected=known)
    assert await store.load("a") == (Checkpoint("0", 1) if replaced else None)


async def test_a_disk_that_is_read_only(disk):
    """Positions can be read, and a save says what is wrong."""
    store = SQLiteCheckpoint(disk.file)
    known = await store.save("a", "1", expected=None)
    store.close()
    assert disk.mount("remount", "ro")
    with pytest.raises(CheckpointError, match=r"may not be written|cannot be opened"):
        await store.save("a", "2", expected=known)
    assert disk.mount("remount", "rw")
    assert await store.load("a") == known
    store.close()


def test_many_processes(path):
    """Eight programs that begin at once share a new file, each with a key of its own (P55)."""
    program = textwrap.dedent("""
        import anyio, sys
        from resilient_sse.checkpoints import SQLiteCheckpoint

        async def main(path, key):
            store, known = SQLiteCheckpoint(path), None
            for number in range(50):
                known = await store.save(key, str(number), expected=known)

        anyio.run(main, *sys.argv[1:])
    """)
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), str(n)]) for n in range(8)]
    assert [process.wait(60) for process in running] == [0] * 8
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT last_event_id, version FROM resilient_sse_positions").fetchall()
    assert rows == [("49", 50)] * 8


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_its_thread_ends_with_it(path):
    """All saves of a store are one thread's, which goes when the store goes (P33)."""
    before = set(threading.enumerate())
    store = SQLiteCheckpoint(path)
    known = await store.save("a", "1", expected=None)
    await store.save("a", "2", expected=known)
    (thread,) = set(threading.enumerate()) - before
    del store
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_behind_a_fork(path):
    """Parent and child go on with a connection each, although a save was under way (P33)."""
    program = textwrap.dedent("""
        import anyio, os, sqlite3, sys, threading
        from resilient_sse.checkpoints import SQLiteCheckpoint

        store = SQLiteCheckpoint(sys.argv[1])

        async def save(key):
            known = await store.load(key)
            return await store.save(key, "x", expected=known)

        def slowly(*arguments, **options):
            opening.set()
            assert forked.wait(60)
            return connect(*arguments, **options)

        anyio.run(save, "parent")
        store.close()  # to be opened again
        connect, sqlite3.connect = sqlite3.connect, slowly
        opening, forked = threading.Event(), threading.Event()
        saving = threading.Thread(target=anyio.run, args=(save, "parent"))
        saving.start()
        assert opening.wait(60)
        child = os.fork()
        sqlite3.connect = connect
        if child:
            assert os.waitpid(child, 0)[1] == 0
            forked.set()
            saving.join()
            assert anyio.run(save, "parent").version == 3
            assert anyio.run(store.load, "child").version == 1
        else:
            anyio.run(save, "child")
    """)
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(path)], check=True, timeout=60)
