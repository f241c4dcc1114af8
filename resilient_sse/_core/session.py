"""
The brain of a stream: what its state is, and what follows from what happens.

Theory of operation.  The client reports facts, each with the time: a connection was `opened`, bytes were
`received`, it has been `silent`, the connection was `lost`.  It asks two questions: what is the next thing for
the consumer (`take`), and for how long silence may go on (`silence.left`).  The session never waits, never
calls out except to functions the user gave for decisions, and never changes its state outside `TRANSITIONS`.

Two series of numbers must not be confused: `connection` counts connections that were opened, and
`outage.attempt` counts failures in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from resilient_sse._core import messages
from resilient_sse._core.batches import Batches
from resilient_sse._core.delivery import Delivery
from resilient_sse._core.errors import ConnectionLostError, HandshakeError, ResilientSSEError, StreamError
from resilient_sse._core.events import Activity, Closed, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.flight_recorder import FlightRecorder, looks_like
from resilient_sse._core.liveness import SilenceClock
from resilient_sse._core.options import SPENT_BODY, StreamOptions
from resilient_sse._core.outage import HOW_TO_END, Decision, Outage, reason_of, refusal_to_resend
from resilient_sse._core.parser import Block, Found, Item, Parser, RetryHint, end_of_last_block
from resilient_sse._core.recovery import Recovery, Resumption
from resilient_sse._core.sequence import Sequence, State
from resilient_sse._core.states import Category, Reason, StateChange, StreamState, Verdict
from resilient_sse._core.stats import StreamHealth, StreamStats, health_after


class Step(Enum):
    """What the client does next, once everything at hand was handed over."""

    CONNECT = "connect"
    """Make the next attempt, when it is due."""
    READ = "read"
    """Wait for bytes, as long as silence may last."""
    COMPLETE = "complete"
    """Close the connection: the stream has reached its end."""
    GO_ON = "go on"
    """Judge a further part of what was received: it was more than is good for one turn of the event loop."""
    END = "end"
    """Nothing: the stream is over."""


# So many bytes are parsed, and in batches judged, before others get a turn: 5 ms of the tiniest events.
_BYTES_A_TURN = 16 * 1024
# If they have no more lines than this, so many bytes, for 1 to 2 ms: events of 100 bytes cost 15 % less so.
_LONG_BYTES_A_TURN = 64 * 1024
_LINES_A_TURN = 2500

_CONNECTING, _CONNECTED, _WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
_RECONNECTING, _ERROR, _CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED

_WANTED = frozenset({Reason.RESTART, Reason.AGE, Reason.GAP})
_UP_LOSSES = _WANTED | {
    Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.PROTOCOL, Reason.SERVER,
}  # fmt: skip
_FAILED_OPENINGS = frozenset(
    {Reason.CONNECT, Reason.RESET, Reason.STATUS, Reason.SERVER, Reason.CONTENT_TYPE, Reason.PROTOCOL}
)
_HELD = frozenset({Reason.RESTART, Reason.CIRCUIT})
_GIVING_UP = _FAILED_OPENINGS | {Reason.RETRIES, Reason.RESTART}
_OPENED = frozenset({Reason.OPENED})
_SILENT = frozenset({Reason.STALL})
_ENDINGS = frozenset({Reason.COMPLETE, Reason.CLOSED})

_TRYING = {  # an attempt has the same ends, wherever it began
    _CONNECTED: _OPENED,
    _WAITING: _SILENT,
    _RECONNECTING: _FAILED_OPENINGS | _HELD,
    _ERROR: _GIVING_UP,
    _CLOSED: _ENDINGS,
}
_TABLE: dict[StreamState, dict[StreamState, frozenset[Reason]]] = {
    _CONNECTING: _TRYING,
    _CONNECTED: {
        _WAITING: _SILENT,
        _RECONNECTING: _UP_LOSSES,
        _ERROR: _UP_LOSSES | {Reason.RETRIES},
        _CLOSED: _ENDINGS,
    },
    _WAITING: {
        _CONNECTED: _OPENED,
        _RECONNECTING: _UP_LOSSES | _FAILED_OPENINGS | _HELD,
        _ERROR: _UP_LOSSES | _GIVING_UP,
        _CLOSED: _ENDINGS,
    },
    _RECONNECTING: _TRYING,
    _ERROR: _TRYING,
}
TRANSITIONS: Mapping[tuple[StreamState, StreamState], frozenset[Reason]] = MappingProxyType(
    {(old, new): reasons for old, row in _TABLE.items() for new, reasons in row.items()}
)
"""Every legal transition and the reasons it may have.  The diagram in the docs is drawn from this table."""


@dataclass(slots=True)
class _Connection:
    """What one connection has brought; made when it is opened, and again, without a time, when it is lost."""

    parser: Parser
    opened_at: float | None = None
    received_before: int = 0  # so many bytes came over the ones before
    cursor: str | None = None  # where it began
    begins: bytes = b""
    rest: list[bytes] = field(default_factory=list[bytes])  # what was received, and not judged yet
    answered: bool = False  # anything has come
    dispatched: bool = False  # an event
    proved: bool = False  # a new one


class Session:
    """
    One subscription over many connections.

    *random* draws from [0, 1).  With *in_batches* what a read brings may be judged at once: nobody looks at single
    events as they come.
    """

    def __init__(
        self, options: StreamOptions, *, random: Callable[[], float], in_batches: bool = False
    ) -> None:
        self._options = options
        self.stats = StreamStats()
        self.silence = SilenceClock(options)
        self.outage = Outage(options, random=random)
        retry = self.outage.pacing.retry
        self.batches = Batches(options, self.stats, retry=retry) if in_batches else None
        """What judges whole reads, `None` where events are judged one by one."""
        self.delivery = self.batches or Delivery(options, self.stats)
        self._sequence = self.delivery.sequence
        self.state = _CONNECTING
        """Where the stream stands."""
        self._health = StreamHealth(state=_CONNECTING)  # as of the last change
        self._attempted_at: float | None = None
        self._attempted_for: float | None = None
        self.unannounced: list[StateChange | Recovery | Exception] = []
        """What callbacks and observers have not been told yet."""
        self.connection = 0
        self.resume_at = 0.0
        """When the next attempt may be made, on the clock of the `now` arguments."""
        self.error: Exception | None = None
        """What to raise, once everything queued was taken, in state ERROR."""
        self._recorder = FlightRecorder(options.flight_recorder) if options.flight_recorder else None
        self._current = _Connection(Parser(max_event_bytes=options.max_event_bytes))
        self.end_warning = ""
        """What was odd about the end of the last connection, in words for those who run it; or nothing."""
        self._resumption = Resumption()
        self.answer: Opened | None = None
        """The head of the last answer that was a stream."""
        self._lost: tuple[Reason, float, float] | None = None  # the first loss: why, silent since when, when

    # What happens

    def start(self, now: float) -> None:
        """Begin to iterate, or to iterate again after an error; what must not be sent again is not."""
        if self.stats.started_at is None:
            self.stats.started_at = now
        if self.state is _ERROR and self.error is None:
            self.outage.renew()
            self._lost = None
            if (obstacle := self._obstacle()) is not None:
                self.error = refusal_to_resend(obstacle)

    def attempting(self, now: float) -> None:
        """Record that an attempt to open a connection begins; the next change of state ends it."""
        self._attempted_at, self._attempted_for = now, None

    def attempted(self, now: float) -> None:
        """Record that the attempt is over already, although nothing comes of it yet."""
        if self._attempted_at is not None:
            self._attempted_for = now - self._attempted_at

    @property
    def opening(self) -> bool:
        """Whether an attempt to open a connection is under way."""
        return self._attempted_at is not None and self._attempted_for is None

    def opened(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        cursor: str | None,
        now: float,
        url: str = "",
        lossy: bool = False,
    ) -> None:
        """Record an answer from *url* behind *cursor*; *lossy*: nothing could ask for what was missed."""
        stats, delivery = self.stats, self.delivery
        self.connection += 1
        stats.connections += 1
        stats.reconnects += self.connection > 1
        stats.connected_at = now
        parser = Parser(max_event_bytes=self._options.max_event_bytes)
        self._current = _Connection(parser, now, stats.bytes_received, delivery.cursor)
        self.outage.accepted()
        self.silence.start()
        if self._recorder is not None:
            self._recorder.connected(self.connection)
        delivery.connected(self.connection, resumed=cursor is not None)
        self.answer = Opened(
            connection=self.connection, status=status, headers=headers, last_event_id=cursor, url=url
        )
        delivery.notify(self.answer)
        in_force = delivery.last_event_id
        left = in_force if lossy or (in_force and cursor is None) else None
        self._report(self._resumption.opened(cursor, headers, left=left))
        self._move(_CONNECTED, Reason.OPENED, now, status=status, headers=headers)

    def receive(self, chunk: bytes, *, raw_size: int, waited: float, now: float) -> None:
        """Take *raw_size* bytes from the wire, decoded to *chunk*, that the consumer *waited* for (seconds)."""
        stats = self.stats
        stats.bytes_received += raw_size
        stats.last_byte_at = now if raw_size else stats.last_byte_at
        if self._recorder is not None:
            self._recorder.feed(chunk)
        current = self._current
        current.begins = current.begins or chunk[:16]
        if current.rest or len(chunk) > _BYTES_A_TURN:
            current.rest += _parts(chunk) if chunk else ()
            chunk = current.rest.pop(0)
        found: list[Found] | list[Item]
        if self.batches is not None:
            before = stats.delivered
            found = current.parser.feed_fast(chunk)
            dispatched = self.batches.judge(found)
            if stats.delivered != before:
                stats.last_event_at = now
                if not current.proved:
                    self._record_event(now)
        else:
            found = current.parser.feed(chunk)
            dispatched = self._queue(found)
        if current.parser.overflow is not None:
            current.rest.clear()
        if found:
            current.answered = True
            current.dispatched = current.dispatched or dispatched
        alive = self.silence.heard(raw_size, waited, frames=bool(found), event=dispatched)
        if alive and self.state is _WAITING:
            self._move(_CONNECTED, Reason.OPENED, now)

    def go_on(self, now: float) -> None:
        if self._current.rest:
            self.receive(b"", raw_size=0, waited=0.0, now=now)

    def _queue(self, items: list[Item]) -> bool:
        """Queue *items* to be judged one by one; return whether an event is among them."""
        dispatched = False
        for item in items:
            if isinstance(item, RetryHint):  # at once, even if what stands around it has to wait
                self.outage.pacing.retry(item.milliseconds)
                continue
            self.delivery.put(item)
            dispatched |= isinstance(item, Block) and item.data is not None
        if self._sequence is not None and self._sequence.state is State.ASKING:
            self._sequence.hold()
        return dispatched

    def silent(self, now: float) -> None:
        """Record that the silence, of a connection or before an answer, has become worth a notice."""
        if self.state is _CONNECTED or (self.opening and self.state is not _WAITING):
            self._move(_WAITING, Reason.STALL, now)

    def lost(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Record that the connection ended, and decide; everything it brought must have been taken."""
        reason = reason_of(error)
        if self.delivery.failure is not None:  # what stands behind it is not looked at, however it came
            self._current.rest.clear()
            self.delivery.give_up()
        current, partial = self._current, self.stats.partial
        answered = reason is Reason.EOF and current.answered
        # Events that no id can resume after come again with each answer, before the same error.
        again = isinstance(error, StreamError) and self.delivery.cursor == current.cursor
        relapses = again and not self._has_settled(now)
        self._disconnected(now, answered=answered)
        if relapses:
            self.outage.relapse()
        if reason is Reason.EOF:
            error = self._ended(current, cut=self.stats.partial > partial)
        stalled = reason in (Reason.STALL, Reason.EVENT_TIMEOUT)
        self.stats.stalls += stalled
        shown = (stalled or reason is Reason.EOF) and self._resumption.has_replayed
        if shown and self._sequence is not None and self._sequence.state is State.HEALING:
            self._sequence.release()
        if reason is Reason.EOF and self._options.on_eof == "complete":
            return self.complete(now)
        return self._decide(error, now, wall, answered=answered)

    def _ended(self, connection: _Connection, *, cut: bool) -> ResilientSSEError:
        """Return what came over a connection that ended cleanly."""
        looks, size = looks_like(connection.begins), self.stats.bytes_received - connection.received_before
        options, words, warning = self._options, "", ""
        if looks and not connection.answered:
            words = f"the {size} bytes of the answer are no event stream, they look like {looks}"
            warning = f"{words}; the error that ends the stream tells of it"
            warning += "" if self._recorder else "; flight_recorder=20 shows them in its wire"
        elif cut:
            words = "in the middle of an event, which was thrown away"
            warning = f"the answer ended {words}: the last event needs a blank line behind it, too"
            if options.on_eof == "complete":
                warning += '; with on_eof="complete" the stream ends here all the same'
        elif not connection.answered:
            words = "the server has sent nothing"
        elif not options.repeatable and options.on_eof == "reconnect":
            warning = f"the answer ended cleanly and no until= has matched, so it is a drop{HOW_TO_END}"
        self.end_warning = warning
        return ConnectionLostError(Reason.EOF, words)

    def refused(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Record that an attempt to open a connection failed, and decide."""
        self._report(self._resumption.refused(self.delivery.cursor, error))
        self._decide(error, now, wall)
        self.stats.failed_attempts += self.state is not _CLOSED

    def failed(self, error: Exception, *, now: float) -> None:
        """Record that a function of the caller's has raised, and give up: *error* is to be raised as it is."""
        self.error = error
        self._move(_ERROR, reason_of(error), now, error=error)

    def interrupted(self, *, now: float, at_once: bool) -> None:
        """Record that the program itself cut the connection: `restart()`, or a cancelled read."""
        # A cancelled read whose connection had brought nothing is paced: polling must not become a storm.
        paced = self.outage.asked_again(now) if at_once else not self._current.proved
        self._disconnected(now, cut=True)
        self._follow(self.outage.interrupt(paced=paced, obstacle=self._obstacle(), now=now), now)

    def attempt_now(self, now: float) -> None:
        """Make the next attempt at once, because the program asks; one that asks in a loop is paced."""
        delay = self.outage.pacing.delay(1) if self.outage.asked_again(now) else 0.0
        self.resume_at = min(self.resume_at, now + delay)

    def circuit_open(self, delay: float, now: float) -> None:
        """Record that the circuit breaker delays the next attempt by so many seconds, and tell it once."""
        self.resume_at = now + delay
        if self._health.reason is not Reason.CIRCUIT:
            self._move(_RECONNECTING, Reason.CIRCUIT, now, attempt=max(self.outage.attempt, 1), delay=delay)

    def unresumable(self) -> None:
        """Report that the program has cut a connection without a cursor: what was on its way is lost."""
        self._report(Gap(kind="unresumable"))

    def complete(self, now: float) -> None:
        self.close(now, Reason.COMPLETE)

    def close(self, now: float, reason: Reason = Reason.CLOSED) -> None:
        """End the stream; if the program asked for it, without what is still queued."""
        self._current.rest.clear()
        self.delivery.end(Closed(reason=reason), discard=reason is Reason.CLOSED)
        self._move(_CLOSED, reason, now)

    # What follows

    def figures(self) -> StreamStats:
        """Return the figures so far, without what was counted and not handed over yet."""
        stats, waiting = self.stats, self.delivery.waiting
        return replace(stats, received=stats.received - waiting, delivered=stats.delivered - waiting)

    def health(self, now: float) -> StreamHealth:
        at, event_at = self.stats.last_byte_at, self.stats.last_event_at
        return replace(self._health, last_byte_at=at, last_event_at=event_at, opening=self.opening, at=now)

    def next_step(self) -> Step | ResilientSSEError:
        """Return what is next, or why to leave the connection; raise, once, for what the stream has given up."""
        if self._current.rest or self.delivery.unfinished:
            return Step.GO_ON
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # it refers to this frame
        if self.state is _CLOSED:
            return Step.END
        if self.delivery.done:
            return Step.COMPLETE
        if self._current.opened_at is None:
            return Step.CONNECT
        if self.delivery.failure is not None:
            return StreamError(self.delivery.failure)
        if self._current.parser.overflow is not None:
            return self._current.parser.overflow
        if self._sequence is not None and self._sequence.state is State.ASKING:
            return ConnectionLostError(Reason.GAP, "asking again for missing events")
        return Step.READ

    def take(self, now: float) -> Activity | None:
        """Return the next thing for the consumer, `None` if there is none yet."""
        if self.batches is not None:
            return self.batches.take()
        while True:
            item = self.delivery.take()
            if item is None and self._sequence is not None and self._gives_up_waiting(self._sequence, now):
                continue
            if isinstance(item, ServerSentEvent):
                self.stats.last_event_at = now
                if not self._current.proved:
                    self._record_event(now)
            elif self.delivery.fresh:
                self._record_proof(now)
            return item

    def _record_event(self, now: float) -> None:
        """Record when events came that are for the consumer, and that the connection has brought something."""
        self._record_proof(now)
        self.stats.last_event_at = now
        if self.stats.time_to_first_event is None and self.stats.started_at is not None:
            self.stats.time_to_first_event = now - self.stats.started_at

    def _record_proof(self, now: float) -> None:
        """Record that the connection has brought something new: the outage is over."""
        current, outage = self._current, self.outage
        if current.proved or current.opened_at is None:
            return
        current.proved = True
        if self._lost is not None:
            (reason, silent_since, lost_at), self._lost = self._lost, None
            recovery = Recovery(
                reason=reason,
                attempts=max(outage.attempt, 1),
                silent_since=silent_since,
                lost_at=lost_at,
                opened_at=current.opened_at,
                recovered_at=now,
            )
            self.stats.last_recovery = recovery.recovery
            self.unannounced.append(recovery)
        outage.end()

    def _gives_up_waiting(self, sequence: Sequence, now: float) -> bool:
        """Bring up what the sequence keeps for a replay that will not come; return whether there was anything."""
        ended = self.state is _ERROR
        if self._current.opened_at is None and not ended:
            return False  # the attempt that heals is on its way
        settled = self._has_settled(now)
        if settled and sequence.settle():
            return True
        if sequence.state is State.HEALING:
            in_vain = settled
        else:  # where no reconnect may be made, a gap is better than the end of the stream
            may_ask = not (ended or self.outage.spent or self._obstacle() is not None)
            in_vain = sequence.state is State.ASKING and not may_ask
        if in_vain:
            sequence.release()
        return in_vain

    def is_proven(self, now: float) -> bool:
        """Whether the connection has brought something new, or has held for so long that it is well."""
        return self._current.proved or self._has_settled(now)

    def _has_settled(self, now: float) -> bool:
        """Whether the connection has held so long that it is well, and will not replay any more."""
        opened_at = self._current.opened_at
        return opened_at is not None and now - opened_at > self.outage.pacing.settle_after

    def _decide(
        self, error: ResilientSSEError, now: float, wall: datetime, *, answered: bool = False
    ) -> None:
        proven, obstacle = self.connection > 0, self._obstacle()
        try:
            decision = self.outage.decide(
                error, proven=proven, obstacle=obstacle, now=now, wall=wall, answered=answered
            )
        except Exception as exc:  # noqa: BLE001 - whatever the caller's classify or backoff raises
            self.failed(exc, now=now)
        else:
            self._follow(decision, now)

    def _follow(self, decision: Decision, now: float) -> None:
        reason, attempt, delay = decision.reason, decision.attempt, decision.delay
        if self._lost is None:
            times = (self.stats.connected_at, self.stats.last_byte_at)
            silent_since = max((at for at in times if at is not None), default=now)
            self._lost = reason, silent_since, now
        match decision.verdict:
            case Verdict.RETRY:
                error = None if reason in _WANTED else decision.error  # nothing was caught
                self.resume_at = now + delay
                self.delivery.notify(Disconnected(reason=reason, attempt=attempt, delay=delay, error=error))
                self._move(_RECONNECTING, reason, now, attempt=attempt, delay=delay, error=error)
            case Verdict.STOP:
                self.complete(now)
            case Verdict.RAISE:
                self.error = decision.error
                self._move(_ERROR, reason, now, error=self.error)

    def _obstacle(self) -> str | None:
        """Return why the request must not be sent again."""
        options = self._options
        if options.resumes and self.answer is not None:
            return None  # that is decided when the next request is made
        if not options.replayable_body:
            return SPENT_BODY
        dispatched = self.stats.delivered + self.stats.filtered > 0
        if options.repeatable or self.delivery.cursor is not None or not dispatched:
            return None
        return (
            "events were delivered and none had an id to resume from; sending the request again would repeat"
        )

    def _disconnected(self, now: float, *, cut: bool = False, answered: bool = False) -> None:
        """Settle the account of a connection that is gone; *cut* tells that the program itself has ended it."""
        current = self._current
        if current.opened_at is None:
            return
        while current.rest:
            self.go_on(now)
        if self._sequence is not None:
            self._sequence.settle()
        self.stats.partial += current.parser.finish()
        settled = self._has_settled(now)
        if settled:
            self.outage.end()
            self._lost = None
        if current.dispatched or not cut:  # what the program ends itself tells of a server only what came
            told = self._resumption.ended(dispatched=current.dispatched, settled=settled or answered)
            self._report(told)
        self._current = _Connection(Parser(max_event_bytes=self._options.max_event_bytes))
        self.delivery.fresh = False

    def _report(self, gap: Gap | None) -> None:
        if gap is not None:
            self.delivery.notify(gap)

    def _move(
        self,
        new: StreamState,
        reason: Reason,
        now: float,
        *,
        attempt: int = 0,
        delay: float | None = None,
        error: BaseException | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        old = self.state
        if reason not in TRANSITIONS.get((old, new), ()):
            raise AssertionError(f"no transition {old.value} -> {new.value} because of {reason.value}")
        if new is _ERROR and self._sequence is not None:
            self._sequence.release()
        goes_on = new is _WAITING  # the attempt that is silent, if one is under way
        if self._attempted_for is None and not goes_on:
            self.attempted(now)
        answer = error if isinstance(error, HandshakeError) else getattr(error, "__cause__", None)
        if isinstance(answer, HandshakeError):
            status, headers = answer.status, answer.headers
        change = StateChange(
            old=old,
            new=new,
            reason=reason,
            attempt=attempt or self.outage.attempt,
            max_retries=self._options.max_retries,
            delay=delay,
            error=error,
            status=status,
            headers=headers or {},
            at=now,
            attempted_at=None if goes_on else self._attempted_at,
            attempted_for=None if goes_on else self._attempted_for,
        )
        if not goes_on:
            self._attempted_at = self._attempted_for = None
        self.state = new
        self._health = health_after(self._health, change)
        if new is _ERROR and isinstance(error, ResilientSSEError) and self._recorder is not None:
            error.wire = self._recorder.lines
        self.stats.connection_errors += change.category is Category.CONNECTION_LOST
        self.stats.server_errors += change.category is Category.SERVER_ERROR
        self.stats.retries_exhausted += change.category is Category.MAX_RETRIES
        text, failure = messages.compose_or_default(change, self._options.messages)
        self.unannounced += filter(None, (failure, replace(change, message=text)))


def _parts(chunk: bytes) -> Iterator[bytes]:
    """Cut *chunk* into parts, each good for one turn of the event loop, between two blocks if it can be."""
    start = 0
    while len(chunk) - start > (turn := _turn(chunk, start)):
        part = chunk[start : start + turn]
        part = part[: end_of_last_block(part, turn) or turn]
        start += len(part)
        yield part
    yield chunk[start:]


def _turn(chunk: bytes, start: int) -> int:
    """Return how many bytes of *chunk* from *start* on are good for one turn of the event loop."""
    # The beginning spares to count the rest.
    if chunk.count(b"\n", start, start + _LONG_BYTES_A_TURN // 64) > _LINES_A_TURN // 50:
        return _BYTES_A_TURN
    part = chunk[start : start + _LONG_BYTES_A_TURN]
    # To take out line ends is to go from one to the next, and to stop at the last; count() looks at each byte.
    lines = len(part) - len(part.replace(b"\n", b"", _LINES_A_TURN + 1))
    return _LONG_BYTES_A_TURN if lines <= _LINES_A_TURN else _BYTES_A_TURN
