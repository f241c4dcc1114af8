"""Workers in processes of their own, a server of many numbered streams, and the record of what was accepted."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from resilient_sse import Backoff, ResilientStream
from resilient_sse.relay import Position, RedisLog, Worker
from tests.relay.copying import PROCESSES

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


def opened(upstream: str, name: str, position: str | None) -> ResilientStream:
    """Open a stream behind a position."""
    url = f"{upstream}/{name}"
    return ResilientStream(
        url, last_event_id=position, max_retries=None, backoff=Backoff(initial=0.01, maximum=0.1)
    )


def worker(shift: Shift) -> Worker:
    """Make a worker that records."""
    streams = {
        name: lambda position, name=name: opened(shift.upstream, name, position) for name in shift.names
    }
    client = redis.asyncio.Redis.from_url(shift.redis) if shift.by_asyncio else shift.redis
    made = Worker(streams, client, group=GROUP, lease=shift.lease)
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


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float) -> None:
    """Send what lies behind the given event, for ever."""
    with suppress(OSError, EOFError, asyncio.CancelledError):  # the client has gone, or the server ends
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        number = int(head.partition("last-event-id:")[2].partition("\r\n")[0] or 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        while not writer.is_closing():
            number += 1
            writer.write(b"id: %d\ndata: %d\n\n" % (number, number))
            await writer.drain()
            await asyncio.sleep(pause)
    writer.close()


@contextmanager
def numbered(pause: float) -> Iterator[str]:
    """Run a server whose every path is a stream of numbers, one in each pause; give its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(lambda r, w: _serve(r, w, pause), "127.0.0.1", 0)

    async def end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    asyncio.run_coroutine_threadsafe(end(server), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def shares(client: redis.Redis) -> dict[str, list[str]]:
    """Read who owns what."""
    found: Any = client.smembers(f"{GROUP}:workers")
    owned: Any = {who.decode(): client.hkeys(f"{GROUP}:owned:{who.decode()}") for who in found}
    return {who: sorted(name.decode() for name in names) for who, names in owned.items()}


def lengths(client: redis.Redis, names: tuple[str, ...]) -> dict[str, int]:
    """Read how long the logs are."""
    return {name: int(client.xlen(name)) for name in names}


def faults(client: redis.Redis, names: tuple[str, ...]) -> list[str]:
    """Find every event that is missing, there twice or out of order, and every write with an old token."""
    found = []
    for name in names:
        entries: Any = client.xrange(name)
        numbers = [(int(fields[b"ordinal"]), int(fields[b"data"])) for _, fields in entries]
        if numbers != [(n, n) for n in range(1, len(numbers) + 1)]:
            found.append(f"{name}: {numbers}")
        record: Any = client.hgetall(f"record:{name}")
        # A record that waited while Redis lost everything is of an event that the new log has not come to yet.
        known = sorted((ordinal for ordinal in record if int(ordinal) <= len(numbers)), key=int)
        tokens = [record[ordinal].decode() for ordinal in known]
        epochs = [int(token.rpartition(":")[2]) for token in tokens]
        if epochs != sorted(epochs) or len(set(tokens)) != len(set(epochs)):
            found.append(f"{name}: {tokens}")
    return found


def gaps(client: redis.Redis, name: str) -> dict[str, float]:
    """Return for each new owner how many seconds passed between the last event of the old and its first."""
    record: Any = client.hgetall(f"record:{name}")
    entries: Any = client.xrange(name)
    found: dict[str, float] = {}
    last = ("", 0.0)
    for entry, fields in entries:
        token = record.get(fields[b"ordinal"], last[0].encode()).decode()
        at = int(entry.partition(b"-")[0]) / 1000
        if last[0] and token != last[0]:
            found[token] = at - last[1]
        last = (token, at)
    return found
