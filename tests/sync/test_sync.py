"""The stream for threads: the same as the async one, in real threads over real sockets (P33, P60)."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from resilient_sse import Backoff, CheckpointError, DecodeError, RetriesExhaustedError, StreamState
from resilient_sse import ResilientStream as AsyncStream
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.monitoring.console import Console
from resilient_sse.sync import ResilientStream
from resilient_sse.sync import stream as sync_stream
from tests.e2e.raw_server import EVENT_STREAM, Peer, RawServer
from tests.e2e.watching import soon

SOON = Backoff(initial=0.01, maximum=0.01)


def answering(peer: Peer) -> None:
    """
    Send events behind the given one; the path says how many, and what comes then.

    `/5/hold` keeps the connection open; `/5/204` closes it, and says on a resumed request that there is no more.
    """
    _, count, then = peer.request.target.split("/")
    last = int(peer.request.cursor or "0")
    if then == "204" and last >= int(count):
        peer.answer("204 No Content")
        return
    peer.head(EVENT_STREAM, "Connection: close")
    peer.send(b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in range(last + 1, int(count) + 1)))
    if then == "hold":
        peer.hold()


@pytest.fixture
def server() -> Iterator[RawServer]:
    """Run a server in a thread."""
    with RawServer(answering) as server:
        yield server


def surface(cls: type) -> dict[str, inspect.Signature | None]:
    """Return the public names of a class, with the arguments of its methods."""
    names = [name for name in dir(cls) if not name.startswith("_")]
    return {
        name: inspect.signature(member).replace(return_annotation=None)
        if inspect.isfunction(member)
        else None
        for name in names
        for member in [inspect.getattr_static(cls, name)]
    }


def names_of(signature: inspect.Signature | None) -> list[tuple[str, object]] | None:
    """Leave the annotations out: a callback there may be async."""
    return signature and [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_both_faces_are_alike():
    """Names and arguments are the same; only `aclose` is `close` (P33)."""
    there = {"close" if name == "aclose" else name: names_of(s) for name, s in surface(AsyncStream).items()}
    here = {name: names_of(s) for name, s in surface(ResilientStream).items()}
    assert here == there
    assert names_of(inspect.signature(ResilientStream)) == names_of(inspect.signature(AsyncStream))


def test_a_read_is_one_step_between_threads(server, monkeypatch):
    """What a read brought is handed over whole: an event costs little more than on asyncio (P33)."""
    steps, call = 0, sync_stream._call

    def counted(work):
        nonlocal steps
        steps += 1
        return call(work)

    monkeypatch.setattr(sync_stream, "_call", counted)
    with ResilientStream(f"{server.origin}/5000/204", backoff=SOON) as stream:
        assert [int(event.data) for event in stream] == list(range(1, 5001))
        assert stream.state is StreamState.CLOSED
        assert stream.stats.delivered == 5000
    assert steps < 35  # 105 KB are a handful of reads; in portions it would be more than 50


def test_positions_and_figures_are_those_of_the_thread(server):
    """What lies in a batch was not handed over yet."""
    with ResilientStream(f"{server.origin}/100/hold") as stream:
        for number in range(1, 101):
            event = next(stream)
            assert event.data == stream.last_event_id == str(number)
            assert stream.stats.delivered == stream.stats.received == number


def test_figures_hold_while_other_threads_read_them(server):
    """They add up, never go back, and tell of nothing that the program has not got (P33, P60)."""
    got, faults, over = 0, set(), threading.Event()

    def watch():
        before = 0
        while not over.is_set():
            stats, last_event_id = stream.stats, int(stream.last_event_id or 0)
            if stats.received != stats.delivered:
                faults.add("they do not add up")
            if stats.delivered < before:
                faults.add("they go back")
            if max(stats.delivered, last_event_id) > got + 1:
                faults.add("they are ahead")
            before = stats.delivered

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    watches = [threading.Thread(target=watch) for _ in range(2)]
    try:
        with ResilientStream(f"{server.origin}/20000/204", backoff=SOON) as stream:
            for thread in watches:
                thread.start()
            for event in stream:
                got = int(event.data)
    finally:
        over.set()
        sys.setswitchinterval(before)
        for thread in watches:
            thread.join(10)
    assert (got, faults) == (20000, set())


def test_callbacks_run_in_the_thread_that_consumes(server):
    """In order, one for each change, in the thread that iterates."""
    threads, states = set(), []

    def note(change):
        threads.add(threading.get_ident())
        states.append(change.new)

    with ResilientStream(f"{server.origin}/3/204", backoff=SOON, on_state_change=note) as stream:
        assert len(list(stream)) == 3
    assert threads == {threading.get_ident()}
    assert states[:2] == [StreamState.CONNECTED, StreamState.RECONNECTING]
    assert states[-1] is StreamState.CLOSED


def test_headers_may_block(server):
    """A function that fetches a token blocks its own stream only, and is called in its thread."""
    entered, release = threading.Event(), threading.Event()
    where = []

    def headers():
        where.append(threading.get_ident())
        entered.set()
        assert release.wait(10)
        return {"X-Token": "1"}

    def consume():
        with ResilientStream(f"{server.origin}/3/hold", headers=headers) as stream:
            next(stream)

    thread = threading.Thread(target=consume)
    thread.start()
    assert entered.wait(10)
    with ResilientStream(f"{server.origin}/3/hold") as other:
        assert next(other).data == "1"
    release.set()
    thread.join(10)
    assert where == [thread.ident]
    assert server.requests[-1].headers["x-token"] == "1"


def test_a_callback_may_close_and_restart(server):
    """What a callback calls of its stream works as on asyncio."""
    seen = []
    with ResilientStream(f"{server.origin}/2/hold", backoff=SOON) as stream:

        @stream.on_state_change
        def close(change):
            seen.append(change.new)
            if change.new is StreamState.CONNECTED and seen.count(StreamState.CONNECTED) == 1:
                stream.restart()
            elif change.new is StreamState.CONNECTED:
                stream.close()

        assert [event.data for event in stream] == []
    assert seen.count(StreamState.CONNECTED) == 2
    assert seen[-1] is StreamState.CLOSED


def test_callbacks_can_be_removed(server):
    """By the function that was passed or added, hashable or not (P33)."""

    class Unhashable(list):
        __call__ = list.append

    callback = Unhashable()
    stream = ResilientStream(f"{server.origin}/1/204", backoff=SOON, on_state_change=callback)
    stream.remove_callback(callback)
    stream.on_gap(callback)
    stream.remove_callback(callback)
    with pytest.raises(ValueError, match="callback"):
        stream.remove_callback(callback)
    assert len(list(stream)) == 1
    assert callback == []


@pytest.mark.parametrize("name", ["on_state_change", "on_gap", "headers"])
def test_coroutine_functions_are_refused(name):
    """Nobody would await them."""

    async def function(*_):
        pass

    with pytest.raises(TypeError, match=f"{name} must be a function, and not async"):
        ResilientStream("http://127.0.0.1/", **{name: function})
    with pytest.raises(TypeError, match="not async"):
        ResilientStream("http://127.0.0.1/").on_gap(function)


@pytest.mark.parametrize("observer", [Console(), Console().named("prices")])
def test_a_console_is_refused(observer):
    """It belongs into the event loop of its streams, and the one of these nobody has."""
    with pytest.raises(TypeError, match=r"^observers: a Console is for the async stream"):
        ResilientStream("https://host/stream", observers=[observer])


def test_giving_up():
    """Errors come out of the loop, or of the constructor."""
    with pytest.raises(ValueError, match="stall_timeout"):
        ResilientStream("http://127.0.0.1/", stall_timeout=-1)
    stream = ResilientStream("http://127.0.0.1:1/", max_retries=1, backoff=SOON)
    with pytest.raises(RetriesExhaustedError):
        list(stream)
    assert stream.state is StreamState.ERROR


def test_close_from_another_thread(server):
    """A pending read ends, and with it the loop."""
    stream = ResilientStream(f"{server.origin}/1/hold")
    got = []
    thread = threading.Thread(target=lambda: got.extend(stream))
    thread.start()
    while stream.state is not StreamState.CONNECTED or not stream.stats.delivered:
        time.sleep(0.01)
    stream.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [event.data for event in got] == ["1"]
    assert soon(lambda: server.peers[-1].left_at is not None)


def test_what_came_with_an_event_is_not_handed_out_behind_close(server):
    """The loop ends with the event at hand, as on asyncio, and that is what is counted and saved (P21, P33)."""
    store = MemoryCheckpoint()
    url = f"{server.origin}/99/hold"
    with ResilientStream(url, checkpoint=store, commit_every=50) as stream:
        for event in stream:
            if event.data == "3":
                threading.Thread(target=stream.close).start()
                assert soon(lambda: stream.state is StreamState.CLOSED)
        assert event.data == stream.last_event_id == "3"
        assert stream.stats.delivered == 3
    assert asyncio.run(store.load(url)).last_event_id == "3"


def test_two_threads_cannot_iterate_at_once(server):
    """The second gets an error, and the first goes on."""
    stream = ResilientStream(f"{server.origin}/1/hold")
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    while not stream.stats.delivered:
        time.sleep(0.01)
    time.sleep(0.05)
    with pytest.raises(RuntimeError):
        next(stream)
    stream.close()
    thread.join(10)


def test_two_threads_that_iterate_at_once_are_told_so():
    """What a thread has waited for, and another has taken, is no end of the stream (P33)."""
    ends: list[str] = []

    def drip(peer: Peer) -> None:
        peer.head(EVENT_STREAM)
        for number in range(300):
            peer.send(b"data: %d\n\n" % number)
            time.sleep(0.0005)
        peer.hold()

    def consume() -> None:
        while not ends:
            try:
                for _ in stream:
                    pass
                ends.append(stream.state.value)
            except RuntimeError:
                time.sleep(0)

    with RawServer(drip) as server, ResilientStream(server.origin) as stream:
        threads = [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert soon(lambda: ends or stream.stats.delivered == 300)
        stream.close()
        for thread in threads:
            thread.join(10)
    assert set(ends) == {"closed"}


def test_positions_are_committed(server):
    """Asking for the next event commits the one before; leaving by an exception commits nothing (P21)."""
    store = MemoryCheckpoint()
    url = f"{server.origin}/9/hold"

    def consume(count, fail=False):
        with ResilientStream(url, checkpoint=store) as stream:
            got = [next(stream).data for _ in range(count)]
            if fail:
                raise ZeroDivisionError
        return got

    with pytest.raises(ZeroDivisionError):
        consume(3, fail=True)
    assert consume(2) == ["3", "4"]
    assert consume(1) == ["5"]


def test_positions_that_are_saved_now_and_then(server):
    """At the end of the block the last event is saved that the thread has got, not one that came with it (P55)."""
    store = MemoryCheckpoint()

    def consume(count):
        with ResilientStream(f"{server.origin}/99/hold", checkpoint=store, commit_every=50) as stream:
            return [int(next(stream).data) for _ in range(count)]

    assert consume(3) == [1, 2, 3]
    assert consume(60) == [*range(4, 64)]
    assert consume(1) == [64]


def test_committing_by_hand(server):
    """`commit` waits for the save, and raises what it raises."""

    class Full(MemoryCheckpoint):
        async def save(self, key, last_event_id, *, expected):
            if last_event_id == "2":
                raise CheckpointError("full", key=key)
            return await super().save(key, last_event_id, expected=expected)

    with ResilientStream(f"{server.origin}/3/hold", checkpoint=Full(), ack="manual") as stream:
        stream.commit(next(stream))
        second = next(stream)
        with pytest.raises(CheckpointError, match="full"):
            stream.commit(second)


def test_ways_to_iterate_take_from_one_stream(server):
    """What came with an event goes to whoever asks next, by whichever way (P33)."""
    with ResilientStream(f"{server.origin}/6/204", backoff=SOON) as stream:
        activity = stream.activity()
        assert type(next(activity)).__name__ == "Opened"
        assert [next(stream).id, next(activity).id, next(stream).id] == ["1", "2", "3"]
        assert [event.id for event in stream] == ["4", "5", "6"]


@pytest.mark.parametrize("policy", ["raise", "skip", "replace"])
def test_decoded_in_the_thread_that_consumes(server, policy):
    """One malformed payload of six, by each policy; what decodes may block, so it runs here (P18, P33)."""
    threads = []

    def decode(data):
        threads.append(threading.current_thread())
        return 60 // (int(data) - 4)

    def replace(event, error):
        assert (event.id, type(error)) == ("4", ZeroDivisionError)
        return event

    store = MemoryCheckpoint()
    on_invalid = replace if policy == "replace" else policy
    with ResilientStream(
        f"{server.origin}/6/204",
        backoff=SOON,
        decode=decode,
        on_invalid=on_invalid,
        checkpoint=store,
        checkpoint_key="me",
    ) as stream:
        got = [next(stream) for _ in range(3)]
        if policy == "raise":
            with pytest.raises(DecodeError) as caught:
                next(stream)
            assert (caught.value.event.id, type(caught.value.__cause__)) == ("4", ZeroDivisionError)
            assert asyncio.run(store.load("me")).last_event_id == "3"
        got += list(stream)
        assert stream.stats.invalid == 1
    between = [got.pop(3).id] if policy == "replace" else []
    assert (got, between) == ([-20, -30, -60, 60, 30], ["4"] if policy == "replace" else [])
    assert set(threads) == {threading.current_thread()}


@pytest.mark.parametrize("ack", ["auto", "manual"])
def test_ctrl_c_while_decoding(server, ack):
    """The program has not got that event: it is there when asked again, and nothing commits it (P18, P21)."""
    cut = ["1", "3"]

    def decode(data):
        if cut and data == cut[0]:
            del cut[0]
            raise KeyboardInterrupt
        return int(data)

    store = MemoryCheckpoint()
    options = {"checkpoint": store, "checkpoint_key": "me", "ack": ack}
    with ResilientStream[int](f"{server.origin}/6/hold", decode=decode, **options) as stream:
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        if ack == "manual":
            with pytest.raises(RuntimeError, match="before the first event"):
                stream.commit()
        assert [next(stream), next(stream)] == [1, 2]
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert (stream.last_event_id, stream.stats.delivered, stream.stats.invalid) == ("2", 2, 0)
        if ack == "manual":
            stream.commit()
            assert asyncio.run(store.load("me")).last_event_id == "2"
            assert next(stream) == 3
            stream.commit()
    assert asyncio.run(store.load("me")).last_event_id == ("2" if ack == "auto" else "3")


@pytest.mark.parametrize("more", ["", ", decode=int"])
def test_an_event_that_comes_with_ctrl_c_is_not_committed(server, more):
    """The thread has not got it, so after a restart it comes again (P21)."""
    program = f"""
        import signal, sys, threading
        from resilient_sse.checkpoints import MemoryCheckpoint
        from resilient_sse.sync import ResilientStream

        def observer(fact):
            if getattr(fact, "id", None) == "3":
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        store = MemoryCheckpoint()
        with ResilientStream(sys.argv[1], checkpoint=store, observers=[observer]{more}) as stream:
            try:
                for item in stream:
                    pass
            except KeyboardInterrupt:
                print("interrupted")
        with ResilientStream(sys.argv[1], checkpoint=store) as stream:
            print(next(stream).id)
    """
    process = run_program(program, f"{server.origin}/6/hold")
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("interrupted\n3\n", "")


def test_an_observer_that_calls_the_stream_stops_nobody(server):
    """It runs in the event loop of all streams, which such a call would block for ever."""
    failures = []

    def observer(_):
        try:
            stream.close()
        except RuntimeError as error:
            failures.append(str(error))

    with ResilientStream(f"{server.origin}/2/hold", observers=[observer]) as stream:
        assert next(stream).id == "1"
    assert "event loop of all streams" in failures[0]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_auth_that_ends_its_thread(server, kind):
    """It ends its own stream only: the others, and the event loop of all, go on."""

    def sign(_request: httpx.Request) -> httpx.Request:
        raise kind("enough")

    with ResilientStream(f"{server.origin}/3/hold") as stream:
        next(stream)
        with ResilientStream(f"{server.origin}/1/hold", auth=sign) as other, pytest.raises(kind):
            next(other)
        assert [next(stream).id for _ in range(2)] == ["2", "3"]
        stream.restart()
        with ResilientStream(f"{server.origin}/1/hold") as other:
            assert next(other).id == "1"


def test_ctrl_c_at_any_moment(server):
    """However often, the stream goes on, and events stay in order."""
    program = """
        import random, signal, sys
        from resilient_sse.sync import ResilientStream

        def interrupt(*_):
            if armed:
                raise KeyboardInterrupt

        armed, got, random = False, [], random.Random(1)
        signal.signal(signal.SIGALRM, interrupt)
        with ResilientStream(sys.argv[1], observers=[lambda _: None]) as stream:
            got.append(int(next(stream).data))
            while got[-1] < 150:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, random.random() / 500 + 1e-6)
                    event = next(stream)
                    armed = False
                    got.append(int(event.data))
                except KeyboardInterrupt:
                    pass
                finally:
                    armed = False
                    signal.setitimer(signal.ITIMER_REAL, 0)
        assert got == sorted(set(got))
        assert len(got) > 140  # one may be lost between the stream and the assignment
    """
    process = run_program(program, f"{server.origin}/150/hold")
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 0), err


def test_a_stream_that_is_dropped_is_closed(server):
    """With a warning, as of a file that was not closed."""
    stream = ResilientStream(f"{server.origin}/3/hold")
    next(stream)
    with pytest.warns(ResourceWarning, match="use 'with'"):
        del stream
    assert soon(lambda: server.peers[-1].left_at is not None)


def run_program(program: str, *arguments: str, **options) -> subprocess.Popen:
    """Start a program of the user's."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_ctrl_c(server):
    """It ends a wait at once, loses nothing, and leaves a traceback of the program's own."""
    program = """
        import sys
        from resilient_sse.sync import ResilientStream
        with ResilientStream(sys.argv[1]) as stream:
            print(next(stream).data, flush=True)
            try:
                for event in stream:
                    print(event.data, flush=True)
            except KeyboardInterrupt:
                print("interrupted", stream.state.value, flush=True)
    """
    process = run_program(program, f"{server.origin}/2/hold")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("interrupted connected\n", "", 0)


def test_close_in_the_handler_of_a_signal(server):
    """The thread that is interrupted hears of the end at once, before `close` returns (P33)."""
    heard: list[str] = []

    def close(*_):
        stream.close()
        heard.append("returned")

    before = signal.signal(signal.SIGUSR1, close)
    try:
        with ResilientStream(f"{server.origin}/1/hold") as stream:
            stream.on_state_change(lambda change: heard.append(change.new.value))
            next(stream)
            timer = threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1])
            timer.start()
            assert list(stream) == []
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == ["connected", "closed", "returned"]


ENDINGS = [("", ""), *(("", text) for text in ("stream.close()", "del stream", "raise SystemExit(0)"))]


@pytest.mark.parametrize("beginning, ending", [*ENDINGS, ("atexit.register(stream.close)", "")])
def test_the_program_ends(server, beginning, ending):
    """Whatever is open, and though `atexit` closes it behind the end of the event loop."""
    program = f"""
        import atexit, sys, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        from resilient_sse.sync import ResilientStream
        stream = ResilientStream(sys.argv[1])
        {beginning}
        print(next(stream).data)
        {ending}
    """
    named = server.origin.replace("127.0.0.1", "localhost")  # asyncio looks names up in threads
    process = run_program(program, f"{named}/3/hold")
    assert process.communicate(timeout=20) == ("1\n", "")
    assert process.returncode == 0


def test_a_generator_that_is_not_finished_when_the_program_ends(server):
    """Its block is left behind the end of the event loop, and says nothing."""
    program = """
        import sys, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        from resilient_sse.sync import ResilientStream

        def answer():
            with ResilientStream(sys.argv[1]) as stream:
                for event in stream:
                    yield event.data

        parts = answer()
        print(next(parts))
    """
    process = run_program(program, f"{server.origin}/3/hold")
    assert process.communicate(timeout=20) == ("1\n", "")


def test_a_daemon_thread_when_the_program_ends(server):
    """It is cut off where it waits, and says nothing."""
    program = """
        import atexit, sys, threading, time, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        atexit.register(time.sleep, 0.3)  # when the event loop has ended: time to complain
        from resilient_sse.sync import ResilientStream
        stream, got = ResilientStream(sys.argv[1]), threading.Event()

        def consume():
            for event in stream:
                got.set()

        threading.Thread(target=consume, daemon=True).start()
        assert got.wait(10)
        time.sleep(0.3)  # until it waits
    """
    process = run_program(program, f"{server.origin}/1/hold")
    assert process.communicate(timeout=20) == ("", "")


@pytest.mark.parametrize(
    "when, what",
    [("ending", "next(stream)"), ("ended", "next(stream)"), ("ended", "stream.stats, stream.health()")],
)
def test_a_daemon_thread_that_goes_on_when_the_program_ends(when, what):
    """Whatever it asks for while the event loop ends, or afterwards, nothing is said."""
    program = f"""
        import asyncio, atexit, sys, threading, time, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        begun, ending, ended = threading.Event(), threading.Event(), threading.Event()
        atexit.register(time.sleep, 0.2)  # time to complain
        atexit.register(ended.set)
        from resilient_sse.checkpoints import MemoryCheckpoint
        from resilient_sse.sync import ResilientStream

        class Slow(MemoryCheckpoint):
            async def load(self, key):
                try:
                    begun.set()
                    await asyncio.sleep(60)
                finally:
                    ending.set()
                    await asyncio.sleep(0.2)

        def goes_on():
            {when}.wait()
            {what}

        url = sys.argv[1]
        slow, stream = ResilientStream(url, checkpoint=Slow()), ResilientStream(url, stall_timeout=None)
        threading.Thread(target=next, args=[slow], daemon=True).start()
        threading.Thread(target=goes_on, daemon=True).start()
        assert begun.wait(10)
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        process = run_program(program, f"http://127.0.0.1:{port}/")
        assert process.communicate(timeout=20) == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_a_callback(server):
    """A child that a callback starts has streams of its own."""
    program = """
        import os, signal, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from resilient_sse.sync import ResilientStream
        children = []

        def fork(_):
            if not children:
                children.append(os.fork())
                if not children[0]:
                    signal.alarm(10)
                    with ResilientStream(sys.argv[1]) as other:
                        assert next(other).data == "1"
                    os._exit(0)

        with ResilientStream(sys.argv[1], on_state_change=fork) as stream:
            assert next(stream).data == "1"
        assert os.waitpid(children[0], 0)[1] == 0
    """
    process = run_program(program, f"{server.origin}/3/hold")
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_behind_a_fork(server):
    """A stream of the parent is refused in the child, which makes one of its own."""
    program = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from resilient_sse.sync import ResilientStream
        stream = ResilientStream(sys.argv[1])
        assert next(stream).data == "1"
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            assert next(stream).data == "2"
            stream.close()
        else:
            try:
                with ResilientStream(sys.argv[1]) as other:
                    assert next(other).data == "1"
                stream.restart()
            except RuntimeError as error:
                assert "another process" in str(error)
                os._exit(0)
            os._exit(1)
    """
    process = run_program(program, f"{server.origin}/3/hold")
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
