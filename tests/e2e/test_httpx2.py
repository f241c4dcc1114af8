"""Clients of httpx2, whose classes are not httpx's, and those that the packages of model vendors make (P58)."""

import importlib.util

import httpx2
import pytest

from resilient_sse import HandshakeError, ResilientStream, RetriesExhaustedError
from resilient_sse.testing import event
from tests.e2e.watching import QUICK, collect
from tests.skipping import skip_aloud

pytestmark = pytest.mark.own


def resumed(peer):
    """Send one event a connection, with an id beyond ASCII, and cut the chunk of the next."""
    number = len(peer.request.cursor or "")
    peer.open()
    peer.chunk(event(str(number), id="é" * (number + 1)))
    peer.send(b"20\r\ndata: ")
    peer.reset()


class Token(httpx2.Auth):
    """A flow of httpx2's."""

    def auth_flow(self, request):
        request.headers["Authorization"] = "Bearer token"
        yield request


async def test_a_client_of_httpx2(serve):
    """P58: it resumes, with its own auth, headers and cookies, and is never closed."""
    server = serve(resumed)
    async with httpx2.AsyncClient(headers={"X-Tenant": "north"}, auth=Token()) as client:
        stream = ResilientStream(
            server.url, client=client, headers=[("X-A", "1"), ("X-A", "2")], backoff=QUICK
        )
        assert await collect(stream, 3) == ["0", "1", "2"]
        assert not client.is_closed
    for peer in server.peers:
        assert peer.request.headers["x-tenant"] == "north"
        assert peer.request.headers["authorization"] == "Bearer token"
        assert peer.request.headers["accept-encoding"] == "identity"


async def test_errors_of_httpx2_are_ours(serve):
    """P58: a closed port is retried, and a request that cannot be sent is not."""
    async with httpx2.AsyncClient() as client:
        closed = ResilientStream("http://127.0.0.1:9/", client=client, max_retries=1, backoff=QUICK)
        with pytest.raises(RetriesExhaustedError) as caught:
            await anext(closed)
        assert isinstance(caught.value.__cause__.__cause__, httpx2.ConnectError)
        broken = ResilientStream(serve(resumed).url, client=client, headers=lambda: {"X-A": "a\nb"})
        with pytest.raises(HandshakeError, match="cannot be sent"):
            await anext(broken)


@pytest.mark.proof
@pytest.mark.ci
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_the_client_of_a_vendor(serve, vendor):
    """P58: the clients that the real packages make serve a stream, and their own requests beside it."""
    server = serve(resumed)
    if importlib.util.find_spec(vendor) is None:
        skip_aloud(f"{vendor} is not installed: the dependency group vendors has it")
    kind = {"openai": "AsyncOpenAI", "anthropic": "AsyncAnthropic"}[vendor]
    async with getattr(importlib.import_module(vendor), kind)(api_key="none", base_url=server.url) as made:
        stream = ResilientStream(server.url, client=made._client, backoff=QUICK)
        assert await collect(stream, 3) == ["0", "1", "2"]
        assert not made.is_closed()
