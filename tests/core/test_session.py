from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    NotResumableError,
)
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import State, integers
from resilient_sse._core.session import TRANSITIONS, Session, Step
from resilient_sse._core.states import Reason, StateChange, StreamState, Verdict

CONNECTING, CONNECTED, WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
RECONNECTING, ERROR, CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED

WALL = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)


class Stream:
    """A session, a clock, and the words to tell it what happens."""

    def __init__(self, *, random=lambda: 0.5, **options):
        self.now = 100.0
        self.session = Session(StreamOptions(**options), random=random)
        self.session.start(self.now)

    @property
    def state(self) -> StreamState:
        return self.session.state

    @property
    def stats(self):
        return self.session.stats

    @property
    def delay(self) -> float:
        """Seconds until the next attempt."""
        return self.session.resume_at - self.now

    def passes(self, seconds: float) -> Stream:
        self.now += seconds
        return self

    def opens(self, **headers: str) -> Stream:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.session.opened(200, names, cursor=self.session.delivery.cursor, now=self.now)
        return self

    def sends(self, text: str, *, after: float = 0.0) -> Stream:
        self.now += after
        chunk = text.encode()
        self.session.receive(chunk, raw_size=len(chunk), waited=after, now=self.now)
        return self

    def falls_silent(self) -> Stream:
        self.session.quiet(self.now)
        return self

    def loses(self, reason: Reason = Reason.RESET) -> Stream:
        self.session.lost(ConnectionLostError(reason), now=self.now, wall=WALL)
        return self

    def refuses(self, error=None, **headers: str) -> Stream:
        if isinstance(error, int):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            error = BadStatusError(status=error, headers=names)
        self.session.refused(error or ConnectionLostError(Reason.CONNECT), now=self.now, wall=WALL)
        return self

    def restarts(self, *, at_once: bool = True) -> Stream:
        self.session.interrupted(now=self.now, at_once=at_once)
        return self

    def taken(self) -> list:
        items = []
        while (item := self.session.take(self.now)) is not None:
            items.append(item)
        return items

    def events(self) -> list[str]:
        return [item.data for item in self.taken() if isinstance(item, ServerSentEvent)]

    def changes(self) -> list[StateChange]:
        untold = list(self.session.untold)
        self.session.untold.clear()
        return [change for change in untold if isinstance(change, StateChange)]

    def recoveries(self) -> list[Recovery]:
        untold = list(self.session.untold)
        self.session.untold.clear()
        return [recovery for recovery in untold if isinstance(recovery, Recovery)]

    def raises(self):
        """Raise what is to be raised, as the client does."""
        error, self.session.error = self.session.error, None
        return error

    def again(self) -> Stream:
        """Iterate once more."""
        self.session.start(self.now)
        return self


def up(**options) -> Stream:
    """Make a stream with an open connection, over which an event with an id has come."""
    stream = Stream(**options).opens().sends("id: 1\ndata: one\n\n")
    assert stream.events() == ["one"]
    stream.changes()
    return stream


# The table


EXPECTED = {
    CONNECTING: {CONNECTED, WAITING, RECONNECTING, ERROR, CLOSED},
    CONNECTED: {WAITING, RECONNECTING, ERROR, CLOSED},
    WAITING: {CONNECTED, RECONNECTING, ERROR, CLOSED},
    RECONNECTING: {CONNECTED, WAITING, RECONNECTING, ERROR, CLOSED},
    ERROR: {CONNECTED, WAITING, RECONNECTING, ERROR, CLOSED},
    CLOSED: set(),
}
"""The ways between the states: R77-R82, X3, X21."""

ROWS = [
    pytest.param(old, new, reason, id=f"{old.value}-{new.value}-{reason.value}")
    for (old, new), reasons in TRANSITIONS.items()
    for reason in sorted(reasons, key=lambda reason: reason.value)
]

FAILURES = {
    Reason.STATUS: BadStatusError(status=418, headers={}),
    Reason.SERVER: BadStatusError(status=501, headers={}),
    Reason.CONTENT_TYPE: BadContentTypeError("text/html", status=200, headers={}),
}


def in_state(state: StreamState, **options) -> Stream:
    """Lead a stream into *state* by what may happen to it."""
    stream = Stream(**options)
    if state in (CONNECTED, WAITING, RECONNECTING):
        stream.opens()
    if state is WAITING:
        stream.falls_silent()
    if state is RECONNECTING:
        stream.restarts()
    if state is ERROR:
        stream.refuses(FAILURES[Reason.STATUS])
        stream.raises()
        stream.again()
    if state is CLOSED:
        stream.session.close(stream.now)
    stream.changes()
    assert stream.state is state
    return stream


def happens(stream: Stream, new: StreamState, reason: Reason) -> None:
    """Let happen what leads to *new* because of *reason*."""
    if new is WAITING:
        stream.falls_silent()
    elif new is CLOSED:
        session = stream.session
        (session.complete if reason is Reason.COMPLETE else session.close)(stream.now)
    elif new is CONNECTED:
        stream.sends(":\n") if stream.state is WAITING else stream.opens()
    elif new is RECONNECTING and reason is Reason.RESTART:
        stream.restarts()
    elif stream.state in (CONNECTED, WAITING):
        stream.loses(reason)
    else:
        stream.refuses(FAILURES.get(reason, ConnectionLostError(reason)))


def test_the_ways_between_the_states():
    """These pairs are legal, and no others; a closed stream stays closed (R80, R81, X3, X21)."""
    legal = {state: {new for old, new in TRANSITIONS if old is state} for state in StreamState}
    assert legal == EXPECTED
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize("old, new, reason", ROWS)
def test_every_row_can_be_reached(old, new, reason):
    """Each legal transition happens by its reason, and callbacks are told of exactly this one (R80, R82)."""
    if new is ERROR and reason is Reason.RETRIES:
        stream = in_state(old, max_retries=0)
        stream.loses() if old in (CONNECTED, WAITING) else stream.refuses()
    else:
        answers = {RECONNECTING: Verdict.RETRY, ERROR: Verdict.RAISE}
        ready = []
        stream = in_state(old, classify=lambda _: answers.get(new) if ready else None)
        ready.append(True)
        if new is WAITING and old is not CONNECTED:
            stream.session.attempting(stream.now)
        happens(stream, new, reason)
    assert [(change.old, change.new, change.reason) for change in stream.changes()] == [(old, new, reason)]
    assert stream.state is new


@pytest.mark.parametrize("old", StreamState)
@pytest.mark.parametrize("new", StreamState)
def test_no_other_row(old, new):
    """Every other pair, and every other reason for a legal pair, is a bug and raises (R80)."""
    for reason in set(Reason) - TRANSITIONS.get((old, new), frozenset()):
        stream = Stream()
        stream.session.state = old
        with pytest.raises(AssertionError, match=f"{old.value} -> {new.value} because of {reason.value}"):
            stream.session._move(new, reason, stream.now)
        assert stream.state is old
        assert not stream.session.untold


# What a change tells


def test_errors_are_counted_by_category():
    """One count for each change that shows an error, in three categories (R109-R112)."""
    stream = up(max_retries=2).falls_silent().loses(Reason.STALL).refuses(503)
    stream.opens().restarts().refuses()
    stats = stream.stats
    assert (stats.connection_errors, stats.server_errors, stats.retries_exhausted) == (1, 1, 1)


# Numbered streams


def test_a_pace_behind_a_hole_counts_at_once():
    """The standard applies `retry:` where it stands; the very next reconnect heeds it (P6)."""
    stream = up(sequence=integers).sends("id: 3\ndata: three\n\nretry: 9000\n")
    stream.taken()
    assert stream.loses(Reason.GAP).delay >= 9.0


# Requests that must not be sent twice


@pytest.mark.parametrize("at_once", [True, False], ids=["restart", "cancelled-read"])
def test_an_unsafe_request_is_not_sent_again_by_an_interruption_either(at_once):
    """`restart()` and a cancelled read would repeat the request's effect just as well (P12)."""
    stream = Stream(repeatable=False).opens().sends("data: a\n\n")
    stream.taken()
    stream.restarts(at_once=at_once)
    assert stream.state is ERROR
    assert isinstance(stream.session.error, NotResumableError)


# Figures


def test_bytes_are_counted_as_they_came():
    """The network's bytes count, not what they decompress to."""
    stream = Stream().opens()
    stream.session.receive(b"data: " + b"x" * 100, raw_size=30, waited=0.0, now=101.0)
    stream.session.receive(b"", raw_size=12, waited=0.0, now=102.0)
    stream.session.receive(b"", raw_size=0, waited=0.0, now=103.0)
    assert stream.stats.bytes_received == 42
    assert stream.stats.last_byte_at == 102.0


def test_the_time_of_a_recovery():
    """From the loss to the first new event, over all attempts in between (R98, X8)."""
    stream = up()
    assert stream.stats.last_recovery is None
    stream.passes(10).loses(Reason.STALL).passes(1).refuses().passes(2).opens()
    stream.sends(": hi\n\nid: 1\ndata: one\n\n", after=0.5)
    assert stream.events() == []
    assert stream.stats.last_recovery is None
    stream.sends("id: 2\ndata: two\n\n", after=0.25)
    stream.changes()
    stream.taken()
    assert stream.stats.last_recovery == 3.75
    (recovery,) = stream.recoveries()
    assert (recovery.reason, recovery.attempts) == (Reason.STALL, 2)
    assert (recovery.recovery, recovery.silence, recovery.reconnected) == (3.75, 13.75, 3.0)
    stream.sends("id: 3\ndata: three\n\n").taken()
    assert stream.recoveries() == []


def test_a_quiet_reconnect_is_no_long_recovery():
    """A connection that has held counts as well again: an event an hour later recovers nothing (R98)."""
    stream = up().loses().passes(1).opens().passes(3600).sends(": ping\n\n").loses().passes(1).opens()
    stream.changes()
    stream.sends("id: 2\ndata: two\n\n").taken()
    (recovery,) = stream.recoveries()
    assert recovery.recovery == 1.0


def test_what_was_held_back_recovers_nothing():
    """Events of a lost connection, released after it, end no outage: nothing has come over a new one (R163)."""
    stream = up(sequence=integers).sends("id: 4\ndata: 4\n\n")
    assert stream.taken() == []
    assert stream.session.delivery.sequence.state is State.ASKING
    stream.loses(Reason.GAP).opens().loses().opens().loses().opens().loses(Reason.EOF)
    assert [item.data for item in stream.taken() if isinstance(item, ServerSentEvent)] == ["4"]
    assert stream.recoveries() == []
    assert stream.session.outage.attempt == 4


def calls_to_judge(stream: bytes, size: int) -> int:
    """Count the calls, those into C included, that judging *stream* in chunks of *size* bytes takes."""
    session = Session(StreamOptions(), random=lambda: 0.5, in_batches=True)
    session.start(0.0)
    session.opened(200, {}, cursor=None, now=0.0)
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for at in range(0, len(stream), size):
            session.receive(stream[at : at + size], raw_size=size, waited=0.0, now=0.0)
            while session.take(0.0) is not None or session.next_step() is Step.GO_ON:
                session.go_on(0.0)
    finally:
        sys.setprofile(None)
    return calls


FLOODS = [
    *(
        b":\n",
        b":\n\n",
        b"\n",
        b"retry: 1\n",
        b"retry: 1\n\n",
        b"id: 1\n\n",
        b"event: a\n",
        b"data:\n",
        b"a\n",
    ),
    *(b"x: y\n\n", b"a\n:\n\nid: 1\nretry: 2\n\n", b"event:heartbeat\ndata:\n\n"),
]
ORDINARY = b"".join(b"id: %d\nevent: price\ndata: %s\n\n" % (at, b"x" * 100) for at in range(1, 400))


@pytest.mark.parametrize("flood", [*FLOODS, b"\r", b"x", b"id: 1\ndata:\n\n"], ids=str)
def test_a_flood_takes_time_in_proportion_to_its_bytes(flood):
    """However it is cut; without events three times the calls a byte of ordinary ones at most (3.1, DESIGN 5)."""
    for size, least, each in ((2000, 2000, 25), (1, 200, 70)):
        some = flood * (least // len(flood))
        few, many = calls_to_judge(some, size), calls_to_judge(4 * some, size)
        assert many <= min(4.2 * few + 200, each * len(4 * some))
    if flood in FLOODS:
        calls = calls_to_judge(flood * (len(ORDINARY) // len(flood)), 16_000)
        assert calls <= 3 * calls_to_judge(ORDINARY, 16_000)
