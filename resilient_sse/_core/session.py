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
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.events import Closed, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.intake import Delivery, Intake
from resilient_sse._core.journal import Journal
from resilient_sse._core.liveness import Silence
from resilient_sse._core.outage import Decision, Outage, refusal_to_resend
from resilient_sse._core.parser import Block, Found, Item, Parser, RetryHint, end_of_last_block
from resilient_sse._core.recovery import Setback
from resilient_sse._core.resumption import Resumption
from resilient_sse._core.states import Reason, StreamState, Verdict
from resilient_sse._core.stats import StreamStats

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from resilient_sse._core.errors import LimitExceededError, ResilientSSEError
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


# So many bytes are parsed, and in batches judged, before others get a turn: 100 events, or 5 ms of the tiniest.
_BYTES_A_TURN = 16 * 1024

_CONNECTING, _CONNECTED, _WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
_RECONNECTING, _ERROR, _CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED

_FAILURES = frozenset({Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.PROTOCOL})
_UP_LOSSES = _FAILURES | {Reason.RESTART, Reason.AGE, Reason.GAP}
_FAILED_OPENINGS = frozenset(
    {Reason.CONNECT, Reason.RESET, Reason.STATUS, Reason.SERVER, Reason.CONTENT_TYPE, Reason.PROTOCOL}
)
_GIVING_UP = _FAILED_OPENINGS | {Reason.RETRIES, Reason.RESTART}
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
        self.silence = Silence(options.liveness)
        self.outage = Outage(options.retry, random=random, fresh_credentials=options.fresh_credentials)
        retry = self.outage.pacing.retry
        self.batches = Batches(options.intake, self.stats, retry=retry) if in_batches else None
        """What judges whole reads, `None` where events are judged one by one."""
        self.intake = self.batches or Intake(options.intake, self.stats)
        self.journal = Journal(options, self.stats)
        self.connection = 0
        self.resume_at = 0.0
        """When the next attempt may be made, on the clock of the `now` arguments."""
        self.error: ResilientSSEError | None = None
        """What to raise, once everything queued was taken, in state ERROR."""
        self._parser = Parser(max_event_bytes=options.max_event_bytes)
        self._records = options.flight_recorder > 0
        self._rest = b""
        self._fed = 0  # of the rest
        self._opened_at: float | None = None
        self._proved = self._dispatched = False
        self._resumption = Resumption()
        self._setback = Setback()
        self._silent_since: float | None = None

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

    def opened(self, status: int, headers: Mapping[str, str], *, cursor: str | None, now: float) -> None:
        """Take note of an accepted response; *cursor* is the id it was asked to resume after."""
        self.connection += 1
        self.stats.connections += 1
        self.stats.reconnects += self.connection > 1
        self.stats.connected_at = self._opened_at = now
        self._proved = self._dispatched = False
        self.outage.accepted()
        self._parser = Parser(max_event_bytes=self._options.max_event_bytes)
        self.silence.start()
        self.journal.recorder.connected(self.connection)
        self.intake.connected(self.connection, resumed=cursor is not None)
        notice = Opened(connection=self.connection, status=status, headers=headers, last_event_id=cursor)
        self.intake.notify(notice)
        self._report(self._resumption.opened(cursor, headers))
        self._move(StreamState.CONNECTED, Reason.OPENED, now, status=status, headers=headers)

    def receive(self, chunk: bytes, *, raw_size: int, waited: float, now: float) -> None:
        """
        Take *raw_size* bytes from the wire, decoded to *chunk*, for which the consumer *waited* so many seconds.

        Raises:
            LimitExceededError: `overflow` was set by an earlier call and is still unheeded.
        """
        stats = self.stats
        stats.bytes_received += raw_size
        if raw_size:
            stats.last_byte_at = now
        if self._records:
            self.journal.recorder.feed(chunk)
        if self._rest or len(chunk) > _BYTES_A_TURN:
            chunk = self._part(chunk)
        found: list[Found] | list[Item]
        if self.batches is not None:
            before = self.stats.delivered
            found = self._parser.feed_fast(chunk)
            dispatched = self.batches.judge(found)
            if self.stats.delivered != before:
                self.stats.last_event_at = now
                if not self._proved and self._opened_at is not None:
                    self._brought(self._opened_at, now)
        else:
            found = self._parser.feed(chunk)
            dispatched = self._queue(found)
        if self._parser.overflow is not None:
            self._rest, self._fed = b"", 0
        if dispatched:
            self._dispatched = True
        alive = self.silence.heard(raw_size, waited, frames=bool(found), event=dispatched)
        if alive and self.journal.state is _WAITING:
            self._move(StreamState.CONNECTED, Reason.OPENED, now)

    @property
    def unfinished(self) -> bool:
        """Whether there is more to judge than was good for one turn of the event loop: `go_on` when it comes."""
        return bool(self._rest) or self.intake.unfinished

    def go_on(self, now: float) -> None:
        """Judge a further part of what was received."""
        if self._rest:
            self.receive(b"", raw_size=0, waited=0.0, now=now)

    def _part(self, chunk: bytes) -> bytes:
        """Keep *chunk*, and take as much of what was kept as is good for one turn of the event loop."""
        if chunk:
            self._rest, self._fed = self._rest[self._fed :] + chunk, 0
        part = self._rest[self._fed : self._fed + _BYTES_A_TURN]
        if len(self._rest) - self._fed > _BYTES_A_TURN:
            part = part[: end_of_last_block(part, len(part)) or len(part)]
            self._fed += len(part)
        else:
            self._rest, self._fed = b"", 0
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
        if self.intake.heal:
            self.intake.hold()
        return dispatched

    def _brought(self, opened_at: float, now: float) -> None:
        """Write down that the connection has brought something, and when the first event of all came."""
        self._proof(opened_at, now)
        if self.stats.time_to_first_event is None and self.stats.started_at is not None:
            self.stats.time_to_first_event = now - self.stats.started_at

    def figures(self) -> StreamStats:
        """Return the figures so far, without what was counted and not handed over yet."""
        waiting = self.intake.waiting
        return replace(
            self.stats,
            received=self.stats.received - waiting,
            delivered=self.stats.delivered - waiting,
        )

    def next_step(self) -> Step | ResilientSSEError:
        """
        Return what can bring the stream on, or the error for which the connection is to be given up.

        Raises:
            ResilientSSEError: The stream has given up; once.
        """
        if self._rest or self.intake.unfinished:
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
        if self._opened_at is None:
            return Step.CONNECT
        if self.intake.heal and self._parser.overflow is None:
            return ConnectionLostError(Reason.GAP, "asking again for missing events")
        return self._parser.overflow or Step.READ

    @property
    def overflow(self) -> LimitExceededError | None:
        """The error to raise once everything before it was taken."""
        return self._parser.overflow

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
            if item is None and self.intake.keeps_apart and self._has_settled(now):
                self.intake.settle()
                continue
            if item is None and (self._heals_in_vain() or self._replay_is_overdue(now)):
                self.intake.release()
                continue
            if self.intake.fresh and not self._proved and self._opened_at is not None:
                self._proof(self._opened_at, now)
            if isinstance(item, ServerSentEvent):
                self.stats.last_event_at = now
                if self.stats.time_to_first_event is None and self.stats.started_at is not None:
                    self.stats.time_to_first_event = now - self.stats.started_at
            return item

    def _heals_in_vain(self) -> bool:
        """Whether a hole shows that no reconnect may be made for: better a `Gap` than the end of the stream."""
        up = self._opened_at is not None  # if not, the attempt that heals is on its way
        return up and self.intake.heal and (self.outage.spent or self._obstacle() is not None)

    def _replay_is_overdue(self, now: float) -> bool:
        return self.intake.healing and self._has_settled(now)

    def _has_settled(self, now: float) -> bool:
        """Whether the connection has held so long that what it has not replayed by now it will not."""
        return self._opened_at is not None and now - self._opened_at > self.outage.pacing.settle_after

    def lost(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Take note that the connection ended, and decide; everything it brought must have been taken."""
        self._disconnected(now)
        reason = reason_of(error)
        quiet = reason in (Reason.EOF, Reason.STALL, Reason.EVENT_TIMEOUT)
        if self.intake.healing and quiet and self._resumption.had_its_chance:
            self.intake.release()
        self.stats.stalls += reason in (Reason.STALL, Reason.EVENT_TIMEOUT)
        if reason is Reason.EOF and self._options.on_eof == "complete":
            return self.complete(now)
        return self._decide(error, now, wall)

    def refused(self, error: ResilientSSEError, *, now: float, wall: datetime) -> None:
        """Take note that an attempt to open a connection failed, and decide."""
        self._report(self._resumption.refused(self.intake.cursor, error))
        self._decide(error, now, wall)
        self.stats.failed_attempts += self.state is not StreamState.CLOSED

    def interrupted(self, *, now: float, at_once: bool) -> None:
        """
        Take note that the program itself cut the connection: `restart()`, or a cancelled read.

        A cancelled read whose connection had brought nothing is paced: polling must not become a storm.
        """
        paced = not at_once and not self._proved
        self._disconnected(now, cut=True)
        self._follow(self.outage.interrupt(paced=paced, obstacle=self._obstacle(), now=now), now)

    def unresumable(self) -> None:
        """Report that the program has cut a connection without a cursor: what was on its way is lost."""
        self._report(Gap(kind="unresumable", after_id=None, before_id=None, missing=None))

    def complete(self, now: float) -> None:
        """End the stream: it has reached its end."""
        self._close(Reason.COMPLETE, now)

    def close(self, now: float) -> None:
        """End the stream: the program asked for it, and for nothing that is still queued."""
        self._close(Reason.CLOSED, now, discard=True)

    def _decide(self, error: ResilientSSEError, now: float, wall: datetime) -> None:
        try:
            decision = self.outage.decide(
                error, proven=self.connection > 0, obstacle=self._obstacle(), now=now, wall=wall
            )
        except Exception as exc:
            # The caller's classify or backoff failed; the connection is gone all the same.
            self.intake.release()
            self._move(StreamState.ERROR, reason_of(error), now, error=exc)
            raise
        self._follow(decision, now)

    def _follow(self, decision: Decision, now: float) -> None:
        self._setback.lost(decision.reason, silent_since=self._silent_since, now=now)
        match decision.verdict:
            case Verdict.RETRY:
                self._reconnect(decision, now)
            case Verdict.STOP:
                self.complete(now)
            case Verdict.RAISE:
                self.intake.release()
                self.error = decision.error
                self._move(StreamState.ERROR, decision.reason, now, error=self.error)

    def _obstacle(self) -> str | None:
        dispatched = self.stats.delivered + self.stats.filtered > 0
        return self._options.obstacle(dispatched=dispatched, resumable=self.intake.cursor is not None)

    def _reconnect(self, decision: Decision, now: float) -> None:
        reason, attempt, delay, error = decision.reason, decision.attempt, decision.delay, decision.error
        self.resume_at = now + delay
        self.intake.notify(Disconnected(reason=reason, attempt=attempt, delay=delay, error=error))
        self._move(StreamState.RECONNECTING, reason, now, attempt=attempt, delay=delay, error=error)

    def _close(self, reason: Reason, now: float, *, discard: bool = False) -> None:
        self._rest, self._fed = b"", 0
        self.intake.end(Closed(reason=reason), discard=discard)
        self._move(StreamState.CLOSED, reason, now)

    def _proof(self, opened_at: float, now: float) -> None:
        """Take note that the connection has brought something new: the outage is over."""
        self._proved = True
        recovery = self._setback.recovered(attempts=self.outage.attempt, opened_at=opened_at, now=now)
        if recovery is not None:
            self.journal.recovered(recovery)
        self.outage.end()

    def _disconnected(self, now: float, *, cut: bool = False) -> None:
        if self._opened_at is None:
            return
        while self._rest:
            self.go_on(now)
        self.intake.settle()
        self.stats.partial += self._parser.finish()
        settled = now - self._opened_at > self.outage.pacing.settle_after
        if settled:
            self.outage.end()
            self._setback.forget()
        self._silent_since = max(self._opened_at, self.stats.last_byte_at or self._opened_at)
        if self._dispatched or not cut:  # what the program ends itself tells of a server only what came
            self._report(self._resumption.ended(dispatched=self._dispatched, settled=settled))
        self._opened_at = None
        self._proved = self.intake.fresh = False

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
