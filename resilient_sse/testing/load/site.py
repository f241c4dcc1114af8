"""Where a run takes place: the reference server and the networks before it, or a server of the user's own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx

from resilient_sse.testing.children import Child, ChildError, child
from resilient_sse.testing.extra import require
from resilient_sse.testing.proxy import profile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from resilient_sse.testing.load.plan import LoadPlan

__all__ = ["Site", "check", "open_site"]

_STATS_SECONDS = 5.0
_HISTORY = 1000  # events of each user, a multiple of what is missed in the longest outage


class Site:
    """
    The place.

    Attributes:
        urls: The address for each user, in the order of users.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        stats: str | None = None,
        http: httpx.AsyncClient | None = None,
        network: Child | None = None,
    ) -> None:
        self.urls = urls
        self._stats = stats
        self._http = http
        self._network = network

    async def live(self) -> int | None:
        """Ask the server how many streams are connected; `None` if it does not say."""
        if self._http is None or self._stats is None:
            return None
        try:
            told: Any = (await self._http.get(self._stats)).json()
        except (httpx.HTTPError, ValueError):
            return None
        live: Any = cast("dict[str, Any]", told).get("live") if isinstance(told, dict) else None
        return live if isinstance(live, int) else None

    async def reset(self, name: str) -> None:
        """
        Reset a connection on the network called *name*.

        Raises:
            ChildError: The network's process is gone.
        """
        if self._network is not None:
            await self._network.send({"reset": name})

    @property
    def resets(self) -> int:
        """How many connections were reset, as the network has told so far."""
        told = self._network.last.get("resets", 0) if self._network is not None else 0
        return int(told)


def check(plan: LoadPlan) -> None:
    """
    Find out what keeps *plan* from being carried out here, before anything is started.

    Raises:
        MissingExtraError: The server is not installed.
        ValueError: A profile is unknown.
    """
    if plan.target is not None:
        return
    for part in plan.profiles if plan.proxy else ():
        profile(part.profile)
    require("the load run")


@asynccontextmanager
async def open_site(plan: LoadPlan, *, seed: int) -> AsyncGenerator[Site]:
    """
    Start what *plan* needs, for the time of the block.

    Raises:
        ChildError: A process did not start, or died.
    """
    if plan.target is not None:
        yield Site([plan.target.replace("{user}", str(user)) for user in range(1, plan.users + 1)])
        return
    async with (
        child("server", _server(plan)) as server,
        httpx.AsyncClient(trust_env=False, timeout=_STATS_SECONDS) as http,
    ):
        address = urlsplit(_url(server))
        stats = address._replace(path="/api/v1/stats", query="").geturl()
        if not plan.proxy:
            yield Site(_urls(address.geturl(), plan.users), stats=stats, http=http)
            return
        names = [part.profile for part in plan.profiles]
        async with child("network", _network(address.hostname, address.port, names, seed)) as network:
            ports: dict[str, int] = network.hello["ports"]
            through = {
                name: address._replace(netloc=f"{address.hostname}:{port}").geturl()
                for name, port in ports.items()
            }
            addresses = [through[name] for name in plan.assignment()]
            yield Site(
                [_with_user(url, user) for user, url in enumerate(addresses, start=1)],
                stats=stats,
                http=http,
                network=network,
            )


def _server(plan: LoadPlan) -> list[str]:
    return [
        *("-m", "resilient_sse", "serve", "--port", "0", "--json", "--stdin"),
        *("--users", str(plan.users)),
        *("--publish", str(plan.messages_each), "--rate", str(plan.rate), "--complete"),
        *("--heartbeat", "none" if plan.heartbeat is None else str(plan.heartbeat)),
        *("--retry", "none"),  # the delays are the client's own
        *("--history", str(_HISTORY)),
    ]


def _network(host: str | None, port: int | None, names: Sequence[str], seed: int) -> list[str]:
    return [
        *("-m", "resilient_sse.testing.load.network"),
        *("--host", str(host), "--port", str(port)),
        *("--profiles", ",".join(names), "--seed", str(seed)),
    ]


def _url(server: Child) -> str:
    url = server.hello.get("url")
    if not isinstance(url, str):
        raise ChildError("server", "did not say where it is")
    return url


def _urls(url: str, users: int) -> list[str]:
    return [_with_user(url, user) for user in range(1, users + 1)]


def _with_user(url: str, user: int) -> str:
    return f"{url}?user_id=user-{user}"
