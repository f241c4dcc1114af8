"""A load run from its beginning to its result."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from contextlib import suppress
from dataclasses import replace
from random import Random, getrandbits
from typing import TYPE_CHECKING

import anyio

from resilient_sse._client.backends import on_asyncio
from resilient_sse.testing.children import ChildError
from resilient_sse.testing.load.fleet import Fleet
from resilient_sse.testing.load.gates import judge
from resilient_sse.testing.load.processes import allow_open_files, check, open_processes
from resilient_sse.testing.load.result import (
    Connections,
    Delivery,
    LoadResult,
    Machine,
    Process,
    Setup,
    Spread,
    Streams,
    Times,
)
from resilient_sse.testing.load.sampling import Sampler, growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_sse.testing.load.plan import LoadPlan
    from resilient_sse.testing.load.processes import Processes
    from resilient_sse.testing.load.sampling import Progress

_FEW = 5


async def run_load(plan: LoadPlan, *, told: Callable[[Progress], None] | None = None) -> LoadResult:
    """
    Put a load on a server, and measure.

    The streams run in this process, the server and the networks in processes of their own, so that what is
    measured of this process is the client.  It ends by itself, in the worst case after the plan's deadline.

    Args:
        plan: What to do.
        told: Is given the progress, up to twice a second.

    Returns:
        The figures, and the gates that they passed or did not.

    Raises:
        ChildError: The server or the network did not start, or died.
        ImportError: The extra `testing` is not installed.
        OSError: The system does not allow as many open files.
        ValueError: A profile is unknown.
    """
    check(plan)
    # A proxy holds two sockets for each stream; children inherit the limit.
    allow_open_files(plan.users * 2 if plan.proxy else plan.users)
    seed = getrandbits(32) if plan.seed is None else plan.seed
    began = time.perf_counter()
    async with open_processes(plan, seed=seed) as processes:
        machine = _machine()
        fleet = Fleet(plan, processes.urls)
        sampler = Sampler(plan, fleet, processes.live, told)
        with anyio.move_on_after(plan.limit - (time.perf_counter() - began)):
            await _together(plan, fleet, sampler, processes, Random(seed))  # noqa: S311 - repeatable, not secret
        fleet.end()
    result = LoadResult(
        setup=_setup(plan, seed),
        machine=machine,
        seconds=time.perf_counter() - began,
        streams=_streams(fleet),
        delivery=_delivery(plan, fleet, sampler),
        times=Times(**{name: Spread.of(values) for name, values in fleet.times.items()}),
        process=_process(plan, sampler),
        connections=Connections(
            mean=statistics.fmean(sampler.seen) if sampler.seen else None,
            most=max(sampler.seen, default=None),
            excess=sampler.excess,
            opened=sum(follower.stats.connections for follower in fleet.followers),
            resets=processes.resets,
        ),
    )
    return replace(result, gates=judge(plan, result))


async def _together(
    plan: LoadPlan, fleet: Fleet, sampler: Sampler, processes: Processes, random: Random
) -> None:
    """Run the streams, and beside them what measures and what disturbs."""

    async def disturb() -> None:
        await fleet.all_open.wait()
        for wait, name in drops(plan, random):
            await anyio.sleep(wait)
            if fleet.first_end is not None:
                return
            with suppress(ChildError):  # a network that has died ends the run by itself
                await processes.reset(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        tasks.start_soon(disturb)
        # A server of the user's own has no end that is known.
        endless = plan.target is not None and plan.messages is None
        with anyio.move_on_after(plan.ramping + plan.sending if endless else None):
            await fleet.run()
        tasks.cancel_scope.cancel()


def drops(plan: LoadPlan, random: Random) -> Iterator[tuple[float, str]]:
    """
    Draw the resets of a run: seconds to wait since the one before, and the profile that is struck.

    Moments are independent of each other (a Poisson process), as those of many users on their way are; that
    includes two at almost the same time.
    """
    names = [part.profile for part in plan.profiles]
    weights = [part.weight for part in plan.profiles]
    while plan.drops:
        yield random.expovariate(plan.drops / 60), random.choices(names, weights)[0]


def _machine() -> Machine:
    """Describe this machine, without its name."""
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        backend="asyncio" if on_asyncio() else "trio",
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _setup(plan: LoadPlan, seed: int) -> Setup:
    return Setup(
        users=plan.users,
        messages=plan.messages_each,
        rate=plan.rate,
        profiles=",".join(f"{part.profile}:{part.weight:g}" for part in plan.profiles) if plan.proxy else "",
        drops=plan.drops,
        seed=seed,
        dedup_window=plan.dedup_window,
        target=plan.target,
    )


def _streams(fleet: Fleet) -> Streams:
    followers = fleet.followers
    failures = [follower.failure for follower in followers if follower.failure is not None]
    lifetime = math.fsum(follower.lifetime for follower in followers)
    return Streams(
        started=len(followers),
        completed=sum(follower.complete for follower in followers),
        failed=len(failures),
        unfinished=sum(not follower.complete and follower.failure is None for follower in followers),
        failures=tuple(failures[:_FEW]),
        crashes=len(fleet.crashes),
        availability=math.fsum(each.connected for each in followers) / lifetime if lifetime else None,
    )


def _delivery(plan: LoadPlan, fleet: Fleet, sampler: Sampler) -> Delivery:
    followers = fleet.followers
    received = sum(follower.unique for follower in followers)
    sent = None
    if plan.target is None:
        # What the server says it sent, but never less than it was to send: it may have lost some itself.
        sent = sum(max(each.stats.declared_total or 0, plan.messages_each) for each in followers)
        sent += (plan.users - len(followers)) * plan.messages_each
    elif plan.messages is not None:
        sent = plan.users * plan.messages
    steady = sampler.steady
    seconds = 0.0 if steady is None else steady[1].at - steady[0].at
    return Delivery(
        sent=sent,
        received=received,
        completion=received / sent if sent else None,
        per_second=(steady[1].received - steady[0].received) / seconds if steady and seconds else None,
        duplicates=sum(follower.duplicates for follower in followers),
        disorder=sum(follower.disorder for follower in followers),
        gaps=sum(follower.stats.gaps for follower in followers),
    )


def _process(plan: LoadPlan, sampler: Sampler) -> Process:
    before, peak = sampler.first.resident, sampler.peak
    first, last = sampler.steady or (sampler.first, sampler.first)
    received = last.received - first.received
    return Process(
        cpu=last.share_since(first),
        cpu_overall=sampler.last.share_since(sampler.first),
        cpu_per_event=(last.cpu - first.cpu) / received if received else None,
        resident_before=before,
        resident_peak=peak,
        resident_per_stream=(peak - before) // plan.users,
        growth=growth(sampler.warm_at, sampler.warm),
        watched=sampler.warm_at[-1] - sampler.warm_at[0] if sampler.warm_at else 0.0,
        lateness=sampler.lateness,
    )
