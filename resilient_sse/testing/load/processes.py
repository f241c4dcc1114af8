"""The processes of a run: the reference server and the networks before it, or a server of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from resilient_sse.testing.children import Child, ChildError, child
from resilient_sse.testing.extra import require
from resilient_sse.testing.proxy import profile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from resilient_sse.testing.load.plan import LoadPlan

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
    """
    The process may not open as many files as the streams need.

    Args:
        needed: How many are needed.
        allowed: How many the hard limit allows.
    """

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(needed, allowed)
        self.needed = needed
        self.allowed = allowed

    def __str__(self) -> str:
        return (
            f"so many streams need {self.needed} open files, and the limit is {self.allowed}; "
            f"raise it with 'ulimit -n {self.needed}', or take fewer users"
        )


def allow_open_files(connections: int) -> int:
    """
    Allow *connections* sockets to be open at once, and return how many files that needs, with a reserve.

    The soft limit is raised up to the hard one, and children inherit it; `OpenFilesError` if that is not enough.
    """
    needed = connections + _RESERVE
    if resource is None:  # pragma: no cover - Windows
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OpenFilesError(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else needed, hard))
    return needed


@dataclass(frozen=True, slots=True)
class Processes:
    """
    What the streams of a run connect to.

    Attributes:
        urls: The address for each user, in the order of users.
        stats: Where the server tells its figures, if it does.
        http: By which it is asked.
        networks: The process of each network, by the name of its profile.
    """

    urls: Sequence[str]
    stats: str = ""
    http: httpx.AsyncClient | None = None
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

    async def reset(self, name: str) -> None:
        """Reset a connection on the network called *name*; `ChildError` if its process is gone."""
        await self.networks[name].send(_RESET)

    @property
    def resets(self) -> int:
        """How many connections were reset; known once the networks have ended."""
        return sum(network.last.get("counters", {}).get("resets", 0) for network in self.networks.values())


def check(plan: LoadPlan) -> None:
    """
    Find out what keeps *plan* from being carried out here, before anything is started.

    Raises:
        MissingExtraError: The server, or what measures, is not installed.
        ValueError: A profile is unknown.
    """
    for part in plan.profiles if plan.proxy else ():
        profile(part.profile)
    require("the load run", "psutil", server=plan.target is None)


@asynccontextmanager
async def open_processes(plan: LoadPlan, *, seed: int) -> AsyncGenerator[Processes]:
    """Start what *plan* needs, for the time of the block; `ChildError` if a process does not start, or dies."""
    users = range(1, plan.users + 1)
    if plan.target is not None:
        yield Processes([plan.target.replace("{user}", str(user)) for user in users])
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(child("server", server_command(plan)))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=_STATS_SECONDS))
        if "url" not in server.hello:
            raise ChildError("server", "did not say where it is")
        url: str = server.hello["url"]
        address = urlsplit(url)
        ports: dict[str, int] = {}
        networks: dict[str, Child] = {}
        for number, part in enumerate(plan.profiles if plan.proxy else ()):
            command = network_command(address.netloc, part.profile, seed + number)
            network = await stack.enter_async_context(child("network", command))
            networks[part.profile] = network
            ports[part.profile] = network.hello["port"]
        through = [ports.get(name, address.port) for name in plan.assignment()]
        urls = [
            address._replace(netloc=f"{address.hostname}:{port}", query=f"user_id=user-{user}").geturl()
            for port, user in zip(through, users, strict=True)
        ]
        stats = address._replace(path="/api/v1/stats", query="").geturl()
        yield Processes(urls, stats, http, networks)


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
