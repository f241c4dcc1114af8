"""A load run from its beginning to its result."""

from __future__ import annotations

import time
from contextlib import suppress
from random import Random, getrandbits
from typing import TYPE_CHECKING

import anyio

from resilient_sse._client.backends import on_asyncio
from resilient_sse.testing.children import ChildError
from resilient_sse.testing.load.drops import drops
from resilient_sse.testing.load.fleet import Fleet
from resilient_sse.testing.load.sampling import Progress, Sampler
from resilient_sse.testing.load.site import Site, check, open_site
from resilient_sse.testing.load.summary import machine, summarise
from resilient_sse.testing.load.usage import allow_open_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse.testing.load.plan import LoadPlan
    from resilient_sse.testing.load.result import LoadResult

__all__ = ["run_load"]


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
    async with open_site(plan, seed=seed) as site:
        where = machine("asyncio" if on_asyncio() else "trio")
        fleet = Fleet(plan, site.urls)
        sampler = Sampler(plan, fleet, site.live, told)
        with anyio.move_on_after(plan.limit - (time.perf_counter() - began)):
            await _together(plan, fleet, sampler, site, Random(seed))  # noqa: S311 - repeatable, not secret
        fleet.end()
    return summarise(
        plan,
        fleet,
        sampler.readings,
        where=where,
        seed=seed,
        resets=site.resets,
        seconds=time.perf_counter() - began,
    )


async def _together(plan: LoadPlan, fleet: Fleet, sampler: Sampler, site: Site, random: Random) -> None:
    """Run the streams, and beside them what measures and what disturbs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run)
        tasks.start_soon(_disturb, plan, fleet, site, random)
        if plan.target is not None and plan.messages is None:
            # A server of the user's own has no end that is known.
            with anyio.move_on_after(plan.ramping + plan.sending):
                await fleet.run()
        else:
            await fleet.run()
        tasks.cancel_scope.cancel()


async def _disturb(plan: LoadPlan, fleet: Fleet, site: Site, random: Random) -> None:
    """Reset connections while all streams are open."""
    await fleet.all_open.wait()
    for wait, name in drops(plan, random):
        await anyio.sleep(wait)
        if fleet.first_end is not None:
            return
        with suppress(ChildError):  # a network that has died ends the run by itself
            await site.reset(name)
