"""A server that sends without end meets a limit, not the machine's memory."""

import time
import tracemalloc
import zlib
from itertools import pairwise

import anyio
import anyio.lowlevel
import httpx
import pytest

from resilient_sse import LimitExceededError, ResilientStream
from resilient_sse.testing import event, gzipped
from tests.client.support import traced
from tests.e2e.watching import collect, each

MEBIBYTE = 1 << 20


def endless(block, *, begun=b""):
    """Return a behaviour that sends one event, and then this for as long as anybody reads."""

    def behave(peer):
        peer.open()
        peer.chunk(event("first", id="1") + begun)
        for _ in range(1024):
            peer.chunk(block)

    return behave


def compressed_bomb(peer):
    """Send a line of 64 MiB in 64 KiB."""
    peer.open("Content-Encoding: gzip")
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(event("first", id="1") + b"data: ")
    for _ in range(64):
        bomb += packer.compress(b"x" * MEBIBYTE)
    peer.chunk(bomb + packer.flush())
    peer.hold()


def compressed_comments(peer):
    """Send two million comments in 4 KiB."""
    peer.open("Content-Encoding: gzip")
    packer = zlib.compressobj(wbits=31)
    flood = b"".join(packer.compress(b":\n" * 65536) for _ in range(32))
    peer.chunk(flood + packer.flush(zlib.Z_SYNC_FLUSH))
    peer.hold()


@pytest.mark.parametrize(
    "behaviour",
    [endless(event("again") * 4096), endless(b":\n" * 32768), compressed_comments],
    ids=["events", "comments", "compressed"],
)
async def test_a_flood_leaves_room_for_others(serve, behaviour):
    """P14, P15, P42: however much arrives at once, other tasks run on, and one of them can close the stream."""
    stream = ResilientStream(serve(behaviour).url, max_retries=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, lambda _: None)
        started = time.monotonic()
        await anyio.sleep(0.3)
        await stream.aclose()
        assert time.monotonic() - started < 2
    assert stream.stats.bytes_received > 0


@pytest.mark.own
async def test_a_flood_of_tiny_chunks_leaves_room_for_others(serve):
    """P14, P42: a read of the system may bring thousands of chunks, and others get their turn between them."""
    chunk, size = b"9\r\n" + event("x") + b"\r\n", 4_000 * len(event("x"))

    def flood(peer):
        peer.open()
        peer.send(chunk * 4_000)
        peer.hold()

    async with httpx.AsyncClient() as client, anyio.create_task_group() as tasks:
        stream = ResilientStream(serve(flood).url, client=client, max_retries=0)
        tasks.start_soon(each, stream, lambda _: None)
        received = [0]
        while received[-1] < size:
            await anyio.lowlevel.checkpoint()
            received.append(stream.stats.bytes_received)
        await stream.aclose()
    assert max(after - before for before, after in pairwise(received)) < size / 4


@pytest.mark.parametrize(
    "behaviour,allowed",
    [
        pytest.param(endless(b"x" * 65536, begun=b"data: "), 4 * MEBIBYTE, id="line"),
        # A short line is a string of its own, four times as large as its bytes.
        pytest.param(endless(b"data: and so on\n" * 4096), 8 * MEBIBYTE, id="lines"),
        pytest.param(compressed_bomb, 4 * MEBIBYTE, id="compressed"),
    ],
)
@pytest.mark.slow
async def test_endless_event(serve, record, over, anyio_backend, *, behaviour, allowed):
    """P13, F29: an event without end is a typed error at its limit, without a retry, in flat memory."""
    if over != "own" and anyio_backend not in ("asyncio", "trio"):
        allowed += 8 * MEBIBYTE  # uvloop reads 32 times 256 KiB in a row, before anyio can have it pause
    server = serve(behaviour)
    stream = ResilientStream(server.url, max_event_bytes=MEBIBYTE, on_state_change=record)
    with traced():
        async with stream:
            assert (await anext(stream)).data == "first"
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            with pytest.raises(LimitExceededError) as raised:
                await anext(stream)
        _, peak = tracemalloc.get_traced_memory()
    assert raised.value.limit_bytes == MEBIBYTE
    assert peak - before < allowed
    assert record.states == ["connecting", "connected", "error"]
    assert len(server.requests) == 1


async def test_judging_what_one_read_has_brought_is_no_silence(serve):
    """A compressed read is decoded in slices; what a filter takes for them is the program's own time (3.3)."""
    body = b"".join(gzipped(*(event("x" * 40_000, id=str(number)) for number in range(1, 41))))

    def compressed(peer):
        peer.open("Content-Encoding: gzip")
        peer.chunk(body)
        peer.hold()

    def last(item):
        time.sleep(0.02)
        return item.id == "40"

    stream = ResilientStream(
        serve(compressed).url, compression=True, events=last, stall_timeout=0.4, max_retries=0
    )
    assert await collect(stream, 1) == ["x" * 40_000]
    assert stream.stats.stalls == 0
