"""What a stream keeps: little at rest, no more under load, and nothing once it has ended."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest

from resilient_sse import Backoff, ResilientSSEError, ResilientStream, integers
from resilient_sse.testing import Reply, event
from tests.client.support import URL, at_once, drain, make, read, take, traced
from tests.skipping import skip_aloud

STATM = Path("/proc/self/statm")
MIB = 1024 * 1024


def own_memory(snapshot: tracemalloc.Snapshot) -> int:
    """Count the bytes of what our own lines allocated: objects above those of httpx."""
    ours = [trace for trace in snapshot.traces if "/resilient_sse/_" in trace.traceback[-1].filename]
    return sum(trace.size for trace in ours)


async def test_a_stream_at_rest_is_small(script):
    """Our own objects for a stream are 12 KiB at rest (R209), integer ids or not."""
    client = script.client()
    make(script, client=client)
    for options in ({}, {"sequence": integers}):
        with traced():
            stream = ResilientStream(URL, client=client, **options)
            gc.collect()
            size = own_memory(tracemalloc.take_snapshot())
        assert stream.state.value == "connecting"
        assert size <= 12 * 1024


async def test_a_full_window_is_small(script):
    """With 1,000 ids that count remembered, a stream takes 26 KiB (R209)."""
    script.play(*[Reply(at_once(*range(1, 1501))).hang()] * 2)
    await read(script, 1500)
    with traced():
        stream = make(script)
        await take(stream, 1500)
        gc.collect()
        size = own_memory(tracemalloc.take_snapshot())
    await stream.aclose()
    assert size <= 26 * 1024


def answering(chunks: Callable[[], Iterator[bytes]]) -> httpx.AsyncClient:
    """Make a client that gets this body, made while it is read, at each request."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body())

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def resident() -> int:
    """Return how much memory this process has."""
    if not STATM.exists():
        skip_aloud("no /proc to read the memory of this process from")
    gc.collect()
    return int(STATM.read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    "name, options",
    [(str, {}), ("event-{}".format, {}), (str, {"sequence": integers})],
    ids=["integers", "opaque", "in sequence"],
)
@pytest.mark.parametrize("count", [pytest.param(50_000, marks=pytest.mark.ci), 1_000_000])
@pytest.mark.proof
async def test_events_leave_nothing_behind(name: Callable[[int], str], options: dict[str, Any], count: int):
    """Memory is flat over 1,000,000 events, whatever their ids (X17)."""
    numbers = iter(range(1, count + 1))

    def chunks() -> Iterator[bytes]:
        while batch := [
            event("x" * 20, id=name(number)) for _, number in zip(range(500), numbers, strict=False)
        ]:
            yield b"".join(batch)

    received = start = 0
    async with ResilientStream(URL, client=answering(chunks), on_eof="complete", **options) as stream:
        async for _ in stream:
            received += 1
            if received == count // 10:
                start = resident()
    assert received == count
    assert resident() - start < MIB


@pytest.mark.parametrize("count", [pytest.param(500, marks=pytest.mark.ci), 10_000])
@pytest.mark.proof
async def test_reconnects_leave_nothing_behind(count: int):
    """Memory is flat over 10,000 connections (X17)."""
    numbers = iter(range(1, count + 1))
    start = 0
    client = answering(lambda: iter([event("x", id=str(next(numbers)))]))
    async with ResilientStream(URL, client=client, max_retries=None, backoff=Backoff(0.001)) as stream:
        async for item in stream:
            if item.id == str(count // 10):
                start = resident()
            if item.id == str(count):
                break
    assert stream.stats.connections == count
    assert resident() - start < MIB


async def test_an_event_of_sixteen_mebibytes_is_held_once():
    """A giant event takes a small multiple of its size while it comes, and nothing afterwards."""
    size = 16 * MIB - 100
    piece = b"x" * 65_536

    def chunks() -> Iterator[bytes]:
        yield b"data: "
        for start in range(0, size, len(piece)):
            yield piece[: size - start]
        yield b"\n\ndata: small\n\n"

    async with ResilientStream(URL, client=answering(chunks), on_eof="complete") as stream:
        with traced():
            assert len((await anext(stream)).data) == size
            _, peak = tracemalloc.get_traced_memory()
            assert (await anext(stream)).data == "small"
            gc.collect()
            now, _ = tracemalloc.get_traced_memory()
    assert peak < 4.5 * size
    assert now < MIB


ENDS: dict[str, Callable[[Any], Any]] = {
    "retries": lambda script: script.refuse(times=9),
    "status": lambda script: script.reject(400),
    "no content": lambda script: script.reject(204),
    "media type": lambda script: script.respond(b"{}", headers={"Content-Type": "application/json"}),
    "limit": lambda script: script.respond(b"data: " + b"x" * 2000),
    "cut": lambda script: script.play(Reply(b"data: x\n\n").drop(), Reply(status=400)),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_stream_that_has_ended_is_freed_by_reference_counts(script, end):
    """After an error, or an end, no cycle keeps anything of ours until the garbage collector comes."""

    async def use() -> None:
        ENDS[end](script)
        stream = make(script, max_retries=2, max_event_bytes=1000)
        with suppress(ResilientSSEError):
            await drain(stream)
        await stream.aclose()

    await use()  # what is made once a process
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await use()
        gc.collect()
        found = [thing for thing in gc.garbage if is_ours(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


OURS = ("resilient_sse._core", "resilient_sse._client")


def is_ours(thing: object) -> bool:
    """Whether an object is an instance of a class of the client, or a call of its code."""
    if isinstance(thing, FrameType):
        return "/resilient_sse/_" in thing.f_code.co_filename
    return type(thing).__module__.startswith(OURS)
