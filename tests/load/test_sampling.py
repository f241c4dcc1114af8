"""Readings, and what becomes of them."""

import time

import anyio
import pytest

from resilient_sse.testing.load import LoadPlan
from resilient_sse.testing.load.fleet import Fleet
from resilient_sse.testing.load.sampling import Readings, Sampler
from resilient_sse.testing.load.usage import Usage

MIB = 1024 * 1024


def readings(*rows):
    """Take readings: (at, cpu, MiB, messages, steady, warm)."""
    taken = Readings()
    taken.first = Usage(0.0, 0.0, 10 * MIB)
    taken.peak = taken.first.resident
    for at, cpu, mib, received, steady, warm in rows:
        taken.add(Usage(at, cpu, mib * MIB), received=received, steady=steady, warm=warm)
    return taken


def test_cpu_while_all_streams_were_open():
    """R171: opening and closing count for the figure over all, and not for the steady one."""
    taken = readings(
        (10.0, 9.0, 20, 0, False, False),
        (20.0, 10.0, 20, 100, True, False),
        (30.0, 12.0, 20, 300, True, False),
        (40.0, 14.0, 20, 500, True, False),
        (50.0, 20.0, 20, 600, False, False),
    )
    assert taken.cpu == pytest.approx(0.2)
    assert taken.cpu_overall == pytest.approx(0.4)
    assert taken.steady == (20.0, 4.0, 400)


def test_never_steady():
    """A run in which not all streams were ever open has no such figures."""
    taken = readings((10.0, 9.0, 20, 0, False, True))
    assert (taken.cpu, taken.steady, taken.growth, taken.seen, taken.excess) == (None,) * 5


def test_growth_counts_after_the_warm_up():
    """P40: what is taken up at the beginning is no leak; a slope afterwards is, even if it is small."""
    warm_up = [(at, at / 10, 20 + at, 0, True, False) for at in range(0, 100, 5)]
    flat = [(at, at / 10, 120, 0, True, True) for at in range(100, 701, 5)]
    leak = [(at, at / 10, 120 + at / 100, 0, True, True) for at in range(100, 701, 5)]
    assert readings(*warm_up, *flat).growth == pytest.approx(0, abs=1e-6)
    assert readings(*warm_up, *leak).growth == pytest.approx(100 * 6 / 124, rel=0.01)
    assert readings(*warm_up, *leak).watched == 600
    assert readings(*warm_up, *leak[:50]).growth is None


def test_peak():
    """R172: the most that was ever resident, opening and closing included."""
    assert readings((1.0, 1.0, 500, 0, False, False), (2.0, 1.0, 20, 0, True, True)).peak == 500 * MIB


def test_connections():
    """R173: the average, the most, and the most beyond users and reconnecting streams."""
    taken = readings()
    taken.connections(100, users=100, reconnecting=0)
    taken.connections(97, users=100, reconnecting=3)
    taken.connections(101, users=100, reconnecting=2)
    assert (taken.seen, taken.most, taken.excess) == (pytest.approx(99.333, abs=0.001), 101, 0)
    taken.connections(102, users=100, reconnecting=1)
    assert taken.excess == 1


async def test_sampler():
    """Progress is told regularly, and the server is asked only while all streams are open."""
    plan = LoadPlan(users=2, messages=5, deadline=60)
    fleet = Fleet(plan, ["http://host/1", "http://host/2"])
    asked, told = [], []

    async def live():
        asked.append(anyio.current_time())
        return 2

    sampler = Sampler(plan, fleet, live, told.append)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        await anyio.sleep(2.2)
        assert asked == []
        fleet.all_open.set()
        fleet.received = 7
        await anyio.sleep(2)
        assert len(asked) == 4
        fleet.first_end = anyio.current_time()
        await anyio.sleep(2)
        assert len(asked) == 4
        tasks.cancel_scope.cancel()
    assert [round(progress.seconds, 1) for progress in told[:5]] == [0, 0.5, 1, 1.5, 2]
    assert (told[-1].users, told[-1].received, told[-1].expected) == (2, 7, 10)
    assert sampler.readings.seen == 2
    assert sampler.readings.excess == 0
    assert sampler.readings.lateness < 0.1
    assert anyio.current_time() - began == pytest.approx(6.2)


@pytest.mark.e2e
async def test_late_event_loop():
    """A loop that is held up is late for its timers, and that is told."""
    plan = LoadPlan(users=1, messages=5, deadline=60)

    async def live():
        raise AssertionError

    sampler = Sampler(plan, Fleet(plan, ["http://host/1"]), live, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        await anyio.sleep(0.3)
        time.sleep(0.6)  # noqa: ASYNC251 - the timer of the next reading rings while this holds the loop
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    assert 0.2 < sampler.readings.lateness < 20
