"""Ends that the program chooses: the socket is freed at once, whoever asks and whenever."""

import gc
import time
import warnings
from contextlib import contextmanager

import anyio
import pytest

from resilient_sse import Backoff, ResilientStream, StreamState
from tests.e2e.raw_server import Peer, hello
from tests.e2e.watching import QUICK, eventually

pytestmark = pytest.mark.both


def busy(peer):
    """Refuse for now."""
    peer.answer("503 Service Unavailable")


def stay_silent(peer):
    """Open, and say nothing."""
    peer.open()
    peer.hold()


RESET = lambda peer: (peer.open(), peer.reset())  # noqa: E731 - a row of the tables
END = lambda peer: (peer.open(), peer.end(), peer.hold())  # noqa: E731 - see above


@contextmanager
def overheard():
    """Give the texts of warnings; `record=True` would keep what they are about alive."""
    texts = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: texts.append(str(message))
        yield texts


@pytest.fixture
def no_garbage_collection():
    """Leave everything to reference counts; what a failed test has left must not disturb the next one."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="first-connection"),
        pytest.param((RESET,), id="after-reset"),
        pytest.param((END,), id="after-end"),
        pytest.param((busy, busy), id="after-503"),
        pytest.param((stay_silent,), id="after-stall"),
        pytest.param((Peer.hold,), id="after-no-answer"),
        pytest.param((RESET, END, busy, RESET), id="after-many"),
    ],
)
async def test_break_frees_the_socket(serve, before):
    """P16, F17: `break` without `async with` frees the socket at once, and a warning tells of the habit."""
    server = serve(*before, hello)

    async def consume():
        async for _ in ResilientStream(server.url, backoff=QUICK, stall_timeout=0.3):
            break

    with overheard() as texts:
        await consume()
        peer = server.peers[-1]
        assert await eventually(lambda: peer.left_at is not None, within=1)
        # Trio finalises the generators that httpx nests one by one, with a warning each.
        await anyio.sleep(0.1)
    assert [text for text in texts if text.startswith("unclosed <ResilientStream")]


async def test_closing_says_nothing(serve):
    """P15, P16: a stream left by `break` inside `async with` frees its socket without any warning."""
    server = serve(RESET, hello)
    with overheard() as texts:
        async with ResilientStream(server.url, backoff=QUICK) as stream:
            async for _ in stream:
                break
        assert await eventually(lambda: server.peers[-1].left_at is not None, within=1)
        gc.collect()
        await anyio.sleep(0.01)
    assert texts == []


@pytest.mark.parametrize(
    "behaviour,state,delays",
    [
        pytest.param(stay_silent, StreamState.CONNECTED, QUICK, id="reading"),
        pytest.param(Peer.hold, StreamState.CONNECTING, QUICK, id="connecting"),
        pytest.param(busy, StreamState.RECONNECTING, Backoff(initial=30, maximum=30), id="backing-off"),
    ],
)
@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_ending_from_another_task(serve, behaviour, state, delays, how):
    """P15, F33: `aclose()` or cancellation ends the loop at once, whatever it waits for, and its connection."""
    server = serve(behaviour)
    stream = ResilientStream(server.url, backoff=delays)

    async def consume():
        async with stream:
            async for _ in stream:
                pytest.fail("there was no event")

    with anyio.fail_after(6):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            assert await eventually(lambda: server.served and stream.state is state, within=5)
            await anyio.sleep(0.05)
            started = time.monotonic()
            if how == "aclose":
                await stream.aclose()
            else:
                tasks.cancel_scope.cancel()
    assert time.monotonic() - started < 1
    assert stream.state is StreamState.CLOSED
    assert await eventually(lambda: not server.peers[0].is_live(), within=1)
