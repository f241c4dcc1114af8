"""Positions saved now and then: what comes again after a crash is bounded, and a clean end saves the rest."""

import anyio
import pytest

from resilient_sse.testing import Reply, pause
from tests.client.support import at_once, dropped, make, numbered, take


async def consume(stream, count, *, fails=False):
    """Take events in a block, and leave it cleanly or not."""
    got = []
    async with stream:
        async for taken in stream:
            got.append(int(taken.id))
            if len(got) == count:
                if fails:
                    raise ZeroDivisionError
                break
    return got


@pytest.mark.parametrize("at_once", [True, False], ids=["one read", "a read each"])
async def test_so_many_events(script, at_once, store):
    """Every third is saved, and the last at the end of the block (P21, P55)."""
    events = numbered(*range(1, 9))
    script.respond(b"".join(events) if at_once else events[0], *([] if at_once else events[1:])).hang()
    assert await consume(make(script, checkpoint=store, commit_every=3), 8) == [*range(1, 9)]
    assert store.saved == ["3", "6", "8"]


async def test_a_crash(script, store):
    """What was not saved comes again, and nothing else (P55)."""
    script.respond(*numbered(*range(1, 10))).hang()
    with pytest.raises(ZeroDivisionError):
        await consume(make(script, checkpoint=store, commit_every=3), 6, fails=True)
    assert store.saved == ["3"]
    script.respond(*numbered(*range(4, 10))).hang()
    assert await consume(make(script, checkpoint=store, commit_every=3), 2) == [4, 5]
    assert script.requests[-1].last_event_id == "3"


async def test_the_end_of_the_stream(script, store):
    """It saves the rest, also without a block."""
    script.play(dropped(1, 2, 3, 4), Reply(status=204, content_type=None))
    stream = make(script, checkpoint=store, commit_every=100)
    assert [int(taken.id) async for taken in stream] == [1, 2, 3, 4]
    assert store.saved == ["4"]


async def test_so_many_seconds(script, store):
    """After them the next question saves."""
    events = [piece for each in numbered(*range(1, 7)) for piece in (each, pause(4))]
    script.respond(*events).hang()
    stream = make(script, checkpoint=store, commit_every=1000, commit_interval=10)
    await take(stream, 6)
    assert store.saved == ["4"]
    await stream.aclose()


async def test_so_many_seconds_within_a_read(script, store):
    """Also where one read has brought all of them."""
    script.respond(at_once(*range(1, 7))).hang()
    stream = make(script, checkpoint=store, commit_every=1000, commit_interval=10)
    for _ in range(6):
        await anext(stream)
        await anyio.sleep(4)
    assert store.saved == ["4"]
    await stream.aclose()
