"""A cancelled wait for an answer keeps its connection, but a probe must not keep its place."""

import gc
import threading

import anyio
import pytest

from resilient_sse import CircuitBreaker, CircuitState, ResilientStream, RetriesExhaustedError
from resilient_sse.testing import event
from tests.e2e.raw_server import Peer
from tests.e2e.watching import cut_when_sent, eventually

pytestmark = pytest.mark.own


def say_no(peer):
    """Close the connection without an answer."""


@pytest.mark.filterwarnings("ignore:unclosed")
@pytest.mark.parametrize("end", ["closed", "collected"])
async def test_it_is_given_back_when_the_stream_ends(serve, end):
    """R196: every end of a cancelled probe gives its place to the next; also if nobody holds its stream."""
    server, breaker = serve(say_no, Peer.hold), CircuitBreaker(failures=1, reset_after=0.05)
    with pytest.raises(RetriesExhaustedError):
        await anext(ResilientStream(server.url, breaker=breaker, max_retries=0))
    stream = ResilientStream(server.url, breaker=breaker)
    await cut_when_sent(stream, server)
    assert breaker.states == {server.origin: CircuitState.HALF_OPEN}
    if end == "closed":
        await stream.aclose()
    del stream
    is_open = {server.origin: CircuitState.OPEN}
    assert await eventually(lambda: gc.collect() is None or breaker.states == is_open, within=20)


async def test_a_request_that_is_under_way_is_not_held_back(serve):
    """Its answer may be there already; the circuit that others have opened meanwhile is for new attempts."""
    answered = threading.Event()

    def late(peer):
        answered.wait(20)
        peer.open()
        peer.chunk(event("late"))
        peer.hold()

    server = serve(late, say_no)
    breaker = CircuitBreaker(failures=1, reset_after=300)
    async with ResilientStream(server.url, breaker=breaker) as stream:
        await cut_when_sent(stream, server)
        with pytest.raises(RetriesExhaustedError):
            await anext(ResilientStream(server.url, breaker=breaker, max_retries=0))
        assert breaker.states == {server.origin: CircuitState.OPEN}
        answered.set()
        with anyio.fail_after(20):
            assert (await anext(stream)).data == "late"
