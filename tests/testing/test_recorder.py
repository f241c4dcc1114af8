"""What a recorder keeps, and that each assertion holds or fails when it should, and shows why (P24)."""

import re

import pytest

from resilient_sse import (
    DEFAULT_MESSAGES,
    Backoff,
    Closed,
    Disconnected,
    Gap,
    Opened,
    Reason,
    ResilientStream,
    RetriesExhaustedError,
    ServerSentEvent,
    StateChange,
    StreamState,
    integers,
)
from resilient_sse.testing import (
    Moment,
    Recorder,
    assert_delays_within,
    assert_in_order,
    assert_messages,
    assert_no_duplicates,
    assert_nothing_lost,
    assert_reconnected,
    assert_states,
    comment,
    event,
    pause,
)

URL = "https://host/stream"


def recorded(*facts):
    """Make a record of facts, a second apart."""
    recorder = Recorder()
    recorder.moments.extend(Moment(100.0 + second, fact) for second, fact in enumerate(facts))
    return recorder


def events(*ids):
    """Make a record of events with these ids; the id is the data."""
    return recorded(*(ServerSentEvent(id=name, data=str(name)) for name in ids))


def walk(*steps):
    """Make a record of changes; a step is a state, a reason and, for RECONNECTING, a delay."""
    old, changes = StreamState.CONNECTING, []
    for state, reason, *delay in steps:
        change = StateChange(
            old=old,
            new=StreamState(state),
            reason=Reason(reason),
            attempt=len(delay),
            delay=delay[0] if delay else None,
            message=f"now {state}",
        )
        old = change.new
        changes.append(change)
    return recorded(*changes)


def outage(*delays, reason="reset"):
    """Return the steps of an outage with so many attempts."""
    losses = [("reconnecting", "connect" if number else reason, delay) for number, delay in enumerate(delays)]
    return [*losses, ("connected", "opened")]


async def test_a_recorder_sees_a_stream_from_its_start_to_its_end(script):
    """Events, changes, texts and delays are kept, and the timeline has one line for each thing."""
    script.respond(event("a", id="1"), comment("ping")).hang()
    script.reject(503)
    script.respond(pause(2), event("b" * 70, event="done", id="2"))
    recorder = Recorder()
    async with script.client() as client:
        stream = ResilientStream(
            URL, client=client, until="done", backoff=Backoff(jitter=0), observers=[recorder]
        )
        async with stream:
            taken = [item async for item in stream]
    assert recorder.events == taken
    assert recorder.ids == ["1", "2"]
    assert recorder.gaps == []
    assert [recovery.lost_at for recovery in recorder.recoveries] == [30]
    assert recorder.delays == [1.0, 2.0]
    assert [change.at for change in recorder.changes] == [0, 25, 30, 31, 33, 35]
    assert recorder.messages == [change.message for change in recorder.changes]
    states = ["connected", "waiting", "reconnecting", "reconnecting", "connected", "closed"]
    assert recorder.states == ["connecting", *states]
    assert recorder.timeline.splitlines() == [
        "     0.000 s  connecting -> connected (opened): Connected",
        "     0.000 s  connection 1 opened with status 200",
        "     0.000 s  event message 1: 'a'",
        "     0.000 s  comment: 'ping'",
        "    25.000 s  connected -> waiting (stall): Waiting for server response...",
        f"    30.000 s  waiting -> reconnecting (stall, attempt 1 in 1 s): {DEFAULT_MESSAGES['lost']}",
        "    30.000 s  disconnected (stall)",
        "    31.000 s  reconnecting -> reconnecting (server, attempt 2 in 2 s): Reconnecting (attempt 2)...",
        "    31.000 s  disconnected (server)",
        "    33.000 s  reconnecting -> connected (opened): Connection restored - resuming stream...",
        "    33.000 s  connection 2 opened with status 200, to resume after 1",
        f"    35.000 s  event done 2: {repr('b' * 70)[:60]}... (70 characters)",
        "    35.000 s  recovered from stall: 5.000 s, attempts: 2",
        "    35.000 s  connected -> closed (complete): Response complete",
        "    35.000 s  end of the stream (complete)",
    ]
    assert_states(recorder, "connecting", "connected", "waiting", ..., "connected", "closed")
    assert_nothing_lost(recorder, sent=[1, 2])
    assert_no_duplicates(recorder)
    assert_in_order(recorder)
    assert_reconnected(recorder, times=1, reason="stall")
    assert_delays_within(recorder, (1, 1), (2, 2))
    assert_messages(recorder, "Connected", ..., "Response complete")


async def test_a_loss_and_an_end_with_an_error_are_in_the_record(script):
    """A hole that the server cannot fill is a loss to the assertion; a stream that gave up ends in ERROR."""
    script.respond(event("1", id="1"), event("3", id="3")).hang()
    script.respond(event("3", id="3")).end()
    script.respond(status=204)
    recorder = Recorder()
    async with script.client() as client:
        async with ResilientStream(URL, client=client, sequence=integers, observers=[recorder]) as stream:
            assert [item.id async for item in stream] == ["1", "3"]
        (gap,) = recorder.gaps
        assert gap.missing == 1
        assert "gap (hole) after 1, before 3, 1 missing" in recorder.timeline
        with pytest.raises(AssertionError, match=r"^reported as lost: gap \(hole\) after 1, before 3"):
            assert_nothing_lost(recorder, sent=[1, 3])
        script.refuse(times=3)
        recorder = Recorder()
        async with ResilientStream(URL, client=client, max_retries=2, observers=[recorder]) as stream:
            with pytest.raises(RetriesExhaustedError):
                await anext(stream)
    assert_states(recorder, "connecting", "reconnecting", "reconnecting", "error")
    assert_reconnected(recorder, times=0)


async def test_the_recorder_takes_what_is_asked_for(script):
    """`take` leaves the stream open, and returns less when it ends."""
    script.respond(event("a"), event("b"), event("c", event="done"))
    recorder = Recorder()
    async with (
        script.client() as client,
        ResilientStream(URL, client=client, until="done", observers=[recorder]) as stream,
    ):
        assert [item.data for item in await recorder.take(stream, 2)] == ["a", "b"]
        assert stream.state is StreamState.CONNECTED
        assert [item.data for item in await recorder.take(stream, 2)] == ["c"]
        with pytest.raises(ValueError, match="count must be a whole number, at least 1, not 0"):
            await recorder.take(stream, 0)


def test_a_timeline_is_readable_at_any_length():
    """The beginning and the end of a long record are shown, how much is left out, and each kind of fact."""
    assert Recorder().timeline == "(nothing happened)"
    lines = events(*map(str, range(1000))).timeline.splitlines()
    assert len(lines) == 61
    assert lines[19].endswith("event message 19: '19'")
    assert lines[20].split() == ["...", "940", "more"]
    assert lines[21].endswith("event message 960: '960'")
    assert "more" not in events(*map(str, range(61))).timeline
    others = recorded(
        Opened(connection=1, status=200, headers={}),
        ServerSentEvent(event="price", data="1"),
        Gap(kind="unresumable", after_id="5"),
        Disconnected(reason=Reason.EOF, attempt=1, delay=1.0),
        Closed(reason=Reason.CLOSED),
    )
    assert [line.split(" s  ")[1] for line in others.timeline.splitlines()] == [
        "connection 1 opened with status 200",
        "event price: '1'",
        "gap (unresumable) after 5, before None",
        "disconnected (eof)",
        "end of the stream (closed)",
    ]


STALL = walk(
    ("connected", "opened"), ("waiting", "stall"), *outage(1, reason="stall"), ("closed", "complete")
)
PATH = ("connecting", "connected", "waiting", "reconnecting", "connected", "closed")


def test_a_long_record_is_judged_at_once():
    """Several `...` over hundreds of outages: no more work than for a few, where all places would take minutes."""
    path = ("connected", ..., "reconnecting", ..., "connected", ..., "reconnecting", ..., "connected")
    long = walk(*outage(1.0) * 500)
    assert_states(long, ..., *path, ...)
    with pytest.raises(AssertionError, match=r"expected: .*'error'"):
        assert_states(long, ..., *path, ..., "error")


def test_states_and_messages():
    """Both are given by name or value, `...` stands for any number; what does not match is shown in full."""
    for states in (
        [StreamState(state) for state in PATH],
        ("connecting", ..., "closed"),
        (...,),
        (..., *PATH, ...),
        (..., "waiting", ..., "connected", ...),
        ("connecting", "connected", ..., "connected", "closed"),
        (..., ..., "closed"),
    ):
        assert_states(STALL, *states)
        texts = [state if state is ... else f"now {StreamState(state).value}" for state in states]
        assert_messages(STALL, *(text for text in texts if text != "now connecting"))
    for states in (
        (),
        PATH[1:],
        PATH[:-1],
        (*PATH, "closed"),
        ("connecting", ..., "connected"),
        (..., "connected", ..., "waiting", ..., "waiting", ...),
        ("closed", ...),
        (*PATH, ..., "closed"),
    ):
        with pytest.raises(AssertionError) as caught:
            assert_states(STALL, *states)
        expected = ", ".join("..." if state is ... else repr(state) for state in states) or "none"
        assert str(caught.value).splitlines() == [
            "states",
            f"    expected: {expected}",
            f"         got: {', '.join(map(repr, PATH))}",
            "    timeline:",
            *(f"    {line}" for line in STALL.timeline.splitlines()),
        ]


UPS_AND_DOWNS = walk(
    ("connected", "opened"),
    *outage(1, 2, reason="reset"),
    *outage(1, reason="stall"),
    *outage(1, reason="reset"),
    ("reconnecting", "eof", 1.0),
    ("error", "retries"),
)
CONFLICT = (ServerSentEvent(id="1", data="a"), ServerSentEvent(id="1", data="b"))
DELAYS = walk(*outage(1, 2.5, 4, 4))


def rank(item):
    """Return the number in an id such as `a-7`."""
    return int(item.id[2:])


def test_what_holds():
    """What came besides does not matter; no id is no duplicate and has no place; an outage counts once."""
    assert events("1", None, "").ids == ["1"]
    assert_nothing_lost(events("1", "2", None, "3"), sent=range(1, 4))
    assert_nothing_lost(events("a", "b"), sent=["b"])
    assert_no_duplicates(events("1", "2", None, None, "", ""))
    assert_no_duplicates(recorded(*CONFLICT))
    assert_in_order(events("2", None, "10", "10", "", "11"))
    assert_in_order(events("b-1", "a-2", "a-2"), key=rank)
    assert_reconnected(UPS_AND_DOWNS)
    assert_reconnected(UPS_AND_DOWNS, times=3)
    assert_reconnected(UPS_AND_DOWNS, times=2, reason="reset")
    assert_reconnected(UPS_AND_DOWNS, reason=Reason.STALL)
    assert_reconnected(UPS_AND_DOWNS, times=0, reason="connect")
    assert_reconnected(walk(("waiting", "stall"), ("connected", "opened")), times=0)
    assert_delays_within(DELAYS, (0, 30))
    assert_delays_within(DELAYS, (1, 1), (2, 3), (4, 4))


@pytest.mark.parametrize(
    "check, complaint",
    [
        (lambda: assert_messages(STALL, "x"), r"messages\n +expected: 'x'\n +got: 'now connected', 'now"),
        (lambda: assert_nothing_lost(events("2"), range(1, 4)), r"2 of 3 not delivered: 1, 3\n"),
        (lambda: assert_nothing_lost(events("x"), range(20)), r"20 of .*: 0, 1, .*, 8, 9, \.\.\. 10 more\n"),
        (lambda: assert_no_duplicates(recorded(*CONFLICT, CONFLICT[0])), r"delivered more than once: 1\n"),
        (lambda: assert_in_order(events("10", None, "2")), r"event 2 was delivered behind event 10\n"),
        (lambda: assert_in_order(events("a-2", "b-1"), key=rank), r"event b-1 was .* behind event a-2\n"),
        (
            lambda: assert_reconnected(UPS_AND_DOWNS, times=3, reason="reset"),
            r"reconnects because of reset\n +expected: 3\n +got: 2; reconnects: 'reset', 'stall', 'reset'\n",
        ),
        (
            lambda: assert_reconnected(STALL, reason="eof"),
            r".* eof\n +expected: 1 or more\n +got: 0; .*'stall'\n",
        ),
        (
            lambda: assert_delays_within(DELAYS, (1, 1), (3, 4)),
            r"delay 2 of 4\n +expected: 3 to 4 s\n +got: 2.5 s\n",
        ),
        (lambda: assert_delays_within(DELAYS, (1, 1), (2, 3)), r"delay 3 of 4\n"),
        (
            lambda: assert_delays_within(DELAYS, *[(0, 9)] * 5),
            r"number of delays\n +expected: 5 or more\n +got: 1, 2.5, 4, 4\n",
        ),
    ],
)
def test_what_does_not_hold(check, complaint):
    """The error says what is wrong, shows the timeline, and points at the test: our own frames are hidden."""
    with pytest.raises(AssertionError, match=rf"^{complaint}(.*\n)*? +timeline:\n +0\.000 s  ") as caught:
        check()
    ours = [entry for entry in caught.traceback if entry.path.name == "recorder.py"]
    assert ours
    assert all(entry.ishidden(caught) for entry in ours)


def test_misuse_is_the_tests_mistake():
    """Bad input: what is misspelt, or could never fail or never pass, is no failure of the stream."""
    for misuse, complaint in (
        (lambda: assert_states(STALL, "joined"), "'joined' is not a valid StreamState"),
        (lambda: assert_nothing_lost(STALL, sent=[]), "sent must name at least one id"),
        (lambda: assert_in_order(events("b-1")), "the id 'b-1' is no number: pass key="),
        (lambda: assert_reconnected(STALL, reason="boredom"), "'boredom' is not a valid Reason"),
        (lambda: assert_delays_within(STALL), "bands must be pairs of least and most seconds, not ()"),
        (lambda: assert_delays_within(STALL, (2, 1)), "bands must be pairs of least and most seconds, not "),
    ):
        with pytest.raises(ValueError, match=re.escape(complaint)):
            misuse()
