"""Workers in processes of their own, and the record of what was accepted."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from resilient_sse.relay import Position, RedisLog, Worker
from tests.checkpoints.consumer import PROCESSES
from tests.relay.copying import opened, whole

GROUP = "group"


@dataclass(frozen=True)
class Shift:
    """What a worker works on."""

    upstream: str
    redis: str
    names: tuple[str, ...]
    lease: float
    by_asyncio: bool = False  # by a client of redis.asyncio


class Recording(RedisLog):
    """Records which token each event was appended with, once it was accepted."""

    async def append(self, name: str, events: Any, *, behind: Position, lease: str = "") -> Any:
        outcome, position = await super().append(name, events, behind=behind, lease=lease)
        if outcome == "done":
            record = {str(behind.ordinal + n): lease for n in range(1, len(events) + 1)}
            await self.server.ask(lambda: self.server.client.hset(f"record:{name}", mapping=record))
        return outcome, position


def streams(shift: Shift, count: int | None = None) -> dict[str, Any]:
    """Give what opens the streams, or the first of them."""
    return {
        name: lambda position, name=name: opened(f"{shift.upstream}/{name}", position)
        for name in shift.names[:count]
    }


def worker(shift: Shift) -> Worker:
    """Make a worker that records."""
    client = redis.asyncio.Redis.from_url(shift.redis) if shift.by_asyncio else shift.redis
    made = Worker(streams(shift), client, group=GROUP, lease=shift.lease)
    made._log = Recording(client)
    return made


class Process:
    """A worker in a process of its own."""

    def __init__(self, shift: Shift) -> None:
        self._stop = PROCESSES.Event()
        self._process = PROCESSES.Process(target=_work, args=(shift, self._stop), daemon=True)
        self._process.start()
        self.pid: int = self._process.pid or 0

    def stop(self) -> None:
        """Have it hand over, and wait for its end."""
        self._stop.set()
        self._process.join(30)
        assert self._process.exitcode == 0

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join(30)


def _work(shift: Shift, stop: Any) -> None:
    asyncio.run(_until(worker(shift), stop))


async def _until(made: Worker, stop: Any) -> None:
    running = asyncio.create_task(made.run())
    await asyncio.to_thread(stop.wait)
    made.stop()
    await running


def shares(client: redis.Redis) -> dict[str, list[str]]:
    """Read who owns what."""
    found: Any = client.smembers(f"{GROUP}:workers")
    owned: Any = {who.decode(): client.hkeys(f"{GROUP}:owned:{who.decode()}") for who in found}
    return {who: sorted(name.decode() for name in names) for who, names in owned.items()}


def lengths(client: redis.Redis, names: tuple[str, ...]) -> dict[str, int]:
    """Read how long the logs are."""
    return {name: int(client.xlen(name)) for name in names}


def faults(client: redis.Redis, names: tuple[str, ...]) -> list[str]:
    """Find every write with an old token; no event may be missing, there twice or out of order."""
    found = []
    for name in names:
        length = whole(client, name)
        record: Any = client.hgetall(f"record:{name}")
        # A record that waited while Redis lost everything is of an event that the new log has not come to yet.
        known = sorted((ordinal for ordinal in record if int(ordinal) <= length), key=int)
        tokens = [record[ordinal].decode() for ordinal in known]
        epochs = [int(token.rpartition(":")[2]) for token in tokens]
        if epochs != sorted(epochs) or len(set(tokens)) != len(set(epochs)):
            found.append(f"{name}: {tokens}")
    return found


def gaps(client: redis.Redis, names: tuple[str, ...]) -> list[float]:
    """Return for each new owner how many seconds passed between the last event of the old and its first."""
    found = []
    for name in names:
        record: Any = client.hgetall(f"record:{name}")
        entries: Any = client.xrange(name)
        before, then = "", 0.0
        for entry, fields in entries:
            token = record.get(fields[b"ordinal"], before.encode()).decode()
            at = int(entry.partition(b"-")[0]) / 1000
            if before and token != before:
                found.append(at - then)
            before, then = token, at
    return found
