"""
A session under everything that can happen to it, in any order, beside a model of a few lines.

The server's side is a log of numbered events.  A connection serves it from the cursor on, or from a little
before it, as whole events and as broken ones.  What the model knows by itself: which events were published, how
many failures followed each other, and when the last connection began.
"""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resilient_sse._core.backoff import Backoff
from resilient_sse._core.errors import BadStatusError, ConnectionLostError, RetriesExhaustedError
from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import integers
from resilient_sse._core.session import TRANSITIONS, Session
from resilient_sse._core.states import Reason, StateChange, StreamState
from tests.properties.sse_grammar import EXAMPLES

WALL = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)

UP = (StreamState.CONNECTED, StreamState.WAITING)
LONGEST_DELAY = 5.0

FIGURES = ["connections", "failed_attempts", "partial", "stalls", "bytes_received"]

KINDS = ["message", "message", "message", "unwanted", "heartbeat", "anonymous heartbeat", "comment"]
STORED = ["message", "unwanted"]


class SubscriptionMachine(RuleBasedStateMachine):
    """One stream from its first connection to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: list[tuple[str, str]] = []
        self.wanted: list[str] = []
        self.delivered: list[str] = []
        self.position = self.next = 0
        self.failures = 0
        self.opened_at: float | None = None
        self.asked_at = -math.inf
        self.polled = False
        self.proved = False
        self.floor = 0.0
        self.expected = dict.fromkeys(FIGURES, 0)
        self.state = StreamState.CONNECTING
        self.over = False

    @initialize(numbered=st.booleans(), max_retries=st.sampled_from([0, 1, 5, None]), seed=st.integers(0, 99))
    def begin(self, numbered, max_retries, seed):
        """Make the session."""
        self.max_retries = max_retries
        self.session = Session(
            StreamOptions(
                sequence=integers if numbered else None,
                dedup_window=20,
                events=lambda event: event.event != "unwanted",
                max_retries=max_retries,
            ),
            random=Random(seed).random,
        )
        self.session.start(self.now)

    # The server

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def publish(self, kinds):
        """Add to the log."""
        for kind in kinds:
            number = str(
                len([kind for kind, _ in self.log if kind not in ("anonymous heartbeat", "comment")]) + 1
            )
            self.log.append((kind, number))
            if kind == "message":
                self.wanted.append(number)

    def written(self, kind: str, number: str) -> bytes:
        """Write one entry of the log as it goes over the wire."""
        if kind == "comment":
            return b": keep-alive\n\n"
        if kind == "anonymous heartbeat":
            return b"event: heartbeat\ndata: {}\n\n"
        return f"id: {number}\nevent: {kind}\ndata: {kind} {number}\n\n".encode()

    # What happens

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.9, 5.1, 30.0]))
    def time_passes(self, seconds):
        """Let some time pass."""
        self.now += seconds

    def can_open(self) -> bool:
        return not self.over and self.opened_at is None and self.session.error is None

    @precondition(can_open)
    @rule(overlap=st.integers(0, 5))
    def open(self, overlap):
        """Accept a connection, which serves from the cursor on or from a little before it."""
        cursor = self.session.delivery.cursor
        self.now = max(self.now, self.session.resume_at)
        entries = [at for at, (_, number) in enumerate(self.log) if number == cursor]
        self.next = entries[-1] + 1 if entries else 0
        self.position = max(self.next - overlap, 0)
        self.session.opened(200, {}, cursor=cursor, now=self.now)
        self.opened_at, self.proved, self.answered = self.now, False, False
        self.expected["connections"] += 1

    @precondition(can_open)
    @rule(status=st.sampled_from([None, 503, 429, 403]), retry_after=st.sampled_from([None, 0, 3, 30, 3600]))
    def refuse(self, status, retry_after):
        """Refuse a connection, or have none at all."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        error = ConnectionLostError(Reason.CONNECT)
        if status is not None:
            error = BadStatusError(status=status, headers=headers)
            self.floor = 0.0 if retry_after is None else min(max(retry_after, 0.1), 60.0)
        self.now = max(self.now, self.session.resume_at)
        self.session.refused(error, now=self.now, wall=WALL)
        self.expected["failed_attempts"] += 1
        self.after_a_failure(final=status == 403 and retry_after is None)

    def can_read(self) -> bool:
        return self.opened_at is not None

    @precondition(can_read)
    @rule(count=st.integers(1, 6), cuts=st.lists(st.integers(0, 200), max_size=3))
    def receive(self, count, cuts):
        """Bring some whole events, in any chunks."""
        end = min(self.position + count, len(self.log))
        entries = range(self.position, end)
        # What is replayed comes from a store, and heartbeats are not stored (X13).
        stream = b"".join(
            self.written(*self.log[at]) for at in entries if at >= self.next or self.log[at][0] in STORED
        )
        self.position = end
        borders = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
        for start, stop in itertools.pairwise(borders):
            self.feed(stream[start:stop])
        self.answered |= bool(stream)

    @precondition(can_read)
    @rule(length=st.integers(1, 20))
    def break_off(self, length):
        """Bring a part of an event, and lose the connection."""
        if self.position < len(self.log):
            part = self.written(*self.log[self.position])[:length]
            self.feed(part)
            self.expected["partial"] += not part.startswith(b":")
        self.lose(Reason.RESET)

    def feed(self, chunk: bytes) -> None:
        self.session.receive(chunk, raw_size=len(chunk), waited=0.0, now=self.now)
        self.expected["bytes_received"] += len(chunk)

    @precondition(can_read)
    @rule()
    def fall_silent(self):
        """Give notice of a silence."""
        self.session.quiet(self.now)
        assert self.session.state is StreamState.WAITING

    @precondition(can_read)
    @rule(
        reason=st.sampled_from(
            [Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.PROTOCOL]
        )
    )
    def lose(self, reason):
        """Lose the connection, once everything it brought was taken."""
        self.take_all()
        answered = reason is Reason.EOF and self.answered
        self.session.lost(ConnectionLostError(reason), now=self.now, wall=WALL)
        self.expected["stalls"] += reason in (Reason.STALL, Reason.EVENT_TIMEOUT)
        self.connection_ended()
        if answered:
            self.failures = 0
        self.after_a_failure(answered=answered)

    @precondition(lambda self: not self.over and self.session.error is None)
    @rule(at_once=st.booleans())
    def restart(self, at_once):
        """Cut the connection, or the attempt to make one."""
        if self.opened_at is not None:
            self.take_all()
        paced = not self.proved
        if at_once:
            paced, self.asked_at = self.now - self.asked_at <= 5.0, self.now
        self.session.interrupted(now=self.now, at_once=at_once)
        if self.opened_at is not None:
            self.connection_ended()
        (change,) = self.told()
        assert (change.new, change.reason) == (StreamState.RECONNECTING, Reason.RESTART)
        assert change.attempt == max(self.failures, 1)
        low, high = Backoff().band(1) if paced else (0.0, 0.0)
        self.check_delay(change.delay, low, high)

    @precondition(lambda self: not self.over)
    @rule(count=st.integers(1, 5))
    def take(self, count):
        """Ask for a few things, as a consumer does."""
        for _ in range(count):
            self.take_one()

    @precondition(lambda self: not self.over and self.session.error is not None)
    @rule()
    def iterate_again(self):
        """Raise the error once everything was taken, and begin anew."""
        self.take_all()
        self.session.error = None
        self.session.start(self.now)
        self.failures = 0

    @precondition(lambda self: self.opened_at is not None)
    @rule()
    def catch_up(self):
        """Bring everything there is over a connection that holds: it is all delivered."""
        self.receive(count=len(self.log), cuts=[])
        self.take_all()
        assert self.delivered == self.wanted

    @precondition(lambda self: not self.over)
    @rule(complete=st.booleans())
    def end(self, complete):
        """Close the stream."""
        (self.session.complete if complete else self.session.close)(self.now)
        self.over = True
        self.opened_at = None
        self.take_all()

    # What must hold

    def take_one(self) -> bool:
        before = self.news()
        item = self.session.take(self.now)
        if self.news() > before:
            self.failures, self.proved = 0, True
        if item is None:
            return False
        # A server that loses nothing leaves no gap, but three connections without an event look like one.
        assert isinstance(item, ServerSentEvent | Comment | Opened | Disconnected | Closed | Gap)
        if isinstance(item, Gap):
            assert item.kind == "unresumable"
        if isinstance(item, ServerSentEvent):
            assert item.data == f"message {item.id}"
            assert item.connection == self.expected["connections"]
            self.delivered.append(item.id)
        return True

    def news(self) -> int:
        """Count the events that were there for the first time."""
        return self.session.stats.delivered + self.session.stats.filtered

    def take_all(self) -> None:
        while self.take_one():
            pass

    def connection_ended(self) -> None:
        if self.now - self.opened_at > LONGEST_DELAY:
            self.failures = 0
        self.opened_at, self.proved = None, False

    def after_a_failure(self, *, final: bool = False, answered: bool = False) -> None:
        change = self.told()[-1]
        if final:
            assert (change.new, change.reason) == (StreamState.ERROR, Reason.STATUS)
            assert self.session.error.status == 403
        elif answered:
            assert (change.new, change.attempt) == (StreamState.RECONNECTING, 1)
            self.check_delay(change.delay, *Backoff().band(1))
        elif self.max_retries is not None and self.failures >= self.max_retries:
            assert (change.new, change.reason) == (StreamState.ERROR, Reason.RETRIES)
            assert isinstance(self.session.error, RetriesExhaustedError)
            assert self.session.error.attempts == self.failures + 1
        else:
            self.failures += 1
            assert (change.new, change.attempt) == (StreamState.RECONNECTING, self.failures)
            self.check_delay(change.delay, *Backoff().band(self.failures))
        self.floor = 0.0

    def check_delay(self, delay: float, low: float, high: float) -> None:
        assert max(low, self.floor) <= delay <= max(high, min(self.floor * 1.1, 60.0))
        assert self.session.resume_at == self.now + delay

    def told(self) -> list[StateChange]:
        """Take the changes nobody was told yet, and check each of them."""
        untold = list(self.session.untold)
        self.session.untold.clear()
        changes = [change for change in untold if isinstance(change, StateChange)]
        for recovery in untold:
            if isinstance(recovery, Recovery):
                points = (recovery.silent_since, recovery.lost_at, recovery.opened_at, recovery.recovered_at)
                assert list(points) == sorted(points)
        for change in changes:
            assert change.old is self.state
            assert change.reason in TRANSITIONS[change.old, change.new]
            assert change.message
            assert change.at == self.now
            assert change.max_retries == self.max_retries
            assert (change.delay is not None) is (change.new is StreamState.RECONNECTING)
            self.state = change.new
        return changes

    @invariant()
    def the_states_are_legal(self):
        """Every change is a row of the table, and the last one leads to the present state (R80)."""
        self.told()
        assert self.state is self.session.state
        assert (self.state in UP) is (self.opened_at is not None)
        assert (self.state is StreamState.CLOSED) is self.over

    @invariant()
    def nothing_is_lost_or_repeated(self):
        """What was delivered is what was published up to the cursor: all of it, once, in order (R35, R57, R63)."""
        cursor = int(self.session.delivery.cursor or 0)
        assert self.delivered == [number for number in self.wanted if int(number) <= cursor]

    @invariant()
    def new_events_end_an_outage(self):
        """The count of failures is that of the model (R163)."""
        assert self.session.outage.attempt == self.failures

    @invariant()
    def the_figures_agree(self):
        """Counters are consistent at any moment, and count what happened (R89)."""
        figures = self.session.stats
        assert figures.received == (
            figures.delivered + figures.duplicates + figures.heartbeats + figures.filtered
        )
        assert figures.delivered == len(self.delivered)
        assert figures.reconnects == max(self.expected["connections"] - 1, 0)
        assert figures.id_conflicts == figures.lost == figures.callback_errors == figures.unusable_ids == 0
        for name in FIGURES:
            assert getattr(figures, name) == self.expected[name], name


@pytest.mark.slow
def test_a_session_under_everything():
    """No order of events makes an illegal transition, loses, repeats, miscounts, or waits too short (R8, P38)."""
    run_state_machine_as_test(
        SubscriptionMachine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None),
    )
