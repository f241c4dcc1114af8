"""A consumer in a process of its own, which kills itself at a given step, or is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from resilient_sse import Backoff, ResilientStream
from resilient_sse.checkpoints import RedisCheckpoint, SQLCheckpoint, SQLiteCheckpoint
from tests.checkpoints.history import Handled

PROCESSES = multiprocessing.get_context("forkserver")
"""Each child is forked from a process that has imported this, and nothing else."""

EVENTS = 50


@dataclass(frozen=True)
class Job:
    """What a run does: which store, where its files lie, and at which of its steps it kills itself."""

    store: str
    redis: str
    url: str
    directory: Path
    run: int = 1
    every: int = 1
    kill_at: int | None = None
    last: int | None = EVENTS

    def database(self) -> sqlite3.Connection:
        """Connect to the database that holds what was done, and for `sql` the position."""
        return sqlite3.connect(self.directory / "effects.db")


class Steps:
    """Counts the steps of a run, and kills it at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.taken = 0
        self._kill_at = kill_at

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def stepping(store: Any, steps: Steps) -> Any:
    """Make a step before and behind each save of a store."""
    save = store.save

    async def stepped(*arguments: Any, **options: Any) -> Any:
        steps()
        saved = await save(*arguments, **options)
        steps()
        return saved

    store.save = stepped
    return store


def run(job: Job) -> None:
    """Consume: the target of the process."""
    anyio.run(consume, job)


async def consume(job: Job) -> None:
    """Handle events one by one, up to the last."""
    steps = Steps(job.kill_at)
    store: Any = SQLCheckpoint(job.database)
    if job.store == "sqlite":
        store = stepping(SQLiteCheckpoint(job.directory / "positions.db"), steps)
    elif job.store == "redis":
        store = stepping(RedisCheckpoint(job.redis), steps)
    ack = "manual" if job.store == "sql" else "auto"
    backoff = Backoff(initial=0.01, maximum=0.01)
    begun = job.directory / f"begun {job.run}"
    if job.run % 2:  # the others when they have handled something, however slow the machine is
        begun.touch()
    async with ResilientStream(
        job.url, checkpoint=store, commit_every=job.every, ack=ack, backoff=backoff, max_retries=None
    ) as stream:
        while True:
            steps()
            event = await anext(stream)
            steps()
            number = int(event.data)
            if job.last is not None and number > job.last:
                break  # the run before was killed when all was done
            with closing(job.database()) as database:
                database.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by it
                database.execute("INSERT INTO effects (run, event) VALUES (?, ?)", (job.run, number))
                steps()
                if job.store == "sql":
                    store.record(database, event)
                    steps()
                database.commit()
            steps()
            if number == job.last:
                break
            if not begun.exists():
                begun.touch()
    steps()
    (job.directory / "steps").write_text(str(steps.taken))


def start(job: Job) -> Any:
    """Start a run in a process of its own."""
    process = PROCESSES.Process(target=run, args=(job,), daemon=True)
    process.start()
    return process


def prepare(job: Job) -> Job:
    """Make the tables."""
    job.directory.mkdir(exist_ok=True)
    with closing(job.database()) as database:
        database.execute(SQLCheckpoint(job.database).ddl)
        database.execute("CREATE TABLE effects (number INTEGER PRIMARY KEY, run INTEGER, event INTEGER)")
    return job


def history(job: Job) -> list[Handled]:
    """Read what was done, by all runs."""
    with closing(job.database()) as database:
        return [Handled(*row) for row in database.execute("SELECT run, event FROM effects ORDER BY number")]
