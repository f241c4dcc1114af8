"""
Real sockets and real time: servers on free ports of the loopback interface, stopped by the test they serve.

`E2E_OVER=httpx` runs the same tests over httpx's own transport, as streams with a client of the caller's do, and
`E2E_OVER=httpx2` over a client of httpx2.
"""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
import trustme

from resilient_sse._client.transport.own import _user_agent, tls_context
from tests.e2e.raw_server import RawServer
from tests.e2e.real_site import Site
from tests.e2e.watching import Diary


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run async tests on both backends, on their own clocks."""
    return request.param


OVER = os.environ.get("E2E_OVER")
OVER_HTTPX = OVER in ("httpx", "httpx2")


def httpx2_client(cookies: Any) -> Any:
    """Make a client of httpx2 for one connection, as `own_client` does of httpx."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    client = httpx2.AsyncClient(verify=tls_context(), limits=limits, headers={"User-Agent": _user_agent()})
    client.cookies.jar = cookies.jar
    return client


@pytest.fixture(autouse=True)
def over() -> Iterator[None]:
    """Choose the transport of streams that are given no client."""
    with pytest.MonkeyPatch.context() as patch:
        if OVER == "httpx2":
            patch.setattr("resilient_sse._client.transport.opener.own_client", httpx2_client)
        if OVER == "httpx":
            patch.setattr("resilient_sse._client.transport.own.is_patched", lambda: True)
        yield


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """Give a function that starts a `RawServer`."""
    with ExitStack() as servers:
        yield lambda *behaviours, **options: servers.enter_context(RawServer(*behaviours, **options))


@pytest.fixture
def open_site() -> Iterator[Callable[..., Site]]:
    """Give a function that starts a `Site`."""
    with ExitStack() as sites:
        yield lambda **options: sites.enter_context(Site(**options))


@pytest.fixture
def diary() -> Diary:
    """Give something that keeps what a stream says."""
    return Diary()


class Trust:
    """An authority that no system knows, servers it vouches for, and clients that believe it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.client = ssl.create_default_context()
        self._authority.configure_trust(self.client)

    def server(self, name: str) -> ssl.SSLContext:
        """Give the context of a server with this name or address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def trust() -> Trust:
    """Give certificates, and somebody who believes them."""
    return Trust()
