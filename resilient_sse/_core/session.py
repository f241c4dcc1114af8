"""
The brain of a stream: what its state is, and what follows from what happens.

Theory of operation.  The client reports facts, each with the time: a connection was `opened`, bytes were
`received`, it has been `quiet`, the connection was `lost`.  It asks two questions: what is the next thing for
the consumer (`take`), and for how long silence may go on (`silence_left`).  The session never waits, never
calls out except to functions the user gave for decisions, and never changes its state outside `TRANSITIONS`.

Two series of numbers must not be confused: `connection` counts connections that were opened, and
`outage.attempt` counts failures in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from resilient_sse._core.batches import Batches
from resilient_sse._core.classify import reason_of
from resilient_sse._core.errors import ConnectionLostError, StreamError
from resilient_sse._core.events import Closed, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.intake import Delivery, Intake
from resilient_sse._core.journal import Journal
from resilient_sse._core.liveness import Silence
from resilient_sse._core.outage import HOW_TO_END as _ENDS
from resilient_sse._core.outage import Decision, Outage, refusal_to_resend
from resilient_sse._core.parser import Block, Found, Item, Parser, RetryHint, end_of_last_block
from resilient_sse._core.recorder import looks_like
from resilient_sse._core.recovery import Setback
from resilient_sse._core.resumption import Resumption
from resilient_sse._core.sequence import Sequence, State
from resilient_sse._core.states import Reason, StreamState, Verdict
from resilient_sse._core.stats import StreamStats

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from resilient_sse._core.errors import ResilientSSEError
    from resilient_sse._core.options import StreamOptions

__all__ = ["TRANSITIONS", "Session", "Step"]


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

_FAILURES = frozenset({Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.PROTOCOL})
_UP_LOSSES = _FAILURES | {Reason.SERVER, Reason.RESTART, Reason.AGE, Reason.GAP}
_FAILED_OPENINGS = frozenset(
    {Reason.CONNECT, Reason.RESET, Reason.STATUS, Reason.SERVER, Reason.CONTENT_TYPE, Reason.PROTOCOL}
)
_GIVING_UP = _FAILED_OPENINGS | {Reason.RETRIES, Reason.RESTART}
_WANTED = frozenset({Reason.RESTART, Reason.AGE, Reason.GAP})
_OPENED = frozenset({Reason.OPENED})
_SILENT = frozenset({Reason.STALL})
_ENDINGS = frozenset({Reason.COMPLETE, Reason.CLOSED})

TRANSITIONS: Mapping[tuple[StreamState, StreamState], frozenset[Reason]] = MappingProxyType(
    {
        (_CONNECTING, _CONNECTED): _OPENED,
        (_CONNECTING, _WAITING): _SILENT,
        (_CONNECTING, _RECONNECTING): _FAILED_OPENINGS | {Reason.RESTART},
        (_CONNECTING, _ERROR): _GIVING_UP,
        (_CONNECTING, _CLOSED): _ENDINGS,
        (_CONNECTED, _WAITING): _SILENT,
        (_CONNECTED, _RECONNECTING): _UP_LOSSES,
        (_CONNECTED, _ERROR): _UP_LOSSES | {Reason.RETRIES},
        (_CONNECTED, _CLOSED): _ENDINGS,
        (_WAITING, _CONNECTED): _OPENED,
        (_WAITING, _RECONNECTING): _UP_LOSSES | _FAILED_OPENINGS,
        (_WAITING, _ERROR): _UP_LOSSES | _GIVING_UP,
        (_WAITING, _CLOSED): _ENDINGS,
        (_RECONNECTING, _CONNECTED): _OPENED,
        (_RECONNECTING, _WAITING): _SILENT,
        (_RECONNECTING, _RECONNECTING): _FAILED_OPENINGS | {Reason.RESTART},
        (_RECONNECTING, _ERROR): _GIVING_UP,
        (_RECONNECTING, _CLOSED): _ENDINGS,
        (_ERROR, _CONNECTED): _OPENED,
        (_ERROR, _WAITING): _SILENT,
        (_ERROR, _RECONNECTING): _FAILED_OPENINGS | {Reason.RESTART},
        (_ERROR, _ERROR): _GIVING_UP,
        (_ERROR, _CLOSED): _ENDINGS,
    }
)
"""Every legal transition and the reasons it may have.  The diagram in the docs is drawn from this table."""


class _Connection:
    """What one connection has brought; made when it is opened, and again, without a time, when it is lost."""

    __slots__ = (
        "answered",
        "begins",
        "cursor",
        "dispatched",
        "fed",
        "opened_at",
        "parser",
        "proved",
        "received_before",
        "rest",
    )

    def __init__(
        self, max_event_bytes: int | None, *, opened_at: float | None = None, cursor: str | None = None
    ) -> None:
        self.opened_at = opened_at
        self.cursor = cursor  # where it began
        self.parser = Parser(max_event_bytes=max_event_bytes)
        self.begins, self.received_before = b"", 0  # its first bytes, and how many came over the ones before
        self.rest, self.fed = b"", 0  # what was received, and how much of it was judged
        self.answered = self.dispatched = self.proved = False  # anything has come; an event; a new one


class Session:
    """
    One subscription over many connections.

    Args:
        options: The settings.
        random: Draws from [0, 1): the source of jitter.
        in_batches: Whether what a read brings may be judged at once: nobody looks at single events as they come.
    """

    def __init__(
        self, options: StreamOptions, *, random: Callable[[], float], in_batches: bool = False
    ) -> None:
        self._options = options
        self.stats = StreamStats()
        self.silence = Silence(options)
        self.outage = Outage(options, random=random)
        retry = self.outage.pacing.retry
        self.batches = Batches(options, self.stats, retry=retry) if in_batches else None
        """What judges whole reads, `None` where events are judged one by one."""
        self.intake = self.batches or Intake(options, self.stats)
        self._sequence = self.intake.sequence
        self.journal = Journal(options, self.stats)
        self.connection = 0
        self.resume_at = 0.0
        """When the next attempt may be made, on the clock of the `now` arguments."""
        self.error: Exception | None = None
        """What to raise, once everything queued was taken, in state ERROR."""
        self._records = options.flight_recorder > 0
        self._current = _Connection(options.max_event_bytes)
        self.oddity = ""
        """What was odd about the end of the last connection, in words for those who run it; or nothing."""
        self._resumption = Resumption()
        self.answer: Opened | None = None
        """The head of the last answer that was a stream."""
        self._setback = Setback()

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self.journal.state

    def start(self, now: float) -> None:
        """Begin to iterate, or to iterate again after an error; what must not be sent again is not."""
        if self.stats.started_at is None:
            self.stats.started_at = now
        if self.state is StreamState.ERROR and self.error is None:
            self.outage.renew()
            self._setback.forget()
            obstacle = self._obstacle()
            if obstacle is not None:
                self.error = refusal_to_resend(obstacle)

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
        """
        Take note of an accepted response from *url*.

        *cursor* is the id that was asked for; *lossy* tells that nothing could ask for what was missed.
        """
        self.connection += 1
        self.stats.connections += 1
        self.stats.reconnects += self.connection > 1
        self.stats.connected_at = now
        self._current = _Connection(self._options.max_event_bytes, opened_at=now, cursor=self.intake.cursor)
        self.outage.accepted()
        self._current.received_before = self.stats.bytes_received
        self.silence.start()
        self.journal.recorder.connected(self.connection)
        self.intake.connected(self.connection, resumed=cursor is not None)
        self.answer = Opened(
            connection=self.connection, status=status, headers=headers, last_event_id=cursor, url=url
        )
        self.intake.notify(self.answer)
        in_force = self.intake.last_event_id
        left = in_force if lossy or (in_force and cursor is None) else None
        self._report(self._resumption.opened(cursor, headers, left=left))
        self._move(StreamState.CONNECTED, Reason.OPENED, now, status=status, headers=headers)

    def receive(self, chunk: bytes, *, raw_size: int, waited: float, now: float) -> None:
        """
        Take *raw_size* bytes from the wire, decoded to *chunk*, for which the consumer *waited* so many seconds.

        Raises:
            LimitExceededError: `next_step` has said so since an earlier call, and was not heeded.
        """
        stats = self.stats
        stats.bytes_received += raw_size
        stats.last_byte_at = now if raw_size else stats.last_byte_at
        if self._records:
            self.journal.recorder.feed(chunk)
        current = self._current
        current.begins = current.begins or chunk[:16]
        if current.rest or len(chunk) > _BYTES_A_TURN:
            chunk = self._part(chunk)
        found: list[Found] | list[Item]
        if self.batches is not None:
            before = stats.delivered
            found = current.parser.feed_fast(chunk)
            dispatched = self.batches.judge(found)
            if stats.delivered != before:
                stats.last_event_at = now
                if not current.proved:
                    self._brought(now)
        else:
            found = current.parser.feed(chunk)
            dispatched = self._queue(found)
        if current.parser.overflow is not None:
            current.rest, current.fed = b"", 0
        if found:
            current.answered = True
            current.dispatched = current.dispatched or dispatched
        alive = self.silence.heard(raw_size, waited, frames=bool(found), event=dispatched)
        if alive and self.journal.state is _WAITING:
            self._move(StreamState.CONNECTED, Reason.OPENED, now)

    @property
    def unfinished(self) -> bool:
        """Whether there is more to judge than was good for one turn of the event loop: `go_on` when it comes."""
        return bool(self._current.rest) or self.intake.unfinished

    def go_on(self, now: float) -> None:
        """Judge a further part of what was received."""
        if self._current.rest:
            self.receive(b"", raw_size=0, waited=0.0, now=now)

    def _part(self, chunk: bytes) -> bytes:
        """Keep *chunk*, and take as much of what was kept as is good for one turn of the event loop."""
        current = self._current
        if chunk:
            current.rest, current.fed = current.rest[current.fed :] + chunk, 0
        left, turn = len(current.rest) - current.fed, _turn(current.rest, current.fed)
        part = current.rest[current.fed : current.fed + turn]
        if left > turn:
            part = part[: end_of_last_block(part, len(part)) or len(part)]
            current.fed += len(part)
        else:
            current.rest, current.fed = b"", 0
        return part

    def _queue(self, items: list[Item]) -> bool:
        """Queue *items* to be judged one by one; return whether an event is among them."""
        dispatched = False
        for item in items:
            if isinstance(item, RetryHint):  # at once, even if what stands around it has to wait
                self.outage.pacing.retry(item.milliseconds)
                continue
            self.intake.put(item)
            dispatched |= isinstance(item, Block) and item.data is not None
        if self._sequence is not None and self._sequence.state is State.ASKING:
            self._sequence.hold()
        return dispatched

    def _brought(self, now: float) -> None:
        """Write down when events came that are for the consumer, and that the connection has brought something."""
        self._proof(now)
        self.stats.last_event_at = now
        if self.stats.time_to_first_event is None and self.stats.started_at is not None:
            self.stats.time_to_first_event = now - self.stats.started_at

    def figures(self) -> StreamStats:
        """Return the figures so far, without what was counted and not handed over yet."""
        stats, waiting = self.stats, self.intake.waiting
        return replace(stats, received=stats.received - waiting, delivered=stats.delivered - waiting)

    def next_step(self) -> Step | ResilientSSEError:
        """
        Return what can bring the stream on, or the error for which the connection is to be given up.

        Raises:
            ResilientSSEError: The stream has given up; once.
        """
        if self._current.rest or self.intake.unfinished:
            return Step.GO_ON
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # it refers to this frame
        if self.journal.state is _CLOSED:
            return Step.END
        if self.intake.done:
            return Step.COMPLETE
        if self._current.opened_at is None:
            return Step.CONNECT
        if self.intake.failure is not None:
            return StreamError(self.intake.failure)
        asks = self._sequence is not None and self._sequence.state is State.ASKING
        missing = ConnectionLostError(Reason.GAP, "asking again for missing events") if asks else None
        return self._current.parser.overflow or missing or Step.READ

    def quiet(self, now: float) -> None:
        """Take note that the silence, of a connection or before an answer, has become worth a notice."""
        if self.state is _CONNECTED or (self.journal.opening and self.state is not _WAITING):
            self._move(StreamState.WAITING, Reason.STALL, now)

    def take(self, now: float) -> Delivery | None:
        """Return the next thing for the consumer, `None` if there is none yet."""
        if self.batches is not None:
            return self.batches.take()
        while True:
            item = self.intake.take()
            if item is None and self._sequence is not None and self._waits_no_longer(self._sequence, now):
                continue
            if isinstance(item, ServerSentEvent):
                self._brought(now)
            elif self.intake.fresh:
                self._proof(now)
            return item

    def _waits_no_longer(self, sequence: Sequence, now: float) -> bool:
        """Bring up what the sequence keeps for a replay that will not come; return whether there was anything."""
        ended = self.state is StreamState.ERROR
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

    def _has_settled(self, now: float) -> bool:
        """Whether the connection has held so long that it is well, and will not replay what it has not."""
        opened_at = self._current.opened_at
        return opened_at is not None and now - opened_at > self.outage.pacing.settle_after

    def lost(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Take note that the connection ended, and decide; everything it brought must have been taken."""
        reason = reason_of(error)
        if self.intake.failure is not None:  # what stands behind it is not looked at, however it came
            self._current.rest, self._current.fed = b"", 0
            self.intake.give_up()
        current, partial = self._current, self.stats.partial
        answered = reason is Reason.EOF and current.answered
        # Events that no id can resume after come again with each answer, before the same error.
        again = isinstance(error, StreamError) and self.intake.cursor == current.cursor
        relapses = again and not self._has_settled(now)
        self._disconnected(now, answered=answered)
        if relapses:
            self.outage.relapse()
        if reason is Reason.EOF:
            error = self._ended(current, cut=self.stats.partial > partial)
        quiet = reason in (Reason.EOF, Reason.STALL, Reason.EVENT_TIMEOUT)
        sequence, had_its_chance = self._sequence, quiet and self._resumption.had_its_chance
        if sequence is not None and sequence.state is State.HEALING and had_its_chance:
            sequence.release()
        self.stats.stalls += reason in (Reason.STALL, Reason.EVENT_TIMEOUT)
        if reason is Reason.EOF and self._options.on_eof == "complete":
            return self.complete(now)
        return self._decide(error, now, wall, answered=answered)

    def _ended(self, connection: _Connection, *, cut: bool) -> ResilientSSEError:
        """Say what came over a connection that ended cleanly."""
        looks, size = looks_like(connection.begins), self.stats.bytes_received - connection.received_before
        options, shows = self._options, "" if self._records else "; flight_recorder=20 shows them in its wire"
        words = odd = ""
        if looks and not connection.answered:
            words = f"the {size} bytes of the answer are no event stream, they look like {looks}"
            odd = f"{words}; the error that ends the stream tells of it{shows}"
        elif cut:
            words = "in the middle of an event, which was thrown away"
            odd = f"the answer ended {words}: the last event needs a blank line behind it, too"
            if options.on_eof == "complete":
                odd += '; with on_eof="complete" the stream ends here all the same'
        elif not connection.answered:
            words = "the server has sent nothing"
        elif not options.repeatable and options.on_eof == "reconnect":
            odd = f"the answer ended cleanly and no until= has matched, so the request is sent again{_ENDS}"
        self.oddity = odd
        return ConnectionLostError(Reason.EOF, words)

    def refused(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Take note that an attempt to open a connection failed, and decide."""
        self._report(self._resumption.refused(self.intake.cursor, error))
        self._decide(error, now, wall)
        self.stats.failed_attempts += self.state is not StreamState.CLOSED

    def failed(self, error: Exception, *, now: float) -> None:
        """Take note that a function of the caller's has raised, and give up: *error* is to be raised as it is."""
        self.error = error
        self._move(StreamState.ERROR, reason_of(error), now, error=error)

    def interrupted(self, *, now: float, at_once: bool) -> None:
        """
        Take note that the program itself cut the connection: `restart()`, or a cancelled read.

        A cancelled read whose connection had brought nothing is paced: polling must not become a storm.
        """
        paced = self.outage.asked_again(now) if at_once else not self._current.proved
        self._disconnected(now, cut=True)
        self._follow(self.outage.interrupt(paced=paced, obstacle=self._obstacle(), now=now), now)

    def hurry(self, now: float) -> None:
        """Make the next attempt at once, because the program asks; one that asks in a loop is paced."""
        delay = self.outage.pacing.delay(1) if self.outage.asked_again(now) else 0.0
        self.resume_at = min(self.resume_at, now + delay)

    def unresumable(self) -> None:
        """Report that the program has cut a connection without a cursor: what was on its way is lost."""
        self._report(Gap(kind="unresumable", after_id=None, before_id=None, missing=None))

    def complete(self, now: float) -> None:
        """End the stream: it has reached its end."""
        self._close(Reason.COMPLETE, now)

    def close(self, now: float) -> None:
        """End the stream: the program asked for it, and for nothing that is still queued."""
        self._close(Reason.CLOSED, now, discard=True)

    def _decide(
        self, error: ResilientSSEError, now: float, wall: datetime, *, answered: bool = False
    ) -> None:
        try:
            decision = self.outage.decide(
                error,
                proven=self.connection > 0,
                obstacle=self._obstacle(),
                now=now,
                wall=wall,
                answered=answered,
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is
            self.failed(exc, now=now)  # the caller's classify or backoff
        else:
            self._follow(decision, now)

    def _follow(self, decision: Decision, now: float) -> None:
        times = (self.stats.connected_at, self.stats.last_byte_at)
        silent_since = max((at for at in times if at is not None), default=None)
        self._setback.lost(decision.reason, silent_since=silent_since, now=now)
        match decision.verdict:
            case Verdict.RETRY:
                self._reconnect(decision, now)
            case Verdict.STOP:
                self.complete(now)
            case Verdict.RAISE:
                self.error = decision.error
                self._move(StreamState.ERROR, decision.reason, now, error=self.error)

    def _obstacle(self) -> str | None:
        dispatched = self.stats.delivered + self.stats.filtered > 0
        return self._options.obstacle(
            dispatched=dispatched,
            resumable=self.intake.cursor is not None,
            answered=self.answer is not None,
        )

    def _reconnect(self, decision: Decision, now: float) -> None:
        reason, attempt, delay = decision.reason, decision.attempt, decision.delay
        error: ResilientSSEError | None = decision.error
        if reason in _WANTED:
            error = None  # nothing was caught
        self.resume_at = now + delay
        self.intake.notify(Disconnected(reason=reason, attempt=attempt, delay=delay, error=error))
        self._move(StreamState.RECONNECTING, reason, now, attempt=attempt, delay=delay, error=error)

    def _close(self, reason: Reason, now: float, *, discard: bool = False) -> None:
        self._current.rest, self._current.fed = b"", 0
        self.intake.end(Closed(reason=reason), discard=discard)
        self._move(StreamState.CLOSED, reason, now)

    def _proof(self, now: float) -> None:
        """Take note that the connection has brought something new: the outage is over."""
        current = self._current
        if current.proved or current.opened_at is None:
            return
        current.proved = True
        outage = self.outage
        recovery = self._setback.recovered(attempts=outage.attempt, opened_at=current.opened_at, now=now)
        if recovery is not None:
            self.journal.recovered(recovery)
        outage.end()

    def _disconnected(self, now: float, *, cut: bool = False, answered: bool = False) -> None:
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
            self._setback.forget()
        if current.dispatched or not cut:  # what the program ends itself tells of a server only what came
            told = self._resumption.ended(dispatched=current.dispatched, settled=settled or answered)
            self._report(told)
        self._current = _Connection(self._options.max_event_bytes)
        self.intake.fresh = False

    def _report(self, gap: Gap | None) -> None:
        if gap is not None:
            self.intake.notify(gap)

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
        if new is StreamState.ERROR and self._sequence is not None:
            self._sequence.release()
        self.journal.changed(
            new,
            reason,
            now,
            attempt=attempt or self.outage.attempt,
            delay=delay,
            error=error,
            status=status,
            headers=headers,
        )


def _turn(chunk: bytes, start: int) -> int:
    """Return how many bytes of *chunk* from *start* on are good for one turn of the event loop."""
    short = (
        chunk.count(b"\n", start, start + _LONG_BYTES_A_TURN // 64) > _LINES_A_TURN // 50
    )  # spares most the rest
    long = not short and chunk.count(b"\n", start, start + _LONG_BYTES_A_TURN) <= _LINES_A_TURN
    return _LONG_BYTES_A_TURN if long else _BYTES_A_TURN
