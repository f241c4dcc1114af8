"""A circuit breaker that many streams share: what reaches a server that is down, and who waits for how long."""

import gc
import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import anyio
import anyio.lowlevel
import httpx
import pytest

from resilient_sse import (
    Backoff,
    BadStatusError,
    CircuitBreaker,
    CircuitState,
    ConnectionLostError,
    Reason,
    ResilientStream,
    Resume,
    RetriesExhaustedError,
    sync,
)
from resilient_sse._client import breaker as shell
from resilient_sse.testing import Refusal, Reply, Script, comment, event, pause, run_in_virtual_time
from tests.client.support import END, URL, drain, fork_beside, gives_up, later, make, one_loop

CLOSED, OPEN, HALF_OPEN = CircuitState
ORIGIN = "https://host:443"
LIMIT = 2


async def shut(script, breaker):
    """Open the circuit by a stream that gives up."""
    script.refuse(times=LIMIT)
    await gives_up(make(script, breaker=breaker, max_retries=LIMIT - 1), RetriesExhaustedError)
    assert breaker.states == {ORIGIN: OPEN}


@pytest.fixture
def breaker():
    """Return one that opens at the second failure."""
    return CircuitBreaker(failures=LIMIT)


# --- A fleet


@pytest.mark.slow
async def test_a_thousand_streams_leave_a_server_alone_that_is_down(caplog):
    """
    P35, R196: while it is away one attempt in 30 s reaches it, and then all are back, spread over 3 s.

    Beside the five that open the circuit there are those that were under way by then, some five in a millisecond.
    """
    caplog.set_level(logging.CRITICAL, "resilient_sse")  # 2,000 lines are half of the time
    script, breaker, got = Script(), CircuitBreaker(), []
    down, up = 10.0, 110.0

    def answer(request):
        if request.at < down:
            return Reply(event("up", id="1"), pause(down - request.at)).drop()
        return Reply(event("up", id="1")).hang() if request.at > up else Refusal(after=0.001)

    async def follow():
        options = {"breaker": breaker, "max_retries": None, "stall_timeout": None, "dedup": "off"}
        async with make(script, backoff=Backoff(), **options) as stream:
            async for item in stream:
                got.append(item)  # noqa: PERF401 - counted as they come

    script.always(answer)
    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(follow)
        await anyio.sleep(up + 40)
        group.cancel_scope.cancel()
    asked = [request.at for request in script.requests]
    during = [at for at in asked if down < at <= up]
    after = [at for at in asked if at > up]
    assert 5 + 3 <= len(during) <= 30
    assert breaker.states == {ORIGIN: CLOSED}
    assert (len(after), len(got)) == (1000, 2000)
    assert after[-1] - after[0] < 4
    assert max(Counter(int(at * 10) for at in after).values()) < 100


# --- What counts


FAILURES = [
    *(Reply(status=status) for status in (500, 503, 600, 429, 408)),
    Refusal(),
    Refusal(after=math.inf),
    Reply().drop(),
    Reply(),
]


@one_loop
@pytest.mark.parametrize("step", FAILURES, ids=range(len(FAILURES)))
async def test_what_is_retried_for_any_stream_counts(script, breaker, step):
    """P35: a server that fails everybody is down for everybody; if the probe fails, for as long again."""
    script.play(*[step] * 3)
    await gives_up(make(script, breaker=breaker, max_retries=1), RetriesExhaustedError)
    assert breaker.states == {ORIGIN: OPEN}
    await anyio.sleep(31)
    await gives_up(make(script, breaker=breaker, max_retries=0), RetriesExhaustedError)
    assert breaker.states == {ORIGIN: OPEN}
    assert 30 <= await waits(script, breaker) <= 33


NO_FAILURES = [
    # A wrong URL or token of one stream says nothing about the server.
    *((Reply(status=status), {}) for status in (400, 401, 403, 404, 410, 501)),
    # A token endpoint is another server, and a mistake is the program's own.
    *(
        (Reply(), {"headers": Mock(side_effect=error), "max_retries": 0})
        for error in (ValueError("no token"), httpx.ConnectError("no token"))
    ),
    # Servers and proxies rotate streams, and some poll: by an event, by a clean end, or by time it was well.
    *((Reply(part), {}) for part in (event("a"), comment("hi"), pause(6.0))),
]


@one_loop
@pytest.mark.parametrize("step, options", NO_FAILURES, ids=range(len(NO_FAILURES)))
async def test_what_does_not_count(script, step, options):
    """What is final for one stream, fails in the program, or ends a connection that was well."""
    breaker = CircuitBreaker(failures=1)
    script.play(*[step] * 4)
    script.always(Reply(END))
    with suppress(BadStatusError, ValueError, RetriesExhaustedError):
        async for _ in make(script, breaker=breaker, until="end", **options):
            assert breaker.states == {ORIGIN: CLOSED}
    assert breaker.states == {ORIGIN: CLOSED}


@one_loop
async def test_origins_are_judged_apart(script, breaker):
    """Scheme, host and port, as the same-origin policy has it; paths share one."""
    await shut(script, breaker)
    script.respond(event("a")).hang()
    for url in ("https://host:444/stream", "http://host/stream", "https://other/stream"):
        ResilientStream(url, breaker=breaker)
    async with make(script, url="https://host:444/stream", breaker=breaker) as stream:
        assert (await anext(stream)).data == "a"
    assert breaker.states == {
        ORIGIN: OPEN,
        "https://host:444": CLOSED,
        "http://host:80": CLOSED,
        "https://other:443": CLOSED,
    }


# --- Waiting


async def test_who_waits_says_so_and_spends_nothing(script, breaker, record):
    """R8, R64: one change with a text of its own, no retries, and an attempt when it is due."""
    await shut(script, breaker)
    began = anyio.current_time()
    script.respond(event("a")).hang()
    async with make(script, breaker=breaker, on_state_change=record) as stream:
        await anext(stream)
        assert 30 - 1 <= anyio.current_time() - began <= 33
        assert stream.stats.failed_attempts == 0
    assert record.states == ["connecting", "reconnecting", "connected", "closed"]
    assert record.times[0] == began
    (held, *_) = record.changes
    assert (held.reason, held.attempt, held.category) == (Reason.CIRCUIT, 1, None)
    assert held.message == "Server unavailable - waiting to reconnect..."
    assert held.delay is not None


async def test_retry_after_keeps_its_meaning(script, breaker):
    """A stream that was told to wait for a minute does, although the circuit would let it through."""
    script.reject(503, headers={"Retry-After": "59"}, times=2)
    script.respond(event("a")).hang()
    async with make(script, breaker=breaker) as stream:
        await anext(stream)
    first, second, third = (request.at for request in script.requests)
    assert (second - first, third - second) == (59, 59)


async def test_restart_ends_a_wait(script, breaker):
    """A program that asks for a connection now gets one: it is the probe."""
    await shut(script, breaker)
    script.respond(event("a")).hang()
    began = anyio.current_time()
    async with make(script, breaker=breaker) as stream, anyio.create_task_group() as group:
        group.start_soon(later, 5, stream.restart)
        await anext(stream)
        assert anyio.current_time() - began == pytest.approx(5)


# --- Every end of a probe


async def due(script, breaker):
    """Have the circuit opened, and wait until whoever comes next is the probe."""
    await shut(script, breaker)
    await anyio.sleep(31)


async def waits(script, breaker, **options):
    """Have another stream follow, and return for how long it has to wait."""
    script.respond(event("b")).hang()
    began = anyio.current_time()
    async with make(script, breaker=breaker, **options) as stream:
        await anext(stream)
    return anyio.current_time() - began


PATIENT: Mapping[str, Any] = {"connect_timeout": None, "stall_timeout": None, "max_retries": None}


@asynccontextmanager
async def following(script, breaker, *steps):
    """Have a stream that waits for ever follow each step; all have asked, or wait, when the block begins."""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())
        for step in steps:
            script.play(step)
            stream = await stack.enter_async_context(make(script, breaker=breaker, **PATIENT))
            group.start_soon(drain, stream)
            for _ in range(30):
                await anyio.lowlevel.checkpoint()
        yield
        group.cancel_scope.cancel()


async def cancelled(stream, script):
    """Give up before there is an answer."""
    script.stall_headers()
    with anyio.move_on_after(1):
        await anext(stream)


async def closed(stream, script):
    """Close the stream from another task before there is an answer."""
    script.stall_headers()
    async with anyio.create_task_group() as group:
        group.start_soon(later, 1, stream.aclose)
        await anext(stream, None)


async def refused(stream, script):
    """Get an answer that is this stream's alone: its token is no other's."""
    script.reject(403)
    await gives_up(stream, BadStatusError)


@pytest.mark.parametrize("end", [cancelled, closed, refused])
async def test_a_probe_that_says_nothing_of_the_server_gives_its_place_to_the_next(script, breaker, end):
    """R196: what the program ends, or one stream alone is told, is no news for the others."""
    await due(script, breaker)
    await end(make(script, breaker=breaker), script)
    assert await waits(script, breaker) == 0


@one_loop
async def test_a_probe_that_is_collected_gives_its_place_to_the_next(script, breaker):
    """R196: nobody is left who could tell what has become of it."""
    await due(script, breaker)
    step = make(script, breaker=breaker).__anext__()
    step.send(None)
    assert breaker.states == {ORIGIN: HALF_OPEN}
    del step
    gc.collect()
    assert await waits(script, breaker) == 0


@one_loop
async def test_a_probe_that_is_led_elsewhere_gives_its_place_to_the_next(script, breaker):
    """What a `resume` function leads to another origin tells of that one."""
    await due(script, breaker)
    script.respond(event("a", id="1")).hang()
    elsewhere = {"last_event_id": "0", "resume": lambda *_: Resume(url="https://other/stream")}
    async with make(script, breaker=breaker, **elsewhere) as stream:
        await anext(stream)
        assert await waits(script, breaker) == 0


async def test_a_probe_without_timeouts_keeps_others_waiting_for_so_long(script, breaker):
    """R196: a server that swallows requests cannot hold the place for ever."""
    await due(script, breaker)
    async with following(script, breaker, Reply(after=math.inf)):
        await anyio.sleep(1)
        assert 29 <= await waits(script, breaker) <= 32


async def test_a_probe_that_hears_nothing_closes_it_when_it_has_held(script, breaker, record):
    """A bare 200 proves nothing, so others wait until it has held for as long as the retry budget asks."""
    await due(script, breaker)
    async with following(script, breaker, Reply(pause(100), event("a")).hang()):
        await anyio.sleep(1)
        assert 4 <= await waits(script, breaker, on_state_change=record) <= 4 + 3
        assert [change.reason for change in record.changes].count(Reason.CIRCUIT) == 1


# --- News that come late


@pytest.mark.parametrize("later, state", [(4.9, OPEN), (5.0, CLOSED)])
async def test_a_connection_that_holds_ends_the_row(script, breaker, later, state):
    """P35: a bare 200 proves nothing; one that holds for as long as the retry budget asks does so silently."""
    script.refuse()
    await gives_up(make(script, breaker=breaker, max_retries=0), RetriesExhaustedError)
    async with following(script, breaker, Reply().hang()):
        await anyio.sleep(later)
        script.refuse()
        await gives_up(make(script, breaker=breaker, max_retries=0), RetriesExhaustedError)
        assert breaker.states == {ORIGIN: state}


NEWS = [Reply(event("a"), after=40).hang(), Reply(status=503, after=40), Refusal(after=40)]


@pytest.mark.parametrize("news", NEWS, ids=range(3))
async def test_a_probe_of_which_nothing_is_heard_loses_its_place(script, breaker, news):
    """R196: the next one gets it, and what the first tells at last decides nothing."""
    await due(script, breaker)
    async with following(script, breaker, news), following(script, breaker, Reply(after=math.inf)):
        await anyio.sleep(35)
        asked = len(script.requests)
        assert (asked, breaker.states) == (LIMIT + 2, {ORIGIN: HALF_OPEN})
        await anyio.sleep(15)
        assert (len(script.requests), breaker.states) == (asked, {ORIGIN: HALF_OPEN})


async def test_attempts_from_before_the_opening_decide_nothing(script, breaker):
    """P35: what was under way neither closes the circuit nor keeps it open for longer."""
    async with following(script, breaker, Refusal(after=20), Reply(event("a"), after=20).hang()):
        await shut(script, breaker)
        opened = anyio.current_time()
        await anyio.sleep(25)
        assert breaker.states == {ORIGIN: OPEN}
        script.respond(event("b")).hang()
        await anyio.sleep(10)
        assert 30 <= script.requests[-1].at - opened <= 33


def test_a_probe_may_ask_again(breaker):
    """A stream has one attempt at a time, so its first is over; another stream has to wait."""
    probe, other = (shell.guard_of(breaker, URL, lambda: 0.0) for _ in range(2))
    for _ in range(LIMIT):
        probe.ended(ConnectionLostError(Reason.RESET))
    assert [probe.wait(forced=forced) for forced in (True, False)] == [0, 0]
    assert other.wait(forced=False) == 1.5  # half of the tenth in which it looks again


# --- Told


async def test_each_opening_and_closing_is_one_line_in_the_log(script, breaker, caplog):
    """Probes that fail in between add none."""
    with caplog.at_level(logging.INFO, "resilient_sse"):
        await due(script, breaker)
        script.refuse()
        await gives_up(make(script, breaker=breaker, max_retries=0), RetriesExhaustedError)
        await waits(script, breaker)
    lines = [(record.levelname, record.message) for record in caplog.records if "circuit " in record.message]
    assert lines == [
        ("WARNING", f"{ORIGIN}: circuit open, 2 attempts in a row have failed; one is made each 30 s"),
        ("INFO", f"{ORIGIN}: circuit closed"),
    ]


@pytest.mark.parametrize(
    "wrong, kind",
    [
        ({"failures": 0}, ValueError),
        ({"failures": None}, TypeError),
        ({"reset_after": 0}, ValueError),
        ({"reset_after": None}, TypeError),
        ({"reset_after": "soon"}, TypeError),
    ],
)
def test_arguments_are_checked(wrong, kind):
    """The error names the argument."""
    with pytest.raises(kind, match=next(iter(wrong))):
        CircuitBreaker(**wrong)


# --- Shared


def test_it_outlives_an_event_loop(monkeypatch):
    """Clocks of event loops begin where they like; what one has opened is open, for as long, in the next."""
    monkeypatch.setattr(shell, "time", SimpleNamespace(monotonic=lambda: 5.0))
    breaker = CircuitBreaker(failures=LIMIT)

    async def opens():
        await anyio.sleep(1000)
        await shut(Script(), breaker)

    run_in_virtual_time(opens)
    for backend in ("asyncio", "trio"):
        waited = run_in_virtual_time(waits, Script(), breaker, backend=backend)
        assert 31 <= waited <= 34  # opened a second ago
        run_in_virtual_time(opens, backend=backend)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_a_thread_uses_it(monkeypatch):
    """The child can use it, too: no lock stays held there by a thread that it has not got."""
    inside, breaker = threading.Event(), CircuitBreaker()

    def monotonic() -> float:
        if threading.current_thread() is thread:
            inside.set()
            time.sleep(0.2)
        return 5.0

    monkeypatch.setattr(shell, "time", SimpleNamespace(monotonic=monotonic))
    thread = threading.Thread(target=lambda: breaker.states)

    def use() -> None:
        assert breaker.states == {}

    assert fork_beside(thread, inside, use) == 0


def test_threads_share_one():
    """Event loops of several threads, and streams without one, count together."""
    breaker = CircuitBreaker(failures=200)

    def fails():
        async def once():
            script = Script()
            script.refuse(times=10)
            options = {"max_retries": 9, "backoff": Backoff(initial=0, jitter=0)}
            await gives_up(make(script, breaker=breaker, **options), RetriesExhaustedError)

        for _ in range(10):
            anyio.run(once)

    threads = [threading.Thread(target=fails) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.states == {ORIGIN: OPEN}
    with sync.ResilientStream(URL, breaker=breaker) as stream:
        closing = threading.Timer(0.2, stream.close)
        closing.start()
        assert list(stream) == []
        assert stream.stats.failed_attempts == 0
