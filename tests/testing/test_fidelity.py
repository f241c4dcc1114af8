"""The scripted server fails as a real one does: the same client, once on a script and once on a socket."""

import math

import anyio
import httpx
import pytest

from resilient_sse.testing import Refusal, Reply
from tests.e2e.raw_server import Peer, RawServer

pytestmark = pytest.mark.e2e

TIMEOUT = httpx.Timeout(1, connect=5)  # a busy machine needs a part of it for the answer
BEHAVIOURS = {
    "end": (Reply(b"hello").end(), Peer.end),
    "drop": (Reply(b"hello").drop(), Peer.reset),
    "cut": (Reply(b"hello").cut(), lambda peer: None),
    "silence": (Reply(b"hello").hang(), Peer.hold),
    "close": (Reply(b"hello").hang(), Peer.hold),
    "no-headers": (Reply(after=math.inf), Peer.hold),
    "refused": (Refusal(), None),
}


async def close_later(response):
    """Close a response while another task waits for its next chunk."""
    await anyio.sleep(0.02)
    await response.aclose()


async def experience(client, url, behaviour):
    """Return all that a client notices: chunks, and the error with its text."""
    seen = []
    try:
        async with client.stream("GET", url) as response, anyio.create_task_group() as group:
            async for chunk in response.aiter_raw():
                seen.append(chunk)
                if behaviour == "close":
                    group.start_soon(close_later, response)
    except* (httpx.ReadError, httpx.ConnectError) as group:
        seen += [type(error) for error in group.exceptions]  # their texts depend on the event loop
    except* httpx.HTTPError as group:
        seen += [(type(error), str(error)) for error in group.exceptions]
    return seen


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_a_client_cannot_tell_the_difference(script, behaviour):
    """Chunks, errors and their texts are those of httpx on a socket."""
    step, end = BEHAVIOURS[behaviour]
    script.play(step)
    async with script.client(timeout=TIMEOUT) as client:
        scripted = await experience(client, "http://host/", behaviour)

    def serve(peer):
        if behaviour != "no-headers":
            peer.open()
            peer.chunk(b"hello")
        end(peer)

    with RawServer(serve) as server:
        if end is None:
            server.stop()
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            real = await experience(client, server.url, behaviour)
    assert scripted == real
    script.closed_all()
