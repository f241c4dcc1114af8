"""Silence: noticed, announced, ended, and never mistaken."""

import time
import zlib

import anyio
import anyio.lowlevel
import pytest

from resilient_sse import StreamState
from resilient_sse.testing import Script, event
from tests.client.support import Record, make, numbered, take


async def test_a_callback_about_waiting_is_not_cut_short_by_the_stall(script):
    """An async callback of WAITING comes to its end even if it takes longer than the silence may last (R82)."""
    script.respond(*numbered(1)).hang()
    script.respond(*numbered(2)).hang()
    record = Record()
    ended = []

    async def slow(change):
        if change.new is StreamState.WAITING:
            await anyio.sleep(20)
            ended.append(anyio.current_time())

    async with make(script, on_state_change=record) as stream:
        stream.on_state_change(slow)
        await take(stream, 2)
    assert ended == [45]
    assert record.path[:4] == ["connected", "waiting", "reconnecting", "connected"]


@pytest.mark.parametrize("unit", [b":\n", b"\n", b"id: 1\n\n"], ids=["comments", "blank-lines", "ids"])
@pytest.mark.slow
async def test_a_flood_of_nothing_leaves_the_event_loop_alive(unit):
    """A small compressed body of endless comments does not keep other tasks from running (threat: bomb)."""
    script = Script()
    flood = zlib.compress(unit * 500_000 + event("at last"))
    script.respond(flood, headers={"Content-Encoding": "deflate"}).hang()
    pauses = []

    async def heartbeat() -> None:
        last = time.perf_counter()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.perf_counter()
            pauses.append(now - last)
            last = now

    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat)
        async with make(script) as stream:
            assert (await anext(stream)).data == "at last"
        group.cancel_scope.cancel()
    assert len(pauses) > 10
