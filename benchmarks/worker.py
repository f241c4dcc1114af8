"""
One client in a process of its own: `python -m benchmarks.worker NAME`.

It takes one task a line, as JSON, and answers with one line; between two tasks it does nothing, so that workers of
different clients can take turns.  What is measured is the CPU time of this process (user and system, all threads).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import re
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from . import payloads
from .peers import PEERS, Peer

SIZES = payloads.CHUNK, 61
"""In memory events are compared twice: the small chunks cut every field."""
WARM_UP = 2000
FEWEST = 200
SETTLE = 1.0
AT_ONCE = 100
STAMP = re.compile(rb"data: (\d+)\n")

Task = dict[str, Any]


async def enter(stack: AsyncExitStack, context: Any) -> Any:
    if hasattr(context, "__aenter__"):
        return await stack.enter_async_context(context)
    return stack.enter_context(context)


def start(peer: Peer, stream: Any) -> Any:
    return iter(stream) if peer.blocking else aiter(stream)


async def step(peer: Peer, items: Any) -> Any:
    return next(items) if peer.blocking else await anext(items)


async def consume(peer: Peer, items: Any, goal: int) -> None:
    """Take *goal* items, or bytes if the peer is a floor: all that the harness adds to an event is here."""
    got = 0
    if peer.unit != "event":
        async for chunk in items:
            got += len(chunk)
            if got >= goal:
                return
    elif peer.blocking:
        for _ in items:
            got += 1
            if got >= goal:
                return
    else:
        async for _ in items:
            got += 1
            if got >= goal:
                return
    raise EOFError(f"the stream ended after {got} of {goal}")


class Worker:
    """Carries out the tasks of one client."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.counts: dict[tuple[str, str], int] = {}

    def client(self, task: Task, *cut: int) -> Any:
        body = payloads.chunks(task["kind"], *cut) if task["path"] == "memory" else None
        return self.peer.client(task.get("streams", 1), body)

    async def check(self, task: Task) -> dict[str, Any]:
        """Compare the first events with those that the payload was made of; say where they differ."""
        if self.peer.unit != "event":
            return {"differs": ""}
        kind, count = task["kind"], payloads.few(task["kind"])
        for size in SIZES if task["path"] == "memory" else (payloads.CHUNK,):
            async with AsyncExitStack() as stack:
                client = await enter(stack, self.client(task, size, count + 1))
                items = start(self.peer, await enter(stack, self.peer.open(client, task["url"])))
                for number in range(count):
                    event = payloads.KINDS[kind](number)[1]
                    try:
                        got = tuple(self.peer.fields(await step(self.peer, items)))
                    except Exception as error:  # noqa: BLE001 - a peer that fails is a finding
                        return {"differs": f"event {number}: {type(error).__name__}: {error}"[:150]}
                    if got != event:
                        names = ("type", "data", "id")
                        wrong = [name for name, a, b in zip(names, got, event, strict=True) if a != b]
                        return {"differs": f"event {number}: {', '.join(wrong)} in chunks of {size} bytes"}
        return {"differs": ""}

    async def drain(self, task: Task) -> dict[str, Any]:
        """Read events from the first to the last; as many as take about `seconds`, or `count`."""
        key = task["path"], task["kind"]
        async with AsyncExitStack() as stack:
            client = await enter(stack, self.client(task))
            count = task.get("count") or self.counts.get(key)
            if count is None:
                warm = await self.timed(task, client, min(WARM_UP, payloads.total(task["kind"])))
                count = max(FEWEST, int(task["seconds"] / max(warm["cpu"], 1e-9)))
                count = self.counts[key] = min(count, payloads.total(task["kind"]))
            return await self.timed(task, client, count)

    async def timed(self, task: Task, client: Any, count: int) -> dict[str, Any]:
        wire = self.peer.unit == "wire" and task["path"] != "bulk"  # whose framing is next to nothing
        whole = count if self.peer.unit == "event" else payloads.size(task["kind"], count, framing=wire)
        async with AsyncExitStack() as stack:
            items = start(self.peer, await enter(stack, self.peer.open(client, task["url"])))
            gc.collect()
            first = await step(self.peer, items)
            goal = whole - (1 if self.peer.unit == "event" else len(first))
            cpu, wall = time.process_time(), time.perf_counter()
            await consume(self.peer, items, goal)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        events = count * goal / whole
        return {"cpu": cpu / events, "rate": events / wall, "events": round(events)}

    async def latency(self, task: Task) -> dict[str, Any]:
        """Take the time from the server's write to the event in hand."""
        times: list[float] = []
        async with AsyncExitStack() as stack:
            client = await enter(stack, self.client(task))
            items = start(self.peer, await enter(stack, self.peer.open(client, task["url"])))
            while len(times) < task["count"]:
                item = await step(self.peer, items)
                now = time.monotonic_ns()
                stamps = STAMP.findall(item) if self.peer.unit != "event" else [self.peer.fields(item)[1]]
                times.extend((now - int(stamp)) / 1e9 for stamp in stamps)
        times = sorted(times[20:])
        return {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)]}

    async def many(self, task: Task) -> dict[str, Any]:
        """Open many streams on one client, hold them, and take what opening and holding cost."""
        streams = task["streams"]
        opened = received = 0
        failed: list[str] = []
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(client: Any) -> None:
            nonlocal opened, received
            try:
                async with AsyncExitStack() as stack:
                    async with gate:
                        items = aiter(await enter(stack, self.peer.open(client, task["url"])))
                        await anext(items)
                        opened += 1
                    async for _ in items:
                        received += 1
            except Exception as error:  # noqa: BLE001 - it is reported
                failed.append(f"{type(error).__name__}: {error}"[:150])

        async with AsyncExitStack() as stack:
            client = await enter(stack, self.client(task))
            async with AsyncExitStack() as first:  # what a process pays once: imports, the TLS context
                await anext(aiter(await enter(first, self.peer.open(client, task["url"]))))
            gc.collect()
            before, cpu, wall = resident(), time.process_time(), time.perf_counter()
            tasks = [asyncio.create_task(one(client)) for _ in range(streams)]
            deadline = wall + task["patience"]
            while opened + len(failed) < streams and time.perf_counter() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            opening_cpu, opening = time.process_time() - cpu, time.perf_counter() - wall
            await asyncio.sleep(SETTLE)
            found, cpu, wall = received, time.process_time(), time.perf_counter()
            await asyncio.sleep(task["seconds"])
            cpu, wall, found = time.process_time() - cpu, time.perf_counter() - wall, received - found
            after = resident()
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if opened < streams:
            why = f"; {failed[0]}" if failed else ""
            return {"error": f"{opened:,} of {streams:,} streams open after {opening:.0f} s{why}"}
        return {
            "opening": opening,
            "opening_cpu": opening_cpu / streams,
            "memory": (after - before) / streams,
            "cpu": cpu / max(found, 1),
            "rate": found / wall,
        }


def resident() -> int:
    """Return the bytes of this process that lie in memory (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is no answer
    peer = PEERS[sys.argv[1]]
    worker = Worker(peer)
    for module in peer.needs:
        importlib.import_module(module)
    for line in sys.stdin:
        task: Task = json.loads(line)
        try:
            answer = asyncio.run(getattr(worker, task["task"])(task))
        except Exception as error:  # noqa: BLE001 - the program decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)
    with contextlib.suppress(OSError):
        answers.close()


if __name__ == "__main__":
    main()
