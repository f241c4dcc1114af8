"""How long replay and resume take over 4G (R207), on the loopback interface through the fault proxy."""

import anyio
import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing.background import proxying
from resilient_sse.testing.proxy import profile
from resilient_sse.testing.server import EVENT_TYPE, Close, Faults, payloads
from tests.e2e.watching import QUICK

pytestmark = pytest.mark.e2e

LIMIT = 0.5
TRIES = 5
ROUND_TRIP = profile("4g").latency  # paid on the way down only


async def quickest(measure):
    """Return the shortest of some times, in seconds: a busy machine only ever adds to it."""
    times = [await measure() for _ in range(TRIES)]
    print(f"{min(times) * 1000:.0f} to {max(times) * 1000:.0f} ms of {LIMIT * 1000:.0f}")  # noqa: T201 - `pytest -s`
    return min(times)


async def test_replay(start):
    """R207, R202: from before the connection is made to the last of 50 replayed events in less than 500 ms."""
    running = start(heartbeat=None)
    for data in payloads(50):
        running.publish(data, event=EVENT_TYPE)

    async def measure():
        began = anyio.current_time()
        async with ResilientStream(proxy.url, last_event_id="0") as stream:
            ids = [(await anext(stream)).id for _ in range(50)]
        took = anyio.current_time() - began
        assert ids == [str(number) for number in range(1, 51)]
        return took

    with proxying(running.url, profile="4g") as proxy:
        assert ROUND_TRIP <= await quickest(measure) < LIMIT


async def test_resume(start):
    """R207: from the loss, the delay before the next attempt included, to the last of the 50 that were missed."""
    faults = Faults()
    running = start(heartbeat=None, faults=faults)
    for data in payloads(60):
        running.publish(data, event=EVENT_TYPE)

    async def measure():
        losses = []
        faults.add(Close(after=10))
        stream = ResilientStream(
            proxy.url,
            last_event_id="0",
            backoff=QUICK,
            on_state_change=lambda change: losses.append(anyio.current_time()) if change.reason else None,
        )
        async with stream:
            ids = [(await anext(stream)).id for _ in range(60)]
        took = anyio.current_time() - losses[0]
        assert ids == [str(number) for number in range(1, 61)]
        assert (stream.stats.reconnects, running.server.requests[-1].cursor) == (1, 10)
        return took

    with proxying(running.url, profile="4g") as proxy:
        assert ROUND_TRIP <= await quickest(measure) < LIMIT
