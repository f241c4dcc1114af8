"""A relay in a process of its own, which kills itself at a given step, or is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from resilient_sse import Backoff, ResilientStream
from resilient_sse.relay import RedisLog, Relay

PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Job:
    """What a run does, and at which of its steps it kills itself."""

    upstream: str
    redis: str
    name: str
    begun: Path
    kill_at: int | None = None
    last: int | None = None


class Killing(RedisLog):
    """Counts the steps before and behind each command."""

    def __init__(self, client: str, kill_at: int | None) -> None:
        super().__init__(client)
        self._left = kill_at or 0

    def _step(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    async def load(self, name: str) -> Any:
        self._step()
        position = await super().load(name)
        self._step()
        return position

    async def append(self, *arguments: Any, **options: Any) -> Any:
        self._step()
        outcome = await super().append(*arguments, **options)
        self._step()
        return outcome


def run(job: Job) -> None:
    """Copy: the target of the process."""
    anyio.run(copy, job)


def opened(url: str, position: str | None, last: int | None) -> ResilientStream:
    """Open the stream behind a position."""

    def ends(event: Any) -> bool:
        return last is not None and int(event.data) >= last

    backoff = Backoff(initial=0.01, maximum=0.05)
    until = ends if last is not None else None
    return ResilientStream(url, last_event_id=position, max_retries=None, backoff=backoff, until=until)


async def copy(job: Job) -> None:
    """Copy up to the last event, in small batches, for there to be many steps."""
    log = Killing(job.redis, job.kill_at)
    job.begun.touch()
    await Relay(lambda position: opened(job.upstream, position, job.last), log, job.name, batch=3).run()


def start(job: Job) -> Any:
    """Start a run in a process of its own."""
    process = PROCESSES.Process(target=run, args=(job,), daemon=True)
    process.start()
    return process
