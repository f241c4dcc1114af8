from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
)
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.session import TRANSITIONS, Session, Step
from resilient_sse._core.states import Reason, StateChange, StreamState, Verdict

CONNECTING, CONNECTED, WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
RECONNECTING, ERROR, CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED

WALL = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)


class Stream:
    """A session at one moment, and the words to tell it what happens."""

    def __init__(self, **options):
        self.now = 100.0
        self.session = Session(StreamOptions(**options), random=lambda: 0.5)
        self.session.start(self.now)

    @property
    def state(self) -> StreamState:
        return self.session.state

    def opens(self):
        self.session.opened(200, {}, cursor=None, now=self.now)

    def loses(self, reason: Reason = Reason.RESET):
        self.session.lost(ConnectionLostError(reason), now=self.now, wall=WALL)

    def refuses(self, error=None):
        self.session.refused(error or ConnectionLostError(Reason.CONNECT), now=self.now, wall=WALL)

    def changes(self) -> list[StateChange]:
        unannounced = list(self.session.unannounced)
        self.session.unannounced.clear()
        return [change for change in unannounced if isinstance(change, StateChange)]


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
        stream.session.silent(stream.now)
    if state is RECONNECTING:
        stream.session.interrupted(now=stream.now, at_once=True)
    if state is ERROR:
        stream.refuses(FAILURES[Reason.STATUS])
        stream.session.error = None  # it was raised
        stream.session.start(stream.now)
    if state is CLOSED:
        stream.session.close(stream.now)
    stream.changes()
    assert stream.state is state
    return stream


def happens(stream: Stream, new: StreamState, reason: Reason) -> None:
    """Let happen what leads to *new* because of *reason*."""
    session = stream.session
    if new is WAITING:
        session.silent(stream.now)
    elif new is CLOSED:
        (session.complete if reason is Reason.COMPLETE else session.close)(stream.now)
    elif new is CONNECTED and stream.state is WAITING:
        session.receive(b":\n", raw_size=2, waited=0.0, now=stream.now)
    elif new is CONNECTED:
        stream.opens()
    elif new is RECONNECTING and reason is Reason.RESTART:
        session.interrupted(now=stream.now, at_once=True)
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
        assert not stream.session.unannounced


# Figures


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


@pytest.mark.parametrize(
    "flood",
    ["a\ndata\n\n", "id: é\ndata\n\n", "data\ndata\n\n", "data\n:\n\n", "data:\nid:1\n\ndata:\nid:a\n\n",
     "a\n\ndata\n\n", "id\n\ndata\nid:1\n\n", "data\n\nid:1\ndata:\n\n:\nid: a\nevent:b\ndata:\n\nx\n\n",
     "id:1\ndata\n\nid:a\ndata:x\n\nid:1\ndata:x\n\n"],
    ids=ascii,
)  # fmt: skip
def test_blocks_of_odd_forms_are_judged_in_one_pass(flood):
    """A hostile server chooses the form: none costs the 40 to 60 calls a block that one by one they take (5)."""
    stream = (flood * (12_000 // len(flood))).encode()
    assert calls_to_judge(stream, 16_000) < 28 * stream.count(b"\n\n")
