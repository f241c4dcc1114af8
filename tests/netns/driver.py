"""
The production scenarios in network namespaces: the third form, after virtual time and the fault proxy.

Latency is what these stages cannot give (see `netem`); rates, loss, silence, refusals and resets are the
kernel's own.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from resilient_sse.testing.proxy.profiles import profile as profile_of
from resilient_sse.testing.scenarios.real import Director, ServerSide, reference_server
from resilient_sse.testing.scenarios.stage import Form
from resilient_sse.testing.server import OpenServer, RunningServer
from tests.netns.client import client_in
from tests.netns.network import SERVER, open_network

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from resilient_sse.testing.proxy.profiles import Profile
    from resilient_sse.testing.scenarios.log import RunLog
    from resilient_sse.testing.scenarios.stage import Setup
    from resilient_sse.testing.server import ReferenceServer
    from tests.netns.network import Network

__all__ = ["NetnsDriver", "NetnsStage"]

_PORT = 8000
_LINKS = ("wifi", "mobile")


class NetnsStage(ServerSide):
    """
    The reference server in one namespace, and the way to it from another; see `Stage`.

    Args:
        log: Where the server's side is noted.
        network: The namespaces.
        server: The server, which listens in one.
        director: What does wrong on the server's side.
        client: What connects from the other.
    """

    def __init__(
        self,
        log: RunLog,
        network: Network,
        server: OpenServer,
        director: Director,
        client: httpx.AsyncClient,
    ) -> None:
        super().__init__(log, server, director, client)
        self._network = network

    async def use(self, profile: str) -> None:
        """Go over to the other link, which is of this profile, and take the address along."""
        (other,) = (link for link in _LINKS if link != self._network.link)
        await to_thread.run_sync(_shape, self._network, profile_of(profile))
        await to_thread.run_sync(partial(self._network.handoff, other, same_address=True))

    async def refuse(self) -> None:
        """Accept no new connection."""
        await to_thread.run_sync(self._network.refuse)

    async def accept(self) -> None:
        """Accept connections again."""
        await to_thread.run_sync(self._network.accept)

    async def black_hole(self) -> None:
        """Let nothing pass and nothing end."""
        await to_thread.run_sync(self._network.cut)

    async def flow(self) -> None:
        """Let everything pass again."""
        await to_thread.run_sync(self._network.mend)

    async def reset(self) -> int:
        """Reset every connection, from the server's side."""
        return await to_thread.run_sync(self._network.server.abort_connections, SERVER)

    async def close(self) -> int:
        """End every response in good form."""
        return await to_thread.run_sync(lambda: self._server.running.call(_end_streams(self._server.server)))


class NetnsDriver:
    """
    Makes stages in namespaces of their own.

    Args:
        seed: Where the server's randomness starts; the kernel's cannot be told.
    """

    form: Form = Form.REAL

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def now(self) -> float:
        """Return the time of the clock that the server's thread and the client share."""
        return time.monotonic()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[NetnsStage]:
        """
        Set up a network and a server for the time of a block.

        Raises:
            NetnsUnavailableError: There can be no network here; the error says why.
        """
        director = Director(log=log)
        server = reference_server(setup, director)
        spaces = ExitStack()
        try:
            network, running = await to_thread.run_sync(_open, spaces, server, profile_of(setup.profile))
            async with client_in(network.client) as client:
                try:
                    yield NetnsStage(log, network, OpenServer(running), director, client)
                finally:
                    live, drops = server.max_live_per_user, network.dropped()
                    log.add("network", part=setup.part, drops=drops, max_live=live)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(spaces.close)


def _open(spaces: ExitStack, server: ReferenceServer, wanted: Profile) -> tuple[Network, RunningServer]:
    network = spaces.enter_context(open_network(*_LINKS))
    _shape(network, wanted)
    # Its thread begins in the namespace of the one that starts it, and stays there.
    running = network.server.inside(lambda: RunningServer(server, SERVER, _PORT))
    spaces.callback(running.stop)
    return network, running


def _shape(network: Network, wanted: Profile) -> None:
    """Give every link what a profile has and a kernel can do."""
    network.rate(wanted.down_kbps, direction="down")
    network.rate(wanted.up_kbps, direction="up")
    network.loss(wanted.loss)


async def _end_streams(server: ReferenceServer) -> int:
    ended = server.live
    server.end_streams()
    server.accepting = True
    return ended
