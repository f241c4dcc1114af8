"""Connections cut by the client while bytes are arriving: the cut is told as what it is, and costs nothing."""

import time

import anyio
import pytest

from resilient_sse import Reason, ResilientStream, StreamState
from resilient_sse.testing import comment, event
from tests.e2e.watching import QUICK, each, eventually


def chatter(peer):
    """Send comments at a quick pace."""
    peer.open()
    for _ in range(10_000):
        peer.chunk(comment())
        time.sleep(0.001)


def count_on(peer):
    """Send numbered events at a quick pace, from where the client has got to."""
    peer.open()
    number = int(peer.request.cursor or 0)
    for later in range(number + 1, number + 10_000):
        peer.chunk(event(str(later), id=str(later)))
        time.sleep(0.001)


@pytest.mark.parametrize("limits", [{"event_timeout": 0.05}, {"stall_timeout": 0.3, "stall_on": "events"}])
@pytest.mark.slow
async def test_giving_up_on_a_talkative_connection(serve, diary, limits):
    """P26, F2: a connection that talks without saying anything is given up for that reason and no other."""
    reason = Reason.EVENT_TIMEOUT if "event_timeout" in limits else Reason.STALL
    stream = ResilientStream(
        serve(chatter).url,
        backoff=QUICK,
        max_retries=None,
        on_eof="complete",
        on_state_change=diary,
        **limits,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, lambda _: None)
        assert await eventually(
            lambda: len(diary.losses) >= 8 or stream.state is StreamState.CLOSED, within=20
        )
        await stream.aclose()
    assert len(diary.losses) >= 8
    assert set(diary.losses) == {reason}
    assert stream.stats.stalls >= 8


async def test_restarting_in_mid_flow(serve, diary):
    """P15, F33: `restart()` while events arrive is no loss; nothing is lost and nothing comes twice."""
    taken = []
    stream = ResilientStream(serve(count_on).url, backoff=QUICK, on_state_change=diary)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, taken.append)
        for connection in range(1, 21):
            assert await eventually(lambda: stream.stats.connections == connection, within=5)  # noqa: B023 - awaited
            before = len(taken)
            assert await eventually(lambda: len(taken) > before + 3, within=5)  # noqa: B023 - awaited
            stream.restart()
        assert await eventually(lambda: stream.stats.connections == 21, within=5)
        await stream.aclose()
    assert diary.losses == [Reason.RESTART] * 20
    assert taken == [str(number) for number in range(1, len(taken) + 1)]
