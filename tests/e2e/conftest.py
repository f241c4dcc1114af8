"""
Real sockets and real time: servers on free ports of the loopback interface, stopped by the test they serve.

All of it runs over our own transport.  What is marked `both` runs over httpx's too, as streams with a client of
the caller's do; the rest runs so as a proof: `pytest -m proof tests/e2e`.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trustme

from tests.e2e.raw_server import RawServer
from tests.e2e.real_site import Site
from tests.e2e.watching import Diary


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run async tests on both backends, on their own clocks."""
    return request.param


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test over both transports, but for what is about one of them (`own`)."""
    if metafunc.definition.get_closest_marker("own") is None:
        marks = [] if metafunc.definition.get_closest_marker("both") else [pytest.mark.proof]
        metafunc.parametrize("over", ["own", pytest.param("httpx", marks=marks)], indirect=True)


@pytest.fixture(autouse=True)
def over(request: pytest.FixtureRequest) -> Iterator[None]:
    """Choose the transport of streams that are given no client."""
    with pytest.MonkeyPatch.context() as patch:
        if getattr(request, "param", "own") == "httpx":
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
