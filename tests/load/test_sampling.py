"""Readings of a run, and what is needed before it begins."""

import subprocess
import sys
import textwrap
import time

import anyio
import pytest

from resilient_sse.testing.load import LoadPlan
from resilient_sse.testing.load.fleet import Fleet
from resilient_sse.testing.load.run import Reading, Sampler, growth, server_command


def test_growth():
    """P40, R172: 100 MB that become 101 MB in ten minutes have grown by about 1 %; a short watch tells nothing."""
    times = list(range(0, 601, 5))
    levels = [100e6 + 1e6 * second / 600 for second in times]
    assert growth(times, levels) == pytest.approx(100 * 1e6 / 100.5e6)
    assert growth(times, levels[::-1]) < 0
    assert growth(times[:59], levels[:59]) is None
    assert growth([], []) is None


def test_cpu():
    """R171: the share of one core; of no time there is none."""
    first, last = Reading(at=10.0, cpu=1.0, resident=0, received=0), Reading(12.0, 1.5, 0, 0)
    assert last.share_since(first) == 0.25
    assert first.share_since(first) is None


async def test_a_sampler_takes_readings():
    """R171-R173: progress is told regularly, and the server is asked only while all streams are open."""
    plan = LoadPlan(users=2, messages=5, deadline=60, warm_up=3)
    fleet = Fleet(plan, ["http://host/1", "http://host/2"])
    told, answers = [], iter([2, 2, 4, 1])

    async def live():
        return next(answers)

    sampler = Sampler(plan, fleet, live, told.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        await anyio.sleep(2.2)
        assert list(sampler.seen) == []
        fleet.all_open.set()
        fleet.received = 7
        block = bytearray(b"x") * (64 * 1024 * 1024)
        await anyio.sleep(2)
        del block
        fleet.first_end = anyio.current_time()
        await anyio.sleep(2)
        tasks.cancel_scope.cancel()
    assert [round(progress.seconds, 1) for progress in told[:5]] == [0, 0.5, 1, 1.5, 2]
    assert (told[-1].users, told[-1].received, told[-1].expected) == (2, 7, 10)
    assert (list(sampler.seen), sampler.excess) == ([2, 2, 4, 1], 2)
    assert sampler.peak - sampler.first.resident > 60e6
    assert sampler.peak - sampler.last.resident > 50e6
    assert len(sampler.warm) == 3
    assert sampler.steady[0].at < sampler.steady[1].at < sampler.last.at
    assert sampler.lateness < 0.1


@pytest.mark.e2e
async def test_a_late_event_loop_is_told():
    """A loop that is held up is late for its timers."""
    plan = LoadPlan(users=1, messages=5, deadline=60)
    sampler = Sampler(plan, Fleet(plan, ["http://host/1"]), None, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        await anyio.sleep(0.3)
        time.sleep(0.6)  # noqa: ASYNC251 - the timer of the next reading rings while this holds the loop
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    assert sampler.lateness > 0.2


@pytest.mark.parametrize(
    "soft,hard,answer",
    [
        (128, 1000, "564 1000"),
        (700, 1000, "564 700"),
        (128, 200, "need 564 open files, and the limit is 200"),
    ],
)
def test_open_files(soft, hard, answer):
    """R169: a soft limit that is too low is raised; where the hard one is, the error says what to do."""
    code = f"""
        import resource
        from resilient_sse.testing.load.run import allow_open_files, OpenFilesError
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        try:
            print(allow_open_files(500), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        except OpenFilesError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert answer in subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_heartbeat():
    """R138: the reference server sends heartbeats every ten seconds, or none, as the plan says."""
    for heartbeat, expected in ((10.0, "10.0"), (None, "none")):
        arguments = server_command(LoadPlan(heartbeat=heartbeat))
        assert arguments[arguments.index("--heartbeat") + 1] == expected
    assert LoadPlan().heartbeat == 10.0
