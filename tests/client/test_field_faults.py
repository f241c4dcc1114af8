"""Faults that the field has found, each with the conversation that showed it."""

import asyncio
from contextlib import suppress

import anyio
import httpx
import pytest

from resilient_sse import StreamState
from tests.client.support import When, make, numbered

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
    if around:
        script.respond(*numbered(1), after=10)
    script.respond(*numbered(1)).hang()
    slow = {state: When(state, takes=3) for state in ("waiting", "reconnecting", "connected")}
    async with make(script, auth=Impatient(kind, 9), waiting_after=1) as stream:
        for callback in slow.values():
            stream.on_state_change(callback)
        assert (await anext(stream)).id == "1"
    told = [state for state, each in slow.items() if each.ended]
    assert told == ["waiting", *(["reconnecting"] if around else []), "connected"]


# --- Closing from a task that a callback has started


@pytest.mark.parametrize("waits", [True, False], ids=["callback-waits-for-it", "callback-goes-on"])
@pytest.mark.parametrize("at", ["connected", "waiting"])
async def test_a_task_that_a_callback_started_closes_the_connection(script, at, waits):
    """`aclose()` in a task of a callback's returns when the connection is closed, and soon (3.7)."""
    script.respond(*numbered(1), close_takes=0.5).hang()
    seen = []
    stream = make(script, waiting_after=1)

    async def close(done: anyio.Event) -> None:
        began = anyio.current_time()
        await stream.aclose()
        seen.append((script.live, anyio.current_time() - began < 1))
        done.set()

    async def start() -> None:
        done = anyio.Event()
        group.start_soon(close, done)
        await (done.wait() if waits else anyio.sleep(1.5))

    stream.on_state_change(When(at, start))
    async with anyio.create_task_group() as group:
        assert [item.id async for item in stream] == ([] if at == "connected" else ["1"])
        assert stream.state is StreamState.CLOSED
    assert seen == [(0, True)]
