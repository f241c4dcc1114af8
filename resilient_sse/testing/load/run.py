"""A load run: the processes that it takes, what is read of it, and its result."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random, getrandbits
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from resilient_sse._client.backends import on_asyncio
from resilient_sse.testing.extra import require
from resilient_sse.testing.load.children import Child, ChildError, child
from resilient_sse.testing.load.fleet import Fleet
from resilient_sse.testing.load.plan import LoadPlan
from resilient_sse.testing.load.result import (
    Connections,
    Delivery,
    LoadResult,
    Machine,
    Process,
    Spread,
    Streams,
    Times,
    judge,
)
from resilient_sse.testing.proxy import profile

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

_STATS_SECONDS = 5.0
_HISTORY = 1000  # events of each user, a multiple of what is missed in the longest outage

# One established connection, the next that gets bytes: of many that are alike, any of them.  600 bytes are the
# headers of an answer and two or three events: an attempt to open a stream is so short that few are hit in
# practice, but it always gets bytes at once, and would be the next too often.
_RESET = "reset:after=600,times=1"

_RESERVE = 64
"""Files that are open anyway: standard streams, the event loop, pipes to the children, libraries."""


class OpenFilesError(OSError):
    """The process may not open as many files as are needed."""


def allow_open_files(connections: int) -> int:
    """Allow *connections* sockets to be open at once, up to the hard limit; return how many files that needs."""
    needed = connections + _RESERVE
    if resource is None:  # pragma: no cover - Windows
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OpenFilesError(
            f"so many streams need {needed} open files, and the limit is {hard}; "
            f"raise it with 'ulimit -n {needed}', or take fewer users"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else needed, hard))
    return needed


@dataclass(frozen=True, slots=True)
class Processes:
    """What the streams of a run connect to: addresses in the order of users, and networks by their profiles."""

    urls: Sequence[str]
    stats: str = ""
    http: httpx.AsyncClient | None = None
    children: Sequence[Child] = ()
    networks: Mapping[str, Child] = field(default_factory=dict[str, Child])

    async def live(self) -> int | None:
        """Ask the server how many streams are connected; `None` if it does not say."""
        if self.http is None:
            return None
        try:
            told: Any = (await self.http.get(self.stats)).json()
            return int(told["live"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None


def check(plan: LoadPlan) -> None:
    """
    Find out what keeps *plan* from being carried out here, before anything is started.

    `MissingExtraError`: the server, or what measures, is not installed; `ValueError`: a profile is unknown.
    """
    for part in plan.profiles if plan.proxy else ():
        profile(part.profile)
    require("the load run", "psutil", server=plan.target is None)


@asynccontextmanager
async def open_processes(plan: LoadPlan, *, seed: int) -> AsyncGenerator[Processes]:
    """Start what *plan* needs, for the time of the block; `ChildError` if a process does not start."""
    users = range(1, plan.users + 1)
    if plan.target is not None:
        yield Processes([plan.target.replace("{user}", str(user)) for user in users])
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(child("server", server_command(plan)))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=_STATS_SECONDS))
        if "url" not in server.hello:
            raise ChildError("the server did not say where it is")
        url: str = server.hello["url"]
        address = urlsplit(url)
        networks: dict[str, Child] = {}
        for number, part in enumerate(plan.profiles if plan.proxy else ()):
            command = network_command(address.netloc, part.profile, seed + number)
            networks[part.profile] = await stack.enter_async_context(child("network", command))
        through = [networks[name].hello["port"] if networks else address.port for name in plan.assignment()]
        urls = [
            address._replace(netloc=f"{address.hostname}:{port}", query=f"user_id=user-{user}").geturl()
            for port, user in zip(through, users, strict=True)
        ]
        stats = address._replace(path="/api/v1/stats", query="").geturl()
        yield Processes(urls, stats, http, [server, *networks.values()], networks)


def server_command(plan: LoadPlan) -> list[str]:
    """Return what is given to `python` to start the server."""
    return [
        *("-m", "resilient_sse", "serve", "--port", "0", "--json", "--stdin"),
        *("--users", str(plan.users)),
        *("--publish", str(plan.messages_each), "--rate", str(plan.rate), "--complete"),
        *("--heartbeat", "none" if plan.heartbeat is None else str(plan.heartbeat)),
        *("--retry", "none"),  # the delays are the client's own
        *("--history", str(_HISTORY)),
    ]


def network_command(target: str, name: str, seed: int) -> list[str]:
    """Return what is given to `python` to start a network."""
    return [
        *("-m", "resilient_sse", "fault", "--json", "--stdin"),
        *("--target", target, "--profile", name, "--seed", str(seed)),
    ]


# --- What is read while it goes on

_READINGS = 400
_SHORTEST_INTERVAL = 0.5
_TELLING_SECONDS = 0.1
_GROWTH_SECONDS = 300.0
"""Memory watched for less than this shows the allocator's steps, not a slope."""
_TEN_MINUTES = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run of *users* streams has come after so many *seconds*."""

    seconds: float
    users: int
    open: int  # have an open connection
    reconnecting: int
    ended: int
    received: int
    expected: int | None  # messages in all, or `None` if nobody knows
    cpu: float | None  # the share of one core used since the last report
    resident: int  # bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What this process, without its children, has used by a moment: seconds, CPU seconds, resident bytes."""

    at: float
    cpu: float
    resident: int
    received: int

    def share_since(self, earlier: Reading | None) -> float | None:
        """Return the share of one core used since *earlier*: 1.0 is one core all the time; `None` for no time."""
        if earlier is None or self.at <= earlier.at:
            return None
        return (self.cpu - earlier.cpu) / (self.at - earlier.at)


def growth(times: Sequence[float], levels: Sequence[float]) -> float | None:
    """Return the slope of *levels* in per cent for each ten minutes; `None` if watched for less than five."""
    if not times or times[-1] - times[0] < _GROWTH_SECONDS:
        return None
    slope = statistics.linear_regression(times, levels).slope
    return 100 * slope * _TEN_MINUTES / statistics.fmean(levels)


class Sampler:
    """Takes a reading now and then; *told* is given the progress with each."""

    def __init__(
        self, plan: LoadPlan, fleet: Fleet, processes: Processes, told: Callable[[Progress], None] | None
    ) -> None:
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - needs an extra

        self._memory = psutil.Process().memory_info
        self.first: Reading = self._read(0)
        self.last: Reading = self.first
        self.steady: tuple[Reading, Reading] | None = None  # first and latest while all streams were open
        self.peak: int = self.first.resident
        self.seen: array[int] = array("l")  # the connections at the server while all streams were open
        self.excess: int | None = None  # the most by which they exceeded the users and those reconnecting
        self.warm_at: array[float] = array("d")
        self.warm: array[float] = array("d")  # memory after the warm-up, while all streams were open
        self._plan = plan
        self._fleet = fleet
        self._processes = processes
        self._told = told

    async def run(self) -> None:
        """Take readings until cancelled."""
        began, interval = anyio.current_time(), max(self._plan.limit / _READINGS, _SHORTEST_INTERVAL)
        while True:
            await self._take(began)
            await anyio.sleep(interval)

    async def _take(self, began: float) -> None:
        plan, fleet = self._plan, self._fleet
        reconnecting = fleet.count("reconnecting")
        live = await self._processes.live() if fleet.steady else None
        steady = fleet.steady
        if live is not None and steady:
            # The server was asked at some moment in between.
            over = live - plan.users - max(reconnecting, fleet.count("reconnecting"))
            self.seen.append(live)
            self.excess = over if self.excess is None else max(self.excess, over)
        before, self.last = self.last, self._read(fleet.received)
        now, seconds = self.last, anyio.current_time() - began
        self.peak = max(self.peak, now.resident)
        if steady:
            self.steady = (now if self.steady is None else self.steady[0], now)
            if seconds >= plan.warming:
                self.warm_at.append(now.at)
                self.warm.append(now.resident)
        if self._told is not None:
            known = plan.target is None or plan.messages is not None
            self._told(
                Progress(
                    seconds=seconds,
                    users=plan.users,
                    open=fleet.count("open"),
                    reconnecting=fleet.count("reconnecting"),
                    ended=fleet.count("ended"),
                    received=fleet.received,
                    expected=plan.users * plan.messages_each if known else None,
                    cpu=now.share_since(before) if now.at - before.at > _TELLING_SECONDS else None,
                    resident=now.resident,
                )
            )

    def _read(self, received: int) -> Reading:
        return Reading(time.perf_counter(), time.process_time(), self._memory().rss, received)


# --- The run

_FEW = 5


async def run_load(plan: LoadPlan, *, told: Callable[[Progress], None] | None = None) -> LoadResult:
    """
    Put a load on a server, and measure; *told* is given the progress, up to twice a second.

    The streams run in this process, the server and the networks in processes of their own, so that what is
    measured of this process is the client.  It ends by itself, in the worst case after the plan's deadline.

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
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    began = time.perf_counter()
    dead: BaseException | None = None
    async with open_processes(plan, seed=seed) as processes:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        fleet = Fleet(plan, processes.urls)
        sampler = Sampler(plan, fleet, processes, told)

        async def disturb() -> None:
            """Reset connections at moments independent of each other (a Poisson process), as many users do."""
            names, weights = zip(*((part.profile, part.weight) for part in plan.profiles), strict=True)
            await fleet.all_open.wait()
            while plan.drops:
                await anyio.sleep(random.expovariate(plan.drops / 60))
                if fleet.first_end is not None:
                    return
                with suppress(ChildError):  # a network that has died ends the run by itself
                    await processes.networks[random.choices(names, weights)[0]].send(_RESET)

        # A server of the user's own has no end that is known.
        endless = plan.target is not None and plan.messages is None
        try:
            with anyio.move_on_after(plan.limit - (time.perf_counter() - began)):
                async with anyio.create_task_group() as tasks:
                    for work in (sampler.run, disturb, *(one.watch for one in processes.children)):
                        tasks.start_soon(work)
                    with anyio.move_on_after(plan.ramping + plan.sending if endless else None):
                        await fleet.run()
                    tasks.cancel_scope.cancel()
        except* ChildError as group:
            dead = group.exceptions[0]
        for follower in fleet.followers:  # what is not finished will not be
            follower.end(anyio.current_time())
    if dead is not None:
        raise dead
    result = _result(replace(plan, seed=seed), fleet, sampler, processes, began=began, load=load)
    return replace(result, gates=judge(result))


def _result(
    plan: LoadPlan, fleet: Fleet, sampler: Sampler, processes: Processes, *, began: float, load: float | None
) -> LoadResult:
    followers = fleet.followers
    failures = [follower.failure for follower in followers if follower.failure is not None]
    lifetime = math.fsum(follower.lifetime for follower in followers)
    received = sum(follower.received for follower in followers)
    sent = None
    if plan.target is None:
        # What the server says it sent, but never less than it was to send: it may have lost some itself.
        sent = sum(max(each.stats.declared_total or 0, plan.messages_each) for each in followers)
        sent += (plan.users - len(followers)) * plan.messages_each
    elif plan.messages is not None:
        sent = plan.users * plan.messages
    first, last = sampler.steady or (sampler.first, sampler.first)
    seconds, steady = last.at - first.at, last.received - first.received
    return LoadResult(
        setup=plan,
        machine=Machine(  # without its name
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            backend="asyncio" if on_asyncio() else "trio",
            load=load,
        ),
        seconds=time.perf_counter() - began,
        streams=Streams(
            started=len(followers),
            completed=sum(follower.complete for follower in followers),
            failed=len(failures),
            unfinished=sum(not follower.complete and follower.failure is None for follower in followers),
            failures=tuple(failures[:_FEW]),
            crashes=fleet.crashes,
            availability=math.fsum(each.connected for each in followers) / lifetime if lifetime else None,
        ),
        delivery=Delivery(
            sent=sent,
            received=received,
            completion=received / sent if sent else None,
            per_second=steady / seconds if seconds else None,
            repeated=sum(follower.stats.duplicates for follower in followers),
            gaps=sum(follower.stats.gaps for follower in followers),
        ),
        times=Times(**{name: Spread.of(values) for name, values in fleet.times.items()}),
        process=Process(
            cpu=last.share_since(first),
            cpu_overall=sampler.last.share_since(sampler.first),
            cpu_per_event=(last.cpu - first.cpu) / steady if steady else None,
            resident_before=sampler.first.resident,
            resident_peak=sampler.peak,
            resident_per_stream=(sampler.peak - sampler.first.resident) // plan.users,
            growth=growth(sampler.warm_at, sampler.warm),
            watched=sampler.warm_at[-1] - sampler.warm_at[0] if sampler.warm_at else 0.0,
        ),
        connections=Connections(
            mean=statistics.fmean(sampler.seen) if sampler.seen else None,
            most=max(sampler.seen, default=None),
            excess=sampler.excess,
            opened=sum(follower.stats.connections for follower in followers),
            resets=sum(
                each.last.get("counters", {}).get("resets", 0) for each in processes.networks.values()
            ),
        ),
    )
