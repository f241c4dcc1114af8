"""A load run: the processes that it takes, what is read of it, and its result."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from random import Random, getrandbits
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
    LoadDelivery,
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


def check(plan: LoadPlan) -> None:
    """
    Find out what keeps *plan* from being carried out here, before anything is started.

    `MissingExtraError`: the server, or what measures, is not installed; `ValueError`: a profile is unknown.
    """
    for part in plan.profiles if plan.proxy else ():
        profile(part.profile)
    require("the load run", "psutil", server=plan.target is None)


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
_GROWTH_SECONDS = 300.0
"""Memory watched for less than this shows the allocator's steps, not a slope."""
_TEN_MINUTES = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run of *users* streams has come after so many *seconds*, and what its process has used for it."""

    seconds: float
    users: int
    open: int  # have an open connection
    reconnecting: int
    ended: int
    received: int
    expected: int | None  # messages in all, or `None` if nobody knows
    cpu: float | None  # the share of one core used since the last report
    resident: int  # bytes
    cpu_seconds: float = 0.0  # used by this process, without its children, since it began
    steady: bool = False  # whether every stream has had a connection, and none has ended
    live: int | None = None  # connections that the server sees; asked while all is steady

    def share_since(self, earlier: Progress) -> float | None:
        """Return the share of one core used since *earlier*: 1.0 is one core all the time; `None` for no time."""
        seconds = self.seconds - earlier.seconds
        return (self.cpu_seconds - earlier.cpu_seconds) / seconds if seconds else None


def growth(times: Sequence[float], levels: Sequence[float]) -> float | None:
    """Return the slope of *levels* in per cent for each ten minutes; `None` if watched for less than five."""
    if not times or times[-1] - times[0] < _GROWTH_SECONDS:
        return None
    slope = statistics.linear_regression(times, levels).slope
    return 100 * slope * _TEN_MINUTES / statistics.fmean(levels)


class Running:
    """A run of *plan* that goes on: its processes, its streams, and what was read of them."""

    def __init__(self, plan: LoadPlan, told: Callable[[Progress], None] | None = None) -> None:
        self.plan = plan
        self.children: list[Child] = []
        self.networks: dict[str, Child] = {}  # of the children, by their profiles
        self.fleet: Fleet = Fleet(plan)
        self.readings: list[Progress] = []
        self._told = told
        self._began = time.perf_counter()
        self._server: httpx.AsyncClient | None = None  # asks it, if it is ours

    @asynccontextmanager
    async def processes(self) -> AsyncGenerator[list[str]]:
        """Start what the plan needs, and give the addresses of the users, in their order."""
        plan, users = self.plan, range(1, self.plan.users + 1)
        if plan.target is not None:
            yield [plan.target.replace("{user}", str(user)) for user in users]
            return
        async with AsyncExitStack() as stack:

            async def started(name: str, command: Sequence[str]) -> Child:
                self.children.append(await stack.enter_async_context(child(name, command)))
                return self.children[-1]

            server = (await started("server", server_command(plan))).told
            http = httpx.AsyncClient(base_url=server["base_url"], trust_env=False, timeout=_STATS_SECONDS)
            self._server = await stack.enter_async_context(http)
            url = urlsplit(str(server["url"]))
            for number, part in enumerate(plan.profiles if plan.proxy else ()):
                command = network_command(url.netloc, part.profile, (plan.seed or 0) + number)
                self.networks[part.profile] = await started("network", command)
            ports = {name: network.told["port"] for name, network in self.networks.items()}
            places = [f"{url.hostname}:{ports.get(name, url.port)}" for name in plan.assignment()]
            yield [
                url._replace(netloc=place, query=f"user_id=user-{user}").geturl()
                for place, user in zip(places, users, strict=True)
            ]

    async def live(self) -> int | None:
        """Ask the server how many streams are connected; `None` if it does not say."""
        if self._server is None:
            return None
        try:
            return int((await self._server.get("/api/v1/stats")).json()["live"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None

    async def read_all(self) -> None:
        """Read now and then how far it is, and tell it, until cancelled."""
        while True:
            await anyio.sleep(max(self.plan.limit / _READINGS, _SHORTEST_INTERVAL))
            reconnecting = self.fleet.count("reconnecting")
            live = await self.live() if self.fleet.steady else None
            self.read(reconnecting, live)
            if self._told is not None:
                self._told(self.readings[-1])

    def read(self, reconnecting: int = 0, live: int | None = None) -> None:
        """Read how far it is; so many were *reconnecting* just before the server said how many were *live*."""
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - needs an extra

        plan, fleet = self.plan, self.fleet
        known = plan.target is None or plan.messages is not None
        now = Progress(
            seconds=time.perf_counter() - self._began,
            users=plan.users,
            open=fleet.count("open"),
            reconnecting=max(reconnecting, fleet.count("reconnecting")),
            ended=fleet.count("ended"),
            received=fleet.received,
            expected=plan.users * plan.messages_each if known else None,
            cpu=None,
            cpu_seconds=time.process_time(),
            resident=psutil.Process().memory_info().rss,
            steady=fleet.steady,
            live=live if fleet.steady else None,
        )
        self.readings.append(replace(now, cpu=now.share_since(self.readings[-1])) if self.readings else now)

    async def disturb(self) -> None:
        """Reset connections at moments independent of each other (a Poisson process), as many users do."""
        plan, random = self.plan, Random(self.plan.seed)  # noqa: S311 - repeatable, not secret
        names, weights = zip(*((part.profile, part.weight) for part in plan.profiles), strict=True)
        await self.fleet.all_open.wait()
        while plan.drops:
            await anyio.sleep(random.expovariate(plan.drops / 60))
            if self.fleet.first_end is not None:
                return
            await self.networks[random.choices(names, weights)[0]].send(_RESET)


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
    plan = replace(plan, seed=getrandbits(32) if plan.seed is None else plan.seed)
    running, began = Running(plan, told), time.perf_counter()
    fleet = running.fleet
    dead: BaseException | None = None
    async with running.processes() as urls:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        running.read()
        # A server of the user's own has no end that is known.
        endless = plan.target is not None and plan.messages is None
        try:
            with anyio.move_on_after(plan.limit - (time.perf_counter() - began)):
                async with anyio.create_task_group() as tasks:
                    for work in (
                        running.read_all,
                        running.disturb,
                        *(each.watch for each in running.children),
                    ):
                        tasks.start_soon(work)
                    with anyio.move_on_after(plan.ramping + plan.sending if endless else None):
                        await fleet.run(urls)
                    tasks.cancel_scope.cancel()
        except* ChildError as group:
            dead = group.exceptions[0]
        for follower in fleet.followers:  # what is not finished will not be
            follower.end(anyio.current_time())
    if dead is not None:
        raise dead
    result = _result(running, seconds=time.perf_counter() - began, load=load)
    return replace(result, gates=judge(result))


def _result(running: Running, *, seconds: float, load: float | None) -> LoadResult:
    plan, fleet, readings = running.plan, running.fleet, running.readings
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
    before, peak = readings[0].resident, max(reading.resident for reading in readings)
    steady = [reading for reading in readings if reading.steady]
    first, last = (steady[0], steady[-1]) if steady else (readings[0], readings[0])
    watched, events = last.seconds - first.seconds, last.received - first.received
    seen = [(reading.live, reading.reconnecting) for reading in steady if reading.live is not None]
    warm = [reading for reading in steady if reading.seconds >= plan.warming]
    warm_at = [reading.seconds for reading in warm]
    return LoadResult(
        setup=plan,
        machine=Machine(  # without its name
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            backend="asyncio" if on_asyncio() else "trio",
            load=load,
        ),
        seconds=seconds,
        streams=Streams(
            started=len(followers),
            completed=sum(follower.complete for follower in followers),
            failed=len(failures),
            unfinished=sum(not follower.complete and follower.failure is None for follower in followers),
            failures=tuple(failures[:_FEW]),
            crashes=fleet.crashes,
            availability=math.fsum(each.connected for each in followers) / lifetime if lifetime else None,
        ),
        delivery=LoadDelivery(
            sent=sent,
            received=received,
            completion=received / sent if sent else None,
            per_second=events / watched if watched else None,
            repeated=sum(follower.stats.duplicates for follower in followers),
            gaps=sum(follower.stats.gaps for follower in followers),
        ),
        times=Times(**{name: Spread.of(values) for name, values in fleet.times.items()}),
        process=Process(
            cpu=last.share_since(first),
            cpu_overall=readings[-1].share_since(readings[0]),
            cpu_per_event=(last.cpu_seconds - first.cpu_seconds) / events if events else None,
            resident_before=before,
            resident_peak=peak,
            resident_per_stream=(peak - before) // plan.users,
            growth=growth(warm_at, [reading.resident for reading in warm]),
            watched=warm_at[-1] - warm_at[0] if warm else 0.0,
        ),
        connections=Connections(
            mean=statistics.fmean(live for live, _ in seen) if seen else None,
            most=max((live for live, _ in seen), default=None),
            excess=max((live - plan.users - reconnecting for live, reconnecting in seen), default=None),
            opened=sum(follower.stats.connections for follower in followers),
            resets=sum(each.told.get("counters", {}).get("resets", 0) for each in running.networks.values()),
        ),
    )
