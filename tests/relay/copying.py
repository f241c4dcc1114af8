"""A relay in a process of its own, which kills itself at a given step, or is killed; and what a log must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from resilient_sse import Backoff, ResilientStream
from resilient_sse.relay import RedisLog, Relay
from tests.checkpoints.consumer import PROCESSES, Steps


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
    """Takes a step before and behind each command."""

    def __init__(self, client: str, kill_at: int | None) -> None:
        super().__init__(client)
        self._step = Steps(kill_at)

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


def opened(url: str, position: str | None, last: int | None = None) -> ResilientStream:
    """Open the stream behind a position."""

    def ends(event: Any) -> bool:
        return last is not None and int(event.data) >= last

    backoff = Backoff(initial=0.01, maximum=0.1)
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


def whole(client: redis.Redis, name: str) -> int:
    """Return how many events a log has; each must be there once, in order, and counted by its ordinal."""
    entries: Any = client.xrange(name)
    found = [(int(fields[b"ordinal"]), int(fields[b"data"])) for _, fields in entries]
    assert found == [(number, number) for number in range(1, len(found) + 1)], name
    return len(found)


async def eventually(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds, in an event loop."""
    for _ in range(6000):
        if holds():
            return
        await anyio.sleep(0.01)
    pytest.fail(f"it does not come to it that {what}")
