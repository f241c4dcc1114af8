"""The result of a run, out of its tallies and readings."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from resilient_sse.testing.load.figures import Spread, share
from resilient_sse.testing.load.gates import judge
from resilient_sse.testing.load.result import (
    Connections,
    Delivery,
    LoadResult,
    Machine,
    Process,
    Setup,
    Streams,
    Times,
)

if TYPE_CHECKING:
    from resilient_sse.testing.load.fleet import Fleet
    from resilient_sse.testing.load.plan import LoadPlan
    from resilient_sse.testing.load.sampling import Readings

__all__ = ["machine", "summarise"]

_FEW = 5


def machine(backend: str) -> Machine:
    """Describe this machine, without its name."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # pragma: no cover - Windows
        load = None
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        backend=backend,
        load=load,
    )


def summarise(
    plan: LoadPlan,
    fleet: Fleet,
    readings: Readings,
    *,
    where: Machine,
    seed: int,
    resets: int,
    seconds: float,
) -> LoadResult:
    """
    Put the figures of a run together, and judge them.

    Args:
        plan: Of the run.
        fleet: After the run, with all tallies ended.
        readings: Taken during the run.
        where: The machine.
        seed: What decided about the resets.
        resets: Connections that were reset.
        seconds: How long it took.
    """
    result = LoadResult(
        setup=_setup(plan, seed),
        machine=where,
        seconds=seconds,
        streams=_streams(fleet),
        delivery=_delivery(plan, fleet, readings),
        times=_times(fleet),
        process=_process(plan, readings),
        connections=Connections(
            mean=readings.seen,
            most=readings.most,
            excess=readings.excess,
            opened=sum(tally.connections for tally in fleet.tallies),
            resets=resets,
        ),
    )
    return replace(result, gates=judge(plan, result))


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
    tallies = fleet.tallies
    failures = [tally.failure for tally in tallies if tally.failure is not None]
    completed = sum(tally.complete for tally in tallies)
    return Streams(
        started=len(tallies),
        completed=completed,
        failed=len(failures),
        unfinished=sum(not tally.complete and tally.failure is None for tally in tallies),
        failures=tuple(failures[:_FEW]),
        crashes=len(fleet.crashes),
        availability=share(
            math.fsum(tally.connected for tally in tallies), math.fsum(tally.lifetime for tally in tallies)
        ),
    )


def _delivery(plan: LoadPlan, fleet: Fleet, readings: Readings) -> Delivery:
    tallies = fleet.tallies
    received = sum(tally.unique for tally in tallies)
    sent = None
    if plan.target is None:
        # What the server says it sent, but never less than it was to send: it may have lost some itself.
        sent = sum(max(tally.declared or 0, plan.messages_each) for tally in tallies)
        sent += (plan.users - len(tallies)) * plan.messages_each
    elif plan.messages is not None:
        sent = plan.users * plan.messages
    steady = readings.steady
    return Delivery(
        sent=sent,
        received=received,
        completion=None if sent is None else share(received, sent),
        per_second=None if steady is None else share(steady[2], steady[0]),
        duplicates=sum(tally.duplicates for tally in tallies),
        disorder=sum(tally.disorder for tally in tallies),
        gaps=sum(tally.gaps for tally in tallies),
    )


def _times(fleet: Fleet) -> Times:
    tallies = fleet.tallies
    return Times(
        opening=Spread.of([tally.opened_after for tally in tallies if tally.opened_after is not None]),
        recovery=Spread.of([*chain.from_iterable(tally.recoveries for tally in tallies)]),
        reopening=Spread.of([*chain.from_iterable(tally.reopenings for tally in tallies)]),
        silence=Spread.of([*chain.from_iterable(tally.silences for tally in tallies)]),
        attempt=Spread.of([*chain.from_iterable(tally.attempts for tally in tallies)]),
        handling=fleet.handling.spread(),
    )


def _process(plan: LoadPlan, readings: Readings) -> Process:
    before, peak = readings.first.resident, readings.peak
    steady = readings.steady
    return Process(
        cpu=readings.cpu,
        cpu_overall=readings.cpu_overall,
        cpu_per_event=None if steady is None else share(steady[1], steady[2]),
        resident_before=before,
        resident_peak=peak,
        resident_per_stream=None if before is None or peak is None else (peak - before) // plan.users,
        growth=readings.growth,
        watched=readings.watched,
        lateness=readings.lateness,
    )
