"""Many streams and many workers: each stream has one owner, and one copy of each event (P62)."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from resilient_sse import ResilientStream
from resilient_sse.relay import RelayError, Worker
from resilient_sse.testing import Script, event
from tests.checkpoints.redis_process import Server
from tests.relay import copying, working
from tests.relay.working import GROUP, Process, Shift, faults, gaps, lengths, shares

copying.PROCESSES.set_forkserver_preload(["tests.relay.copying", "tests.relay.working"])

AOF = ("--appendonly", "yes", "--appendfsync", "everysec")


def until(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.02)
    pytest.fail(f"it does not come to it that {what}")


def grown(valkey: Server, shift: Shift, by: int = 2) -> None:
    """Wait until every log has grown."""
    before = lengths(valkey.client, shift.names)
    until(
        lambda: all(now >= before[name] + by for name, now in lengths(valkey.client, shift.names).items()),
        "every log grows",
    )


def fair(valkey: Server, shift: Shift, workers: int) -> dict[str, list[str]]:
    """Wait until so many workers have fair shares, and give these."""
    least, most = len(shift.names) // workers, math.ceil(len(shift.names) / workers)

    def is_fair() -> bool:
        sizes = [len(names) for names in shares(valkey.client).values()]
        return len(sizes) == workers and sum(sizes) == len(shift.names) and least <= min(sizes) <= max(sizes) <= most

    until(is_fair, f"{workers} workers have fair shares")
    return shares(valkey.client)


@pytest.fixture
def shift(valkey: Server) -> Iterator[Shift]:
    """Thirty streams of twenty events a second."""
    with working.numbered(0.05) as upstream:
        yield Shift(upstream, valkey.url, tuple(f"log-{n}" for n in range(30)), 3.0)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Kill what a test has left running."""
    running: list[Process] = []
    yield running
    for process in running:
        process.kill()


def moved(before: dict[str, list[str]], after: dict[str, list[str]]) -> int:
    """Count the streams whose owner is another."""
    old = {name: who for who, names in before.items() for name in names}
    return sum(old[name] != who for who, names in after.items() for name in names)


def test_shares_are_fair_and_sticky(valkey, shift, processes):
    """Workers that come and go move no more streams than they must, and repeat nothing (P62)."""
    processes.append(Process(shift))
    one = fair(valkey, shift, 1)
    processes.append(Process(shift))
    two = fair(valkey, shift, 2)
    processes.append(Process(shift))
    three = fair(valkey, shift, 3)
    assert moved(one, two) <= math.ceil(30 / 2) + 1
    assert moved(two, three) <= math.ceil(30 / 3) + 1
    grown(valkey, shift)
    processes.pop(0).stop()
    left = fair(valkey, shift, 2)
    assert moved(three, left) <= math.ceil(30 / 3) + 1
    grown(valkey, shift)
    assert not faults(valkey.client, shift.names)


def rolling(valkey: Server, shift: Shift, processes: list[Process]) -> list[float]:
    """Stop and start three workers one by one, and return how long each stream was without a new event."""
    processes += [Process(shift) for _ in range(3)]
    fair(valkey, shift, 3)
    grown(valkey, shift)
    for _ in range(3):
        leaving = set(shares(valkey.client))
        processes.pop(0).stop()
        assert len(leaving - set(shares(valkey.client))) == 1
        processes.append(Process(shift))
        fair(valkey, shift, 3)
        grown(valkey, shift)
    assert not faults(valkey.client, shift.names)
    return sorted(gap for name in shift.names for gap in gaps(valkey.client, name).values())


def test_a_rolling_deploy(valkey, shift, processes, record_property):
    """Three workers are stopped and started one by one: nothing is repeated (P62)."""
    found = rolling(valkey, shift, processes)
    record_property("hand-over p50, p99", (found[len(found) // 2], found[len(found) * 99 // 100]))
    assert len(found) >= 30
    # A lease that had to run out would take 3 s.
    assert found[len(found) // 2] < shift.lease / 2
