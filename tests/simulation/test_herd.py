"""The herd: a hundred streams lose their server in one moment, and must not come back in one."""

from collections import Counter
from dataclasses import replace
from random import Random

import anyio
import pytest

from resilient_sse import Backoff, ResilientStream
from resilient_sse.testing import Refusal, Reply, Script, comment, event, pause, run_in_virtual_time
from tests.simulation.run import quiet

CLIENTS, DOWN_AT, DOWN_FOR = 100, 1.0, 20.0
URL = "https://herd.example/stream"


def herd(backoff, retry_after=None, backend="asyncio"):
    """Return every delay, by attempt, and when each stream was back, in seconds since its server was."""
    delays, back, sources, script = {}, [], Random(7), Script()

    def answer(request):
        if request.at < DOWN_AT:
            return Reply(event("first", id="1"), pause(DOWN_AT - request.at), comment()).drop()
        if request.at >= DOWN_AT + DOWN_FOR:
            back.append(request.at - DOWN_AT - DOWN_FOR)
            return Reply(event("back", id="2", event="done"))
        if retry_after is None:
            return Refusal()
        return Reply(status=503, headers={"Retry-After": str(retry_after)}, content_type="text/plain")

    def told(change):
        if change.delay is not None:
            delays.setdefault(change.attempt, []).append(change.delay)

    async def one(client):
        jitter = replace(backoff, random=Random(sources.random()).random)
        options = {"max_retries": None, "until": "done", "on_state_change": told}
        async with ResilientStream(URL, client=client, backoff=jitter, **options) as stream:
            assert [each.data async for each in stream] == ["first", "back"]

    async def all_of_them():
        async with script.client() as client, anyio.create_task_group() as tasks:
            for _ in range(CLIENTS):
                tasks.start_soon(one, client)

    script.always(answer)
    with quiet():
        run_in_virtual_time(all_of_them, backend=backend)
    return delays, back


def peak(moments):
    """Return the share of *moments* that falls into the fullest slot of 10 ms."""
    slots = Counter(int(moment * 100) for moment in moments)
    return max(slots.values()) / slots.total()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.slow
def test_streams_come_back_one_by_one(backend):
    """Over 80 of 100 delays differ by 0.1 ms, no 10 ms are crowded, all are back within 5 s (R59-R61, R177)."""
    delays, back = herd(Backoff(), backend=backend)

    assert len(back) == CLIENTS
    assert max(back) <= 5.0
    assert all(len({round(delay, 4) for delay in each}) > 80 for each in delays.values())
    assert all(peak(each) < 0.25 for each in (*delays.values(), back))


def test_without_jitter_all_come_at_once():
    """The test can fail: this is the herd that jitter prevents."""
    delays, back = herd(Backoff(jitter=0))

    assert {peak(each) for each in (*delays.values(), back)} == {1.0}


def test_retry_after_is_heeded_and_does_not_gather_the_herd():
    """A server that says for how long it is down is not asked before, nor by all in one moment."""
    delays, back = herd(Backoff(), retry_after=8)

    assert all(min(each) >= 8.0 and peak(each) < 0.25 for attempt, each in delays.items() if attempt > 1)
    assert len(back) == CLIENTS
