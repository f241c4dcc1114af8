"""
The production scenarios in network namespaces: the third form, after virtual time and the fault proxy.

Latency is what these stages cannot give (see `netem`); rates, loss, silence, refusals and resets are the
kernel's own.
"""

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import anyio
import httpcore
import httpx
from anyio import to_thread
from anyio.abc import SocketStream
from httpcore._backends.anyio import AnyIOStream
from httpcore._exceptions import map_exceptions

from resilient_sse.testing.memory_server import Orders
from resilient_sse.testing.proxy.toxics import profile as profile_of
from resilient_sse.testing.scenarios.real import Director, RealDriver, RealStage, reference_server
from resilient_sse.testing.server import RunningServer
from tests.netns.network import SERVER, open_network

_PORT = 8000
_LINKS = ("wifi", "mobile")


class Stage(RealStage):
    """The reference server in one namespace, and the way to it from another; see `scenarios.stage.Stage`."""

    def __init__(self, log, network, running, director, client=None):
        super().__init__(log, running, director, None)
        self.network = network
        self.client = client

    def url(self, stream):
        """Return the address of *stream*."""
        return f"{self._server.url}?user_id={stream}"

    async def use(self, profile):
        """Go over to the other link, which is of this profile, and take the address along."""
        (other,) = (link for link in _LINKS if link != self.network.link)
        await to_thread.run_sync(_shape, self.network, profile)
        await to_thread.run_sync(partial(self.network.handoff, other, same_address=True))

    async def refuse(self):
        """Accept no new connection."""
        await to_thread.run_sync(partial(self.network.fault, refuse=True))

    async def accept(self):
        """Accept connections again."""
        await to_thread.run_sync(partial(self.network.fault, refuse=False))

    async def black_hole(self):
        """Let nothing pass and nothing end."""
        await to_thread.run_sync(partial(self.network.fault, cut=True))

    async def flow(self):
        """Let everything pass again."""
        await to_thread.run_sync(partial(self.network.fault, cut=False))

    async def reset(self):
        """Reset every connection, from the server's side."""
        return await to_thread.run_sync(self.network.server.abort_connections, SERVER)

    async def close(self):
        """End every response in good form."""
        return await to_thread.run_sync(lambda: self._server.call(_end_streams(self._server.server)))


class Driver(RealDriver):
    """Makes stages in namespaces of their own; the seed is the server's, the kernel's cannot be told."""

    @asynccontextmanager
    async def stage(self, log, setup):
        """Set up a network and a server for the time of a block."""
        director = Director(orders=Orders(log.add))
        server = reference_server(setup, director)
        spaces = ExitStack()
        try:
            network, running = await to_thread.run_sync(serve, spaces, server, setup.profile)
            async with client_in(network.client) as client:
                try:
                    yield Stage(log, network, running, director, client)
                finally:
                    live, drops = server.max_live_per_user, sum(network.dropped())
                    log.add("network", part=setup.part, drops=drops, max_live=live)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(spaces.close)


def serve(spaces, server, profile="clean"):
    """Open a network with the server on its far side; *spaces* ends both."""
    network = spaces.enter_context(open_network(*_LINKS))
    _shape(network, profile)
    with network.server.entered():
        running = RunningServer(server, SERVER, _PORT)
    spaces.callback(running.stop)
    return network, running


def client_in(space):
    """Make an httpx client whose connections begin in a namespace, while the program that uses it does not."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(
        network_backend=_Inside(space), max_connections=None, max_keepalive_connections=0
    )
    return httpx.AsyncClient(transport=transport, trust_env=False)


class _Inside(httpcore.AsyncNetworkBackend):
    def __init__(self, space):
        self._space = space

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
        errors = {TimeoutError: httpcore.ConnectTimeout, OSError: httpcore.ConnectError}
        with map_exceptions(errors), ExitStack() as undo:
            with self._space.entered():
                sock = undo.enter_context(socket.socket())
            sock.setblocking(False)
            with anyio.fail_after(timeout):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
            stream = AnyIOStream(await SocketStream.from_socket(sock))
            undo.pop_all()
        return stream


def _shape(network, profile):
    """Give every link what a profile has and a kernel can do."""
    wanted = profile_of(profile)
    if wanted.down_kbps and wanted.up_kbps:
        network.rate(wanted.down_kbps, wanted.up_kbps)
    network.fault(loss=wanted.loss)


async def _end_streams(server):
    ended = server.live
    server.end_streams()
    server.accepting = True
    return ended
