"""Cancellation at every step of a stream's life, and closing it in every state."""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest

from resilient_sse import Backoff, Gap, ResilientSSEError, ResilientStream, StateChange, StreamState, integers
from resilient_sse.testing import Refusal, Reply, Script, comment, event, pause, run_in_virtual_time
from tests.client.support import Store, When, at_once, drain, hanging, later, make, numbered, stepped, take

EVENTS = 6
NEVER = 10**9
either_cut = pytest.mark.parametrize(
    "backend, cut",
    [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")],
    ids=["asyncio-scope", "asyncio-task", "trio-scope"],
)


class Steps:
    """Count the steps that a coroutine takes, and cancel at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.until = math.inf  # what is behind that time is not counted

    def cutting(self, cancel: Callable[[], object]) -> Callable[[], None]:
        """Return what counts a step, and calls *cancel* at the one."""

        def on_step() -> None:
            if anyio.current_time() <= self.until:
                self.count += 1
                if self.count == self.at:
                    cancel()

        return on_step


def wrong_at_any_step(play: Any, *arguments: Any, backend: str = "asyncio") -> dict[int, Any]:
    """Cut *play* at none of its steps, and then at each; return what went wrong, and where."""
    wrong = {}
    steps = Steps(NEVER)
    wrong[0] = run_in_virtual_time(play, steps, *arguments, backend=backend)
    for at in range(1, steps.count + 1):
        wrong[at] = run_in_virtual_time(play, Steps(at), *arguments, backend=backend)
    assert len(wrong) > 3
    return {at: found for at, found in wrong.items() if found}


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


async def live_through(steps: Steps, cut: str) -> list[str]:
    """Live through *Trouble*, cancelled once; return what went wrong."""
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

    options = {"checkpoint": store, "max_retries": None, "until": "done", "observers": [observe]}
    stream = make(script, on_state_change=callback, **options)
    got: list[str] = []
    wrong: list[str] = []

    async def once_by_scope() -> None:
        with anyio.CancelScope() as scope:
            got.append((await stepped(stream.__anext__(), steps.cutting(scope.cancel))).data)

    async def once_by_task() -> None:
        task: Any = asyncio.current_task()
        try:
            got.append((await stepped(stream.__anext__(), steps.cutting(task.cancel))).data)
        except asyncio.CancelledError:
            task.uncancel()
        if task.cancelling():
            wrong.append("the cancellation was swallowed")
            task.uncancel()

    with anyio.fail_after(100_000), suppress(StopAsyncIteration):
        while True:
            await (once_by_scope if cut == "scope" else once_by_task)()
    figures = stream.stats
    for held, what in (
        (got == [*map(str, range(1, EVENTS + 1)), ""], f"delivered {got}"),
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
    return wrong


@pytest.mark.slow
@either_cut
def test_cancelled_at_every_step_nothing_is_lost(backend, cut):
    """Wherever a wait is cancelled, going on delivers every event once and leaves nothing open (P15)."""
    assert wrong_at_any_step(live_through, cut, backend=backend) == {}


# --- A pool shared with others: section 3.8, encode/httpcore#1093


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REDIRECT = b"HTTP/1.1 307 Elsewhere\r\nLocation: /stream\r\nContent-Length: 0\r\n\r\n"
(EVENT,) = numbered(1)
ENDS = ("reset", "end")


class LoopbackStream(httpcore.AsyncNetworkStream):
    """A connection that answers at once, by an event or a redirect; then it is silent, or ends a second later."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._incoming = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        await anyio.lowlevel.checkpoint()
        if buffer.startswith(b"GET /elsewhere"):
            self._incoming += REDIRECT
        elif buffer:
            self._incoming += STREAM_HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(timeout):
            if not self._incoming:
                await anyio.sleep(1 if self._how in ENDS else math.inf)
                if self._how == "reset":
                    raise httpcore.ReadError("reset")
                return b"0\r\n\r\n"
            data, self._incoming = self._incoming, b""
            return data
        raise httpcore.ReadTimeout

    async def aclose(self) -> None:
        for _ in range(3 if self._how in ENDS else 1):
            await anyio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> None:
        return None


def pooled_client(how: str) -> tuple[httpx.AsyncClient, httpcore.AsyncConnectionPool]:
    """Return a client over httpcore's real pool with one slot, and the pool."""

    async def connect_tcp(*_args: Any, **_options: Any) -> LoopbackStream:
        await anyio.lowlevel.checkpoint()
        return LoopbackStream(how)

    network: Any = SimpleNamespace(connect_tcp=connect_tcp)
    transport = httpx.AsyncHTTPTransport()
    pool = transport._pool = httpcore.AsyncConnectionPool(max_connections=1, network_backend=network)
    return httpx.AsyncClient(transport=transport), pool


async def race_for_a_slot(steps: Steps, cut: str, path: str) -> str | None:
    """Cancel a stream that waits for the only slot at some step after its holder began to let go of it."""
    client, pool = pooled_client("silence")
    holder = ResilientStream("http://host/stream", client=client)
    waiting = ResilientStream(f"http://host{path}", client=client)
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

    on_step = steps.cutting(scope.cancel if cut == "scope" else lambda: [task.cancel() for task in tasks])
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
        return f"{error.__cause__}; {pool.connections}"
    finally:
        await after.aclose()
        await client.aclose()


@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["/stream", "/elsewhere"], ids=["direct", "redirected"])
@either_cut
@pytest.mark.slow
def test_a_cancelled_wait_for_a_slot_leaks_none(backend, cut, path, monkeypatch):
    """A stream that is cancelled around the moment when it gets a slot gives it back (section 3.8)."""
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)

    def race(steps, seed):
        monkeypatch.setattr("trio._core._run._r", random.Random(seed))
        return race_for_a_slot(steps, cut, path)

    for seed in range(4 if backend == "trio" else 1):
        assert wrong_at_any_step(race, seed, backend=backend) == {}, seed


WAITED = 11.5


async def cut_while_leaving(steps: Steps, how: str) -> list[str]:
    """Cancel the task that is leaving a connection at some step; return what the pool holds at the end."""
    ends = how in ENDS
    client, pool = pooled_client(how)
    limits = {"backoff": Backoff(50, maximum=50)} if ends else {"stall_timeout": 10, "connect_timeout": 5}
    stream = ResilientStream("http://host/stream", client=client, **limits)
    await anext(stream)

    async def leave() -> None:
        task: Any = asyncio.current_task()
        if how == "restart":
            stream.restart()
        await stepped(stream.aclose() if how == "aclose" else anext(stream), steps.cutting(task.cancel))

    steps.until = WAITED  # then it is cancelled already, by the limit below
    with suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(asyncio.create_task(leave()), WAITED + 0.5)
    await stream.aclose()
    held = [text for text in map(repr, pool.connections) if not (ends and "IDLE" in text)]
    await client.aclose()
    return held


@pytest.mark.slow
@pytest.mark.parametrize("how", ["aclose", "restart", "stall", *ENDS])
def test_a_cancelled_closing_still_closes(how):
    """Cancelled while a connection is left or ends, nothing is left behind (3.4, 3.8, encode/httpcore#1093)."""
    assert wrong_at_any_step(cut_while_leaving, how) == {}


# --- Polling with a timeout


@pytest.mark.parametrize("by", ["cancellation", "restart"])
async def test_cut_reads_are_no_sign_of_a_server_that_cannot_resume(script, by, record):
    """A program that polls a quiet stream with a timeout ends connections itself: no gap (section 3.10)."""
    script.play(hanging(1), *[Reply().hang()] * 5)
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


# --- Closing in any moment


@pytest.mark.parametrize(
    "at",
    [0.5, 5, 12, 14, 40, 45],
    ids=["connecting", "reading", "between", "reconnecting", "at the notice", "at the stall"],
)
@pytest.mark.parametrize("deed", ["aclose", "restart", "cancel"])
async def test_closing_behind_another_deed_in_any_moment(script, at, deed, record):
    """Whatever the program did, and whatever strikes then, `aclose()` ends the stream and says so (P15)."""
    script.play(Reply(*numbered(1), pause(10), after=1).drop(), Reply(*numbered(2), after=2).hang())
    script.always(Reply().hang())
    stream = make(script, on_state_change=record, backoff=Backoff(initial=2, jitter=0))
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        deeds = {"aclose": stream.aclose, "restart": stream.restart, "cancel": group.cancel_scope.cancel}
        await later(at, deeds[deed])
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5 if deed == "restart" else 0)
            await stream.aclose()
    assert (stream.state, record.states[-1:]) == (StreamState.CLOSED, ["closed"])
    assert (script.live, script.max_live) == (0, 1)
    assert await drain(stream) == []


# --- What is no Exception


class Stop(BaseException):
    """What a framework may use to end a program."""


@pytest.mark.parametrize("where", ["read", "notice", "callback"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Stop])
async def test_what_is_no_exception_comes_out_as_it_is(script, where, error):
    """Not in a group, out of a quiet read and out of a callback, and it leaves the stream usable."""
    script.respond(*numbered(1), pause(26)).drop(error() if where == "read" else None)
    stream = make(script)

    @stream.on_state_change
    def leave(change):
        if change.new.value == {"notice": "waiting", "callback": "connected"}.get(where):
            stream.remove_callback(leave)
            raise error

    with pytest.raises(error):
        await take(stream, 2)
    assert stream.stats.callback_errors == 0
    await stream.aclose()
    script.closed_all()


# --- Counting program cuts


async def test_a_gap_whose_callback_was_cancelled_is_still_handed_over(script):
    """`activity()` loses nothing to a read that is cancelled while a callback is being waited for (3.5)."""
    script.respond(at_once(1, 3)).hang()
    told: list[Gap] = []

    async def slow(gap):
        told.append(gap)
        await anyio.sleep(5)

    async with make(script, sequence=integers, max_retries=0, on_gap=slow) as stream:
        activity = stream.activity()
        await take(activity, 2)
        with anyio.move_on_after(1) as scope:
            await anext(activity)
        gap, second = await take(activity, 2)
    assert scope.cancelled_caught
    assert told == [gap] == [Gap(kind="hole", after_id="1", before_id="3", missing=1)]
    assert (second.id, stream.stats.gaps) == ("3", 1)


@either_cut
def test_a_goodbye_whose_task_is_cancelled_reaches_everybody(backend, cut, record):
    """Cancelled in the first of two goodbyes: the second hears of the end all the same (P15)."""

    async def leave() -> None:
        script = Script()
        script.respond(*numbered(1)).hang()
        stream = make(script, on_state_change=When("closed", takes=1))
        stream.on_state_change(record)
        await anext(stream)
        with suppress(TimeoutError):
            if cut == "task":
                await asyncio.wait_for(stream.aclose(), 0.5)
            with anyio.fail_after(0.5):
                await stream.aclose()
        assert record.states[-1] == "closed"
        await stream.aclose()

    run_in_virtual_time(leave, backend=backend)
    assert record.states.count("closed") == 1


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


async def test_an_answer_that_comes_as_its_opening_is_cancelled_is_closed():
    """3.8: nobody has that answer, and it must not hold its connection until it is collected."""
    scope, closed = anyio.CancelScope(), []

    class Body(httpx.AsyncByteStream):
        """A body without end, whose closing is noticed."""

        async def __aiter__(self):
            yield b"data: a\n\n"
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            closed.append(self)

    def answer_late(_request):
        scope.cancel()
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer_late)) as client:
        stream = ResilientStream("http://host/stream", client=client)
        with scope:
            await anext(stream)
        await stream.aclose()
        assert len(closed) == 1


@pytest.mark.parametrize("name", ["headers", "params", "content"])
async def test_what_a_function_waits_for_is_cancelled(script, name):
    """A token task of the program's that is cancelled has not cancelled the stream: an error says so (3.4)."""

    async def token():
        raise asyncio.CancelledError

    method = "POST" if name == "content" else "GET"
    stream = make(script, method=method, **{name: token})
    with pytest.raises(RuntimeError, match="waited for was cancelled"):
        await anext(stream)
    assert stream.state is StreamState.ERROR
    await stream.aclose()
