"""Faults that the field has found, each with the conversation that showed it."""

import asyncio
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest

from resilient_sse import Backoff, ResilientStream, RetriesExhaustedError, StreamError, StreamState
from resilient_sse.testing import comment, event, pause, run_in_virtual_time
from tests.client.support import (
    STREAM_HEAD,
    Loopback,
    LoopbackStream,
    chunked,
    drain,
    make,
    numbered,
    pooled_client,
    stepped,
)

# --- A scope of the caller's own


class Impatient(httpx.Auth):
    """Authentication that gives up after two seconds, by a scope of its own."""

    def __init__(self, kind: str, fetch_takes: float) -> None:
        self.kind = kind
        self.fetch_takes = fetch_takes

    async def async_auth_flow(self, request):
        if self.kind == "around the request":  # it is left open by httpx when the request is cancelled
            async with asyncio.timeout(2):
                yield request  # noqa: ASYNC119 - the fault
            return
        with suppress(TimeoutError):
            if self.kind == "asyncio":
                async with asyncio.timeout(2):
                    await anyio.sleep(self.fetch_takes)
            else:
                with anyio.fail_after(2):
                    await anyio.sleep(self.fetch_takes)
        self.fetch_takes = 0
        yield request


@pytest.mark.parametrize("kind", ["anyio", "asyncio", "around the request"])
async def test_a_timeout_in_an_auth_flow_does_not_cancel_a_callback(script, kind, anyio_backend_name):
    """A callback of WAITING goes on although the timeout of the auth flow strikes meanwhile (3.7)."""
    if kind != "anyio" and anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has it")
    around = kind == "around the request"
    told = []

    async def tell(change):
        await anyio.sleep(3)
        told.append(change.new.value)

    if around:
        script.respond(*numbered(1), after=10)
    script.respond(*numbered(1)).hang()
    stream = make(script, auth=Impatient(kind, 9), waiting_after=1)
    stream.on_state_change(tell)
    async with stream:
        assert (await anext(stream)).id == "1"
    assert told == ["waiting", *(["reconnecting"] if around else []), "connected"]


# --- A slot of the caller's pool


class Ending(LoopbackStream):
    """A connection that says one thing and then ends, and whose closing takes a while."""

    how = "reset"

    async def read(self, max_bytes, timeout=None):  # noqa: ASYNC109 - httpcore's
        if self._incoming or not self._spoken:
            self._spoken = True
            return await super().read(max_bytes, timeout)
        await anyio.sleep(1)
        if self.how == "reset":
            raise httpcore.ReadError("reset")
        return b"0\r\n\r\n"

    _spoken = False

    async def aclose(self):
        await super().aclose()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()


class EndingNetwork(Loopback):
    async def connect_tcp(self, *args: Any, **options: Any) -> LoopbackStream:
        return Ending((await super().connect_tcp(*args, **options))._answer)


async def cut_while_it_ends(step: int, how: str) -> tuple[int, list[str]]:
    """Cancel a read at some step, with a connection that ends meanwhile; return what the pool holds then."""
    Ending.how = how
    client, pool = pooled_client(EndingNetwork(lambda _: STREAM_HEAD + chunked(*numbered(1))), slots=1)
    stream = ResilientStream("http://host/stream", client=client, backoff=Backoff(initial=50, maximum=50))
    await anext(stream)
    steps = 0

    async def read() -> None:
        task: Any = asyncio.current_task()

        def on_step() -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                task.cancel()

        await stepped(anext(stream), on_step)

    with suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(asyncio.create_task(read()), 5)
    await stream.aclose()
    held = [text for text in map(repr, pool.connections) if "IDLE" not in text]
    await client.aclose()
    return steps, held


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_read_that_is_cancelled_while_its_connection_ends_keeps_the_slot(how):
    """`Task.cancel` while httpcore tidies up behind an end does not lose the slot (3.8, encode/httpcore#1093)."""
    total, held = run_in_virtual_time(cut_while_it_ends, 10**9, how)
    assert held == []
    assert total >= 3
    left = {}
    for step in range(1, total + 1):
        _, held = run_in_virtual_time(cut_while_it_ends, step, how)
        if held:
            left[step] = held
    assert not left


# --- Closing from a task that a callback has started


@pytest.mark.parametrize("waits", [True, False], ids=["callback-waits-for-it", "callback-goes-on"])
@pytest.mark.parametrize("at", ["connected", "waiting"])
async def test_a_task_that_a_callback_started_closes_the_connection(script, at, waits):
    """`aclose()` in a task of a callback's returns when the connection is closed, and soon (3.7)."""
    script.respond(*numbered(1), close_takes=0.5).hang()
    seen = []
    async with anyio.create_task_group() as group:
        stream = make(script, waiting_after=1)

        async def close(done: anyio.Event) -> None:
            began = anyio.current_time()
            await stream.aclose()
            seen.append((script.live, anyio.current_time() - began < 1))
            done.set()

        @stream.on_state_change
        async def _(change):
            if change.new.value == at:
                done = anyio.Event()
                group.start_soon(close, done)
                await (done.wait() if waits else anyio.sleep(1.5))

        assert [item.id async for item in stream] == ([] if at == "connected" else ["1"])
        assert stream.state is StreamState.CLOSED
    assert seen == [(0, True)]


# --- A server that answers with an error each time


FAILED = event("down", event="error")


@pytest.mark.parametrize("options", [{}, {"observers": [lambda _: None]}], ids=["batches", "one-by-one"])
@pytest.mark.parametrize(
    "parts",
    [[FAILED], [comment("hi"), FAILED], [event("hello"), FAILED], [event("a"), event("b"), FAILED]],
    ids=["error", "comment", "event", "events"],
)
async def test_answers_that_end_with_an_error_event_spend_the_budget(script, parts, options):
    """Events without ids before the error come with each answer, and are no sign of health (3.4)."""
    for _ in range(4):
        script.respond(*parts).end()
    stream = make(script, error_events=["error"], max_retries=3, **options)
    with pytest.raises(RetriesExhaustedError) as caught:
        await drain(stream)
    assert (caught.value.attempts, caught.value.elapsed) == (4, 7)
    assert isinstance(caught.value.__cause__, StreamError)


async def test_a_delay_series_of_ones_own_goes_on_behind_an_error_event(script):
    """What stands before the error begins no new series of delays (3.4)."""
    for _ in range(4):
        script.respond(event("hello"), FAILED).end()
    stream = make(script, error_events=["error"], max_retries=3, backoff=lambda: iter([1, 10, 100]))
    with pytest.raises(RetriesExhaustedError) as caught:
        await drain(stream)
    assert caught.value.elapsed == 111


@pytest.mark.parametrize("case", ["ids", "lasting"])
async def test_a_stream_that_gets_on_between_error_events_goes_on(script, case):
    """Events behind the last id, and a connection that has held, are health as ever (3.4)."""
    for number in range(1, 9):
        parts = numbered(number) if case == "ids" else [event("a"), pause(6)]
        script.respond(*parts, FAILED).end()
    script.respond(event("", event="end"))
    stream = make(script, error_events=["error"], max_retries=3, until="end")
    assert len(await drain(stream)) == 9
