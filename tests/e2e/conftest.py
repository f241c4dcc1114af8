"""
Real sockets and real time: servers on free ports of the loopback interface, stopped by the test they serve.

All of it runs over our own transport.  What is marked `both` runs over httpx's too, as streams with a client of
the caller's do; the rest runs so, and all of it over a client of httpx2 and on uvloop, as a proof:
`pytest -m proof tests/e2e`.
"""

import ssl
import sys
from contextlib import ExitStack

import httpx2
import pytest
import trustme

from resilient_sse._client.transport.clients import _user_agent, tls_context
from tests.e2e.raw_server import RawServer

UVLOOP = pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop", marks=pytest.mark.proof)


@pytest.fixture(params=["asyncio", "trio", *([] if sys.platform == "win32" else [UVLOOP])])
def anyio_backend(request):
    """Run async tests on both backends, on their own clocks; and on the event loop that uvicorn brings."""
    return request.param


def pytest_generate_tests(metafunc):
    """Run each test over all transports, but for what is about one of them (`own`)."""
    own = pytest.param("own", marks=pytest.mark.ci)  # of the proofs
    both = metafunc.definition.get_closest_marker("both") is not None
    httpx = pytest.param("httpx", marks=[] if both else [pytest.mark.proof])
    httpx2 = pytest.param("httpx2", marks=[pytest.mark.proof, *([pytest.mark.ci] if both else [])])
    only = metafunc.definition.get_closest_marker("own") is not None
    metafunc.parametrize("over", [own] if only else [own, httpx, httpx2], indirect=True)


def httpx2_client(cookies, uds=None, unanswered=None, **_):
    """Make a client of httpx2 for one connection, as `own_client` does of httpx."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    options = {"verify": tls_context(), "limits": limits}
    if uds is not None:
        options = {"transport": httpx2.AsyncHTTPTransport(uds=uds)}
    client = httpx2.AsyncClient(**options, headers={"User-Agent": _user_agent()})
    if cookies is not None:
        client.cookies.jar = cookies.jar
    return client


@pytest.fixture(autouse=True)
def over(request):
    """Choose the transport of streams that are given no client."""
    name = getattr(request, "param", "own")
    with pytest.MonkeyPatch.context() as patch:
        if name == "httpx2":
            patch.setattr("resilient_sse._client.transport.opening.own_client", httpx2_client)
        if name == "httpx":
            patch.setattr("resilient_sse._client.transport.clients.is_patched", lambda: True)
        yield name


@pytest.fixture
def serve():
    """Give a function that starts a `RawServer`."""
    with ExitStack() as servers:
        yield lambda *behaviours, **options: servers.enter_context(RawServer(*behaviours, **options))


class Trust:
    """An authority that no system knows, servers it vouches for, and clients that believe it."""

    def __init__(self):
        self._authority = trustme.CA()
        self.client = ssl.create_default_context()
        self._authority.configure_trust(self.client)

    def server(self, name):
        """Give the context of a server with this name or address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def trust():
    """Give certificates, and somebody who believes them."""
    return Trust()
