"""Callbacks and observers: in order, each once, and never at the stream's expense."""

import asyncio
import functools
import math
from contextlib import suppress

import anyio
import httpx
import pytest

from resilient_sse import (
    Closed,
    Comment,
    Disconnected,
    Gap,
    Opened,
    Recovery,
    ServerSentEvent,
    StateChange,
    StreamState,
    integers,
)
from resilient_sse.testing import Reply, comment, event, pause
from tests.client.support import Record, When, drain, dropped, hanging, make, numbered, take


class Failing:
    """A callback or observer that always raises, compares equal to its like, and has no hash."""

    __hash__ = None

    def __init__(self):
        self.calls = 0

    def __eq__(self, other):
        return isinstance(other, Failing)

    def __call__(self, fact):
        self.calls += 1
        raise ZeroDivisionError


# --- Order


async def test_callbacks_stand_where_the_change_happened(script):
    """Connected before the first event, lost behind the last one, a gap before the event behind it (3.7, R30)."""
    script.play(dropped(1, 2), hanging(3, 7), Reply(*numbered(7), pause(26), *numbered(8)).hang())
    said = []
    stream = make(script, sequence=integers)
    stream.on_state_change(
        lambda change: said.append(change.new.value if change.new is stream.state else "?")
    )
    stream.on_gap(lambda gap: said.append(gap.missing))
    async with stream:
        for _ in range(5):
            said.append((await anext(stream)).id)
            assert stream.state is StreamState.CONNECTED
    outage, silence = (["reconnecting", "connected"], ["waiting", "connected"])
    assert said == ["connected", "1", "2", *outage, "3", *outage, 3, "7", *silence, "8", "closed"]


async def test_callbacks_are_called_in_the_order_they_were_added(script):
    """Each waits for the one before, whatever callable of one argument it is, sync or async (R82)."""
    script.respond(*numbered(1)).hang()
    said = []

    class Listener:
        async def hear(self, change):
            await anyio.sleep(5)
            said.append("method")

        async def __call__(self, change):
            said.append("object")

    stream = make(script, on_state_change=lambda change: said.append("argument"))
    for callback in (
        Listener().hear,
        Listener(),
        functools.partial(lambda word, _: said.append(word), "part"),
    ):
        assert stream.on_state_change(callback) is callback
    stream.on_state_change(lambda change: said.append(anyio.current_time()))
    async with stream:
        await anext(stream)
        assert said == ["argument", "method", "object", "part", 5]


async def test_observers_hear_everything_and_callbacks_only_their_kind(script):
    """Observers get every fact that the consumer gets, before callbacks do; callbacks get theirs (P28, R153)."""
    script.play(Reply(comment("hi"), *numbered(1, 1), event("", event="heartbeat")).drop())
    script.play(*[Reply(*numbered(3), event("x", id="4", event="noise")).hang()] * 2)
    facts, told = [], []

    def tell(fact):
        assert facts[-1] is fact
        told.append(fact)

    options = {"sequence": integers, "events": {"message"}, "dedup": "always"}
    stream = make(script, observers=[facts.append], on_state_change=tell, on_gap=tell, **options)
    async with stream:
        items = await take(stream, 2)
    assert told == [fact for fact in facts if isinstance(fact, StateChange | Gap)]
    assert stream.stats.callback_errors == 0
    kinds = [type(fact) for fact in facts if not isinstance(fact, StateChange)]
    outage = [Disconnected, Opened]
    assert [kind for kind in kinds if kind not in (Comment, Recovery)] == [
        *[Opened, ServerSentEvent, *outage, *outage],
        *[Gap, ServerSentEvent, Closed],
    ]
    assert (kinds.count(Comment), kinds.count(Recovery)) == (1, 1)
    assert [fact for fact in facts if isinstance(fact, ServerSentEvent)] == items


# --- Failing


async def test_a_callback_that_always_raises_does_not_fill_the_log(script, caplog):
    """Nine failures are counted one by one and logged at the first, second, fourth and eighth (3.9)."""
    for number in range(4):
        script.respond(*numbered(number)).drop()
    script.respond(*numbered(4)).hang()
    failing, twin, record = Failing(), Failing(), Record()
    async with make(script, on_state_change=failing) as stream:
        stream.on_state_change(twin)
        stream.on_state_change(record)
        await take(stream, 5)
        assert failing.calls == twin.calls == len(record.changes) == 9
        assert stream.stats.callback_errors == 18
    failed = [entry for entry in caplog.records if "callback of the stream failed" in entry.getMessage()]
    assert len(failed) == 8, "each has a count of its own, though they are equal"
    assert failed[0].exc_info[0] is ZeroDivisionError


async def test_a_text_that_cannot_be_made_is_told_of(script, caplog):
    """The default text stands in, and the log says what is wrong with the caller's (R76, 3.7)."""
    script.respond(*numbered(1)).hang()
    record = Record()
    async with make(script, messages={"connected": "{delay:.1f}"}, on_state_change=record) as stream:
        await take(stream, 1)
        assert (record.changes[0].message, stream.stats.callback_errors) == ("Connected", 1)
    (failed,) = [entry for entry in caplog.records if entry.exc_info]
    assert failed.getMessage() == "a callback of the stream failed, 1 times so far: messages"
    assert "NoneType" in str(failed.exc_info[1])


@pytest.mark.parametrize("waits", [False, True], ids=["asks", "waits"])
async def test_a_callback_that_is_told_of_what_is_cancelled(script, waits):
    """The `CancelledError` of another task's is an error like others: nobody has cancelled the stream (3.7)."""
    script.respond(*numbered(1)).hang()

    def ask(fact):
        raise asyncio.CancelledError

    async def wait(change):
        ask(change)

    async with make(script, observers=[ask], on_state_change=wait if waits else ask) as stream:
        await take(stream, 1)
        assert stream.stats.callback_errors == 4


async def test_a_callback_that_fails_is_logged_by_its_name(script, caplog):
    """What it is bound to may have a `repr` that tells a token (P30, section 3.9)."""

    class App(str):
        __slots__ = ()

        def changed(self, change):
            raise ValueError(change.old)

    script.respond(*numbered(1)).hang()
    bound = functools.partial(App.changed, App("s3cret"))
    async with make(script, on_state_change=App("s3cret").changed, observers=[bound]) as stream:
        await take(stream, 1)
    failed = [entry.getMessage() for entry in caplog.records if entry.exc_info]
    assert failed
    assert all(entry.endswith(".App.changed") for entry in failed)


async def test_iterating_inside_a_callback_is_refused(script):
    """It would wait for itself: a `RuntimeError` inside the callback, and the stream goes on (section 1)."""
    script.respond(*numbered(1)).hang()
    stream = make(script)

    async def iterate():
        with pytest.raises(RuntimeError, match="inside a callback"):
            await anext(stream)

    told = stream.on_state_change(When("connected", iterate))
    async with stream:
        assert (await anext(stream)).id == "1"
    assert len(told.ended) == 1


# --- Adding and removing


async def test_callbacks_come_and_go_within_a_change(script):
    """What is removed is not called any more, not even for this change; what is added, from the next on."""
    script.play(dropped(1), hanging(2))
    once, removed, added, behind = Record(), Record(), Record(), Record()
    stream = make(script)

    @stream.on_state_change
    def first_only(change):
        once(change)
        for callback in (first_only, removed):
            stream.remove_callback(callback)
        stream.on_state_change(added)

    stream.on_state_change(removed)
    stream.on_state_change(behind)
    async with stream:
        await take(stream, 2)
    assert (once.states, removed.states) == (["connecting", "connected"], [])
    assert behind.states == ["connecting", *added.states]
    assert added.states == ["connected", "reconnecting", "connected", "closed"]


async def test_removing_takes_back_one_adding_of_each_kind(script):
    """What was added twice is called once more; what listens to both kinds is removed from both."""
    script.respond(*numbered(1)).hang()
    calls, observed = [], []
    stream = make(script, observers=[observed.append])
    for add in (stream.on_state_change, stream.on_state_change, stream.on_gap):
        add(calls.append)
    stream.remove_callback(calls.append)  # a bound method is a new object each time, and equal
    async with stream:
        await anext(stream)
        assert len(calls) == 1
        stream.remove_callback(calls.append)
        for gone in (calls.append, observed.append):  # observers are for the life of the stream
            with pytest.raises(ValueError, match="not a callback"):
                stream.remove_callback(gone)


# --- Callbacks that act on the stream


async def test_a_callback_may_close_the_stream(script, record):
    """The loop ends normally, the other callbacks hear of both changes, in order (section 3.7)."""
    script.respond(*numbered(1)).hang()
    script.expect_no_more()
    stream = make(script)
    stream.on_state_change(When("connected", stream.aclose))
    stream.on_state_change(record)
    assert await drain(stream) == []
    assert [reason for _, _, reason in record.timetable] == ["opened", "closed"]
    assert stream.stats.callback_errors == 0
    script.closed_all()


async def test_who_has_iterated_is_not_inside_a_callback_of_the_next_who_does(script):
    """A program that has read events, and closes while another task's callback runs, waits for it (P15)."""
    script.respond(*numbered(1), pause(5)).drop()
    slow = When("reconnecting", takes=1.5)
    stream = make(script, on_state_change=slow)
    await anext(stream)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        await anyio.sleep(6)
        await stream.aclose()
        assert slow.ended
        assert stream.state is StreamState.CLOSED


@pytest.mark.parametrize("who", ["callback", "observer"])
async def test_a_callback_may_restart_the_stream(script, who, record):
    """The connection is dropped at once, without a delay, and the stream resumes (section 1)."""
    script.play(hanging(1, 2), hanging(1, 2))

    def restart_once(fact):
        if isinstance(fact, StateChange) and len(script.requests) == 1:
            stream.restart()

    stream = make(script, observers=[restart_once] if who == "observer" else [])
    if who == "callback":
        stream.on_state_change(restart_once)
    stream.on_state_change(record)
    async with stream:
        assert [item.id for item in await take(stream, 2)] == ["1", "2"]
    assert record.timetable[1:3] == [(0, "reconnecting", "restart"), (0, "connected", "opened")]


@pytest.mark.parametrize("waits", [True, False], ids=["callback-waits-for-it", "callback-goes-on"])
@pytest.mark.parametrize("at", ["connected", "waiting", "before an answer"])
async def test_a_task_that_a_callback_started_closes_the_connection(script, at, waits):
    """
    `aclose()` in a task of a callback's returns when the connection is closed, and no request follows (3.7).

    Before an answer it returns at once, and the attempt is given up behind the callback.
    """
    script.play(
        Reply(after=math.inf) if at == "before an answer" else Reply(*numbered(1), close_takes=0.5).hang()
    )
    script.expect_no_more()
    seen = []
    stream = make(script, waiting_after=1)

    async def close(done: anyio.Event) -> None:
        began = anyio.current_time()
        await stream.aclose()
        seen.append((script.live, anyio.current_time() - began))
        done.set()

    async def start() -> None:
        done = anyio.Event()
        group.start_soon(close, done)
        await (done.wait() if waits else anyio.sleep(1.5))

    stream.on_state_change(When("connected" if at == "connected" else "waiting", start))
    async with anyio.create_task_group() as group:
        assert [item.id async for item in stream] == (["1"] if at == "waiting" else [])
        assert stream.state is StreamState.CLOSED
    ((live, took),) = seen
    assert took == 0 if at == "before an answer" else (live == 0 and took < 1)
    script.closed_all()


# --- Time


async def test_a_slow_callback_does_not_hide_the_end_from_the_others(script, record):
    """Closing waits two seconds for callbacks; those behind a slow one still hear of it."""
    script.respond(*numbered(1)).hang()
    slow, slower = When("closed", takes=3), When("closed", takes=0.1)
    async with make(script) as stream:
        for callback in (slow, slower, record):
            stream.on_state_change(callback)
        await anext(stream)
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(2.0)
    assert record.states == ["connecting", "connected", "closed"]
    assert (len(slow.ended), len(slower.ended)) == (0, 0)


@pytest.mark.parametrize("ask", ["restart", "aclose"])
async def test_a_callback_of_the_silence_before_an_answer_runs_to_its_end(script, ask):
    """Who is told may restart or close the stream, and is not cut for that (3.7)."""
    script.stall_headers()
    script.respond(*numbered(1)).hang()
    stream = make(script)
    told = stream.on_state_change(When("waiting", getattr(stream, ask), takes=1))
    got = [item.id async for item in stream if not await stream.aclose()]
    assert got == (["1"] if ask == "restart" else [])
    assert len(told.ended) == 1


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
