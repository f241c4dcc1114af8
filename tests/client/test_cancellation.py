"""Cancellation at every step of a stream's life, and closing it in every state."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest

from resilient_sse import (
    Backoff,
    Gap,
    ResilientSSEError,
    ResilientStream,
    StateChange,
    StreamState,
    integers,
)
from resilient_sse.testing import Refusal, Reply, Script, comment, event, pause, run_in_virtual_time
from tests.client.support import (
    STREAM_HEAD,
    Loopback,
    LoopbackStream,
    Store,
    chunked,
    drain,
    make,
    numbered,
    pooled_client,
    stepped,
    take,
)

EVENTS = 6
NEVER = 10**9

either_cut = pytest.mark.parametrize(
    "backend, cut",
    [
        pytest.param("asyncio", "scope", id="asyncio-scope"),
        pytest.param("asyncio", "task", id="asyncio-task"),
        pytest.param("trio", "scope", id="trio-scope"),
    ],
)


class Trouble:
    """A server that resumes, and of six connections has five end badly, each in its own way."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, request):
        self._count += 1
        rest = numbered(*range(int(request.last_event_id or 0) + 1, EVENTS + 1))
        match self._count % 6:
            case 1:
                return Refusal(after=0.3)
            case 2:
                parts = [part for block in rest[:2] for part in (pause(0.5), block)]
                return Reply(comment("hello"), *parts, close_takes=0.5).drop()
            case 3:
                return Reply(b"busy", status=503, content_type="text/plain", after=0.2, close_takes=0.3)
            case 4:
                return Reply(*rest[:1], comment("going quiet"), close_takes=0.5).hang()
            case 5:
                return Reply(*rest[:1], close_takes=0.5).end()
        return Reply(*rest, event("", event="done"), after=0.2, close_takes=0.5).hang()


async def cut_at(step: int, cut: str) -> tuple[int, list[str]]:
    """Live through *Trouble*, cancelled once at *step*; return the number of steps and what went wrong."""
    script = Script()
    script.always(Trouble())
    changes: list[StateChange] = []
    told: list[StateChange] = []
    store = Store(before=0.1, after=0.1)

    async def callback(change: StateChange) -> None:
        told.append(change)
        await anyio.sleep(0.3)

    def observe(fact: object) -> None:
        if isinstance(fact, StateChange):
            changes.append(fact)

    stream = make(
        script,
        checkpoint=store,
        max_retries=None,
        until="done",
        on_state_change=callback,
        observers=[observe],
    )
    steps = 0
    got: list[str] = []
    wrong: list[str] = []

    def count(cancel: Callable[[], object]) -> Callable[[], None]:
        def on_step() -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                cancel()

        return on_step

    async def once_by_scope() -> bool:
        with anyio.CancelScope() as scope:
            try:
                got.append((await stepped(stream.__anext__(), count(scope.cancel))).data)
            except StopAsyncIteration:
                return False
        return True

    async def once_by_task() -> bool:
        task: Any = asyncio.current_task()
        try:
            got.append((await stepped(stream.__anext__(), count(task.cancel))).data)
        except StopAsyncIteration:
            return False
        except asyncio.CancelledError:
            task.uncancel()
        if task.cancelling():
            wrong.append("the cancellation was swallowed")
            task.uncancel()
        return True

    with anyio.fail_after(100_000):
        while await (once_by_scope if cut == "scope" else once_by_task)():
            pass
    expected = [*map(str, range(1, EVENTS + 1)), ""]
    figures = stream.stats
    for held, what in (
        (got == expected, f"delivered {got}"),
        (script.live == 0, "a connection was left open"),
        (script.max_live == 1, "two connections at once"),
        (stream.state is StreamState.CLOSED, f"ended as {stream.state}"),
        (store.position == str(EVENTS), "position"),
        (told == changes, "callbacks and observers heard different things"),
        (all(a.new is b.old for a, b in pairwise(changes)), "a transition is missing"),
        (figures.received == figures.delivered + figures.duplicates + figures.heartbeats, "figures"),
        (figures.callback_errors == 0, "a callback failed"),
    ):
        if not held:
            wrong.append(what)
    return steps, wrong


@pytest.mark.slow
@either_cut
def test_cancelled_at_every_step_nothing_is_lost(backend, cut):
    """Wherever a wait is cancelled, going on delivers every event once and leaves nothing open (P15)."""
    total, wrong = run_in_virtual_time(cut_at, NEVER, cut, backend=backend)
    assert not wrong
    assert total > 40
    failures = {}
    for step in range(1, total + 1):
        _, wrong = run_in_virtual_time(cut_at, step, cut, backend=backend)
        if wrong:
            failures[step] = wrong
    assert not failures


# --- A pool shared with others: section 3.8, encode/httpcore#1093


def answer(head: str) -> bytes:
    """Serve a stream, and a redirect to it."""
    path = head.split()[1]
    if path == "/elsewhere":
        return b"HTTP/1.1 307 Elsewhere\r\nLocation: /stream\r\nContent-Length: 0\r\n\r\n"
    return STREAM_HEAD + chunked(*numbered(1))


async def race_for_a_slot(step: int, cut: str, path: str) -> tuple[int, str | None]:
    """Cancel a stream that waits for the only slot at some step after its holder began to let go of it."""
    client, pool = pooled_client(Loopback(answer), slots=1)
    holder = ResilientStream("http://host/stream", client=client)
    waiting = ResilientStream(f"http://host{path}", client=client)
    steps = 0
    scope = anyio.CancelScope()
    tasks: list[Any] = []

    async def wait() -> None:
        if cut == "task":
            tasks.append(asyncio.current_task())
        with scope:
            try:
                await anext(waiting)
            except asyncio.CancelledError:
                if cut != "task":
                    raise
                tasks.pop().uncancel()

    def on_step() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            if cut == "scope":
                scope.cancel()
            elif tasks:
                tasks[0].cancel()

    async with anyio.create_task_group() as group:
        if path == "/stream":
            await anext(holder)
        group.start_soon(wait)
        if path != "/stream":
            await anyio.lowlevel.checkpoint()
            await anext(holder)
        await anyio.sleep(1)
        await stepped(holder.aclose(), on_step)
        for _ in range(12):
            on_step()
            await anyio.lowlevel.checkpoint()
    await waiting.aclose()
    after = ResilientStream("http://host/stream", client=client, max_retries=0, connect_timeout=5)
    try:
        await anext(after)
    except ResilientSSEError as error:
        return steps, f"{error.__cause__}; {pool.connections}"
    finally:
        await after.aclose()
        await client.aclose()
    return steps, None


@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["/stream", "/elsewhere"], ids=["direct", "redirected"])
@either_cut
@pytest.mark.slow
def test_a_cancelled_wait_for_a_slot_leaks_none(backend, cut, path, monkeypatch):
    """A stream that is cancelled around the moment when it gets a slot gives it back (section 3.8)."""
    leaks = {}
    for seed in range(4 if backend == "trio" else 1):
        monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        monkeypatch.setattr("trio._core._run._r", random.Random(seed))
        total, wrong = run_in_virtual_time(race_for_a_slot, NEVER, cut, path, backend=backend)
        assert wrong is None
        for step in range(1, total + 1):
            monkeypatch.setattr("trio._core._run._r", random.Random(seed))
            _, wrong = run_in_virtual_time(race_for_a_slot, step, cut, path, backend=backend)
            if wrong:
                leaks[seed, step] = wrong
    assert not leaks


class Ending(LoopbackStream):
    """A connection that says one thing and then ends, and whose closing takes a while."""

    how, _spoken = "reset", False

    async def read(self, max_bytes, timeout=None):  # noqa: ASYNC109 - httpcore's
        if self._incoming or not self._spoken:
            self._spoken = True
            return await super().read(max_bytes, timeout)
        await anyio.sleep(1)
        if self.how == "reset":
            raise httpcore.ReadError("reset")
        return b"0\r\n\r\n"

    async def aclose(self):
        await super().aclose()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()


class EndingNetwork(Loopback):
    async def connect_tcp(self, *args: Any, **options: Any) -> LoopbackStream:
        return Ending((await super().connect_tcp(*args, **options))._answer)


ENDS = ("reset", "end")
WAITED = 11.5


async def cut_while_leaving(step: int, how: str) -> tuple[int, list[str]]:
    """Cancel the task that is leaving a connection at some step; return what the pool holds at the end."""
    Ending.how, ends = how, how in ENDS
    client, pool = pooled_client((EndingNetwork if ends else Loopback)(answer), slots=1)
    limits = {"backoff": Backoff(50, maximum=50)} if ends else {"stall_timeout": 10, "connect_timeout": 5}
    stream = ResilientStream("http://host/stream", client=client, **limits)
    await anext(stream)
    steps = 0

    async def leave() -> None:
        task: Any = asyncio.current_task()

        def on_step() -> None:
            nonlocal steps
            if anyio.current_time() > WAITED:
                return  # cancelled once already, by the limit below
            steps += 1
            if steps == step:
                task.cancel()

        if how == "restart":
            stream.restart()
        await stepped(stream.aclose() if how == "aclose" else anext(stream), on_step)

    with suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(asyncio.create_task(leave()), WAITED + 0.5)
    await stream.aclose()
    held = [text for text in map(repr, pool.connections) if not (ends and "IDLE" in text)]
    await client.aclose()
    return steps, held


@pytest.mark.slow
@pytest.mark.parametrize("how", ["aclose", "restart", "stall", *ENDS])
def test_a_cancelled_closing_still_closes(how):
    """Cancelled while a connection is left or ends, nothing is left behind (3.4, 3.8, encode/httpcore#1093)."""
    total, held = run_in_virtual_time(cut_while_leaving, NEVER, how)
    assert held == []
    left = {}
    for step in range(1, total + 1):
        _, held = run_in_virtual_time(cut_while_leaving, step, how)
        if held:
            left[step] = held
    assert not left


# --- Polling with a timeout


@pytest.mark.parametrize("by", ["cancellation", "restart"])
async def test_cut_reads_are_no_sign_of_a_server_that_cannot_resume(script, by, record):
    """A program that polls a quiet stream with a timeout ends connections itself: no gap (section 3.10)."""
    script.respond(*numbered(1)).hang()
    for _ in range(5):
        script.respond().hang()
    gaps = []
    async with make(script, on_gap=gaps.append, on_state_change=record) as stream:
        await anext(stream)
        for _ in range(5):
            with anyio.move_on_after(10):
                await anext(stream)
            if by == "restart":
                stream.restart()
    assert gaps == []
    assert record.timetable[1:3] == [(10, "reconnecting", "restart"), (10, "connected", "opened")]


# --- Closing what has just been cancelled


@pytest.mark.parametrize("at", [0.5, 5, 11.5, 14], ids=["connecting", "reading", "between", "reconnecting"])
async def test_a_stream_whose_task_was_just_cancelled_can_be_closed(script, at, record):
    """`aclose()` right behind the cancellation of the loop ends the stream for good, and tells so (P15)."""
    script.respond(*numbered(1), pause(10), after=1).drop()
    script.respond(after=100).hang()
    stream = make(script, on_state_change=record, backoff=Backoff(initial=2, jitter=0))
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        await anyio.sleep(at)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await stream.aclose()
    assert stream.state is StreamState.CLOSED
    assert record.path[-1:] == ["closed"]
    assert script.live == 0
    assert await drain(stream) == []


# --- What is no Exception


async def test_keyboard_interrupt_comes_out_of_a_quiet_read_as_it_is(script):
    """Ctrl-C while the stream waits is `KeyboardInterrupt` and not a group around it."""
    script.respond(*numbered(1), pause(1)).drop(KeyboardInterrupt())
    stream = make(script)
    await anext(stream)
    with pytest.raises(KeyboardInterrupt):
        await anext(stream)
    await stream.aclose()
    script.closed_all()


async def test_a_callback_that_awaits_something_cancelled_is_just_a_failing_callback(
    script, anyio_backend_name
):
    """A callback that lets another task's cancellation out is counted, not taken for the stream's own (3.7)."""
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio lets one task's cancellation into another")
    script.respond(*numbered(1)).hang()
    stream = make(script)

    @stream.on_state_change
    async def _(change):
        stopped = asyncio.get_running_loop().create_future()
        stopped.cancel()
        await stopped

    async with stream:
        assert (await anext(stream)).id == "1"
    assert stream.stats.callback_errors >= 1


# --- Counting program cuts


async def test_a_gap_whose_callback_was_cancelled_is_still_handed_over(script):
    """`activity()` loses nothing to a read that is cancelled while a callback is being waited for (3.5)."""
    script.respond(b"".join(numbered(1, 3))).hang()
    told: list[Gap] = []

    async def slow(gap):
        told.append(gap)
        await anyio.sleep(5)

    async with make(script, sequence=integers, max_retries=0, on_gap=slow) as stream:
        activity = stream.activity()
        _, first = await take(activity, 2)
        with anyio.move_on_after(1) as scope:
            await anext(activity)
        gap, second = await take(activity, 2)

    assert scope.cancelled_caught
    assert (first.id, second.id) == ("1", "3")
    assert told == [gap] == [Gap(kind="hole", after_id="1", before_id="3", missing=1)]
    assert stream.stats.gaps == 1


def test_a_goodbye_whose_task_is_cancelled_reaches_everybody(record):
    """`Task.cancel` in the first of two goodbyes: the second hears of the end all the same (P15)."""

    async def leave() -> None:
        script = Script()
        script.respond(*numbered(1)).hang()
        stream = make(script)

        @stream.on_state_change
        async def _(change):
            if change.new is StreamState.CLOSED:
                await anyio.sleep(1)

        stream.on_state_change(record)
        await anext(stream)
        with suppress(TimeoutError):
            await asyncio.wait_for(stream.aclose(), 0.5)
        assert record.path[-1] == "closed"
        await stream.aclose()

    run_in_virtual_time(leave)
    assert record.path.count("closed") == 1


async def test_an_attempt_that_is_cancelled_before_it_begins_leaves_nothing(script):
    """No coroutine is left that nobody has awaited, which pytest would call an error (3.8)."""
    script.always(Reply(*numbered(1)).hang())
    stream = make(script)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(stream)
    await stream.aclose()
    assert script.live == 0


async def test_polls_that_are_shorter_than_an_answer_takes_are_told_of(script, caplog):
    """Each poll sends the request again and gets nothing: the log says so, once (3.3)."""
    script.always(Reply(*numbered(1), after=0.5).hang())
    stream = make(script)
    for _ in range(30):
        with anyio.move_on_after(0.2):
            await anext(stream)
    await stream.aclose()
    told = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert len(told) == 1
    assert "cancelled before the server has answered" in told[0]


class Late(httpx.AsyncBaseTransport):
    """Cancels who waits for the answer in the moment in which it is there."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.closed = 0

    async def handle_async_request(self, request):
        self.scope.cancel()
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Counted(self))


class Counted(httpx.AsyncByteStream):
    """A body without end, whose closing is counted."""

    def __init__(self, transport: Late) -> None:
        self._transport = transport

    async def __aiter__(self):
        yield b"data: a\n\n"
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self._transport.closed += 1


async def test_an_answer_that_comes_as_its_opening_is_cancelled_is_closed():
    """3.8: nobody has that answer, and it must not hold its connection until it is collected."""
    late = Late()
    async with httpx.AsyncClient(transport=late) as client:
        stream = ResilientStream("http://host/stream", client=client)
        with late.scope:
            await anext(stream)
        await stream.aclose()
        assert late.closed == 1
