"""
The hands of a stream: connect, read, wait, and report to the session; it decides.

Theory of operation.  `next` runs in the consumer's task and returns the next thing the session has for the
consumer.  There is no task in the background and no queue beyond what one read brought: the consumer pulls, and
TCP pushes back.  Every cancel scope opens and closes inside one call of `next`.

`close` and `restart` come from elsewhere: another task, or a callback inside `next`.  They leave a flag and
wake whatever `next` is waiting for; `next` itself does the rest, so one task at a time owns the connection.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import get_ident
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint, current_token

from resilient_sse._client.backends import clock, finish
from resilient_sse._client.retry import Outage
from resilient_sse._client.transport import CLOSE_SECONDS, of_callers
from resilient_sse._client.watch import watch_over
from resilient_sse._core.batches import PORTION
from resilient_sse._core.errors import ConnectionLostError, ResilientSSEError
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.session import Step
from resilient_sse._core.states import Reason, StreamState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from anyio.lowlevel import EventLoopToken

    from resilient_sse._client.report import Reporter
    from resilient_sse._client.request import RequestTemplate
    from resilient_sse._client.transport import Connection, Transport
    from resilient_sse._client.watch import Watch
    from resilient_sse._core.holdback import Delivery
    from resilient_sse._core.session import Session

__all__ = ["Pump"]

# After so many reads, or so many events (`PORTION`), or so much time, others get a turn, unless a read has waited:
# one that took so long has, if its connection cannot tell.
_READS_A_TURN = 32
_SECONDS_A_TURN = 0.005
_PARTS_A_TURN = 2
_SECONDS_OF_A_WAIT = 0.001


class Pump:
    """
    One stream's input and output.

    Args:
        session: Decides.
        request: What to ask the server.
        transport: Opens connections.
        reporter: Is told.
    """

    def __init__(
        self,
        session: Session,
        request: RequestTemplate,
        transport: Transport,
        reporter: Reporter,
    ) -> None:
        self._session = session
        self._request = request
        self._transport = transport
        self._reporter = reporter
        self._outage: Outage | None = None
        self._scope: anyio.CancelScope | None = None
        self._watch: Watch | None = None
        self._closed: anyio.Event | None = None
        self._loop: EventLoopToken | None = None
        self._thread = 0
        self._announced = 0.0
        self._clock: Callable[[], float] = anyio.current_time
        self._restart = False
        self._was_cancelled = self._warned = False
        self._waiting_since = 0.0
        self._turn_at = 0.0
        self._reads_this_turn = self._events_this_turn = self._parts_this_turn = 0
        self._portion = PORTION
        self._farewell: Delivery | None = None
        self._unhanded: Delivery | None = None
        self.connection: Connection | None = None
        """The open connection, if there is one."""
        self.before_read: Callable[[], Awaitable[None]] | None = None
        """Is called when everything at hand was handed over or judged to be for nobody."""
        self.closing = False
        """Whether the stream was asked to close."""

    async def next(self, *, first: bool = True) -> Delivery | None:
        """
        Return the next thing for the consumer, or `None` when the stream is over.

        Args:
            first: Whether the consumer begins to wait now; the limits on silence run from the first read on.

        Raises:
            ResilientSSEError: The stream has given up.
            Exception: What the caller's own functions raise.
        """
        session = self._session
        if self.connection is None:
            session.start(anyio.current_time())
        if self._was_cancelled and not self.closing:
            self._was_cancelled = False
            session.interrupted(now=anyio.current_time(), at_once=False)
        while True:
            if session.journal.untold or self._reporter.pending:
                await self._reporter.announce(session.journal.untold)
                self.asked()  # the time of a callback is the program's own
            if self.closing:
                return await self._last_word()
            now = self._now()
            if self._turn_is_due(now):
                await self._give_turn()
                continue
            if session.batches is not None:
                session.batches.portion = min(self._portion, PORTION - self._events_this_turn)
            item = self._unhanded or session.take(now)
            if session.stats.id_conflicts:
                self._reporter.conflict(meaningless=session.intake.ids_are_meaningless)
            if item is not None:
                return await self._hand_over(item)
            if session.unfinished:
                await self._go_on()
                continue
            if session.error is not None:
                error, session.error = session.error, None
                raise error
            if session.state is StreamState.CLOSED:
                return None
            if first:
                self.asked()
                first = False
            await self._proceed()

    def _now(self) -> float:
        """Return the time: of the last read, unless a whole portion of events was handed over since."""
        batches = self._session.batches
        if batches is None:
            return self._clock()
        if not batches.unread and self._events_this_turn < PORTION:
            return self._waiting_since
        now = self._clock()
        spent = now - self._turn_at
        slow = spent > _SECONDS_A_TURN
        self._portion = (
            max(int(self._portion * _SECONDS_A_TURN / spent), 1) if slow else min(2 * self._portion, PORTION)
        )
        return now

    def _turn_is_due(self, now: float) -> bool:
        events = self._events_this_turn
        return events > 0 and (events >= PORTION or now - self._turn_at >= _SECONDS_A_TURN)

    async def _give_turn(self) -> None:
        await checkpoint()
        self._begin_turn(self._clock())

    def _begin_turn(self, now: float) -> None:
        self._turn_at = now
        self._reads_this_turn = self._events_this_turn = self._parts_this_turn = 0

    async def _go_on(self) -> None:
        """Judge a further part of a large read, after others had a turn if they have waited long."""
        now = self._clock()
        self._parts_this_turn += 1
        if self._parts_this_turn >= _PARTS_A_TURN or now - self._turn_at >= _SECONDS_A_TURN / 2:
            await self._give_turn()
        self._session.go_on(now)

    async def _hand_over(self, item: Delivery) -> Delivery:
        """Tell those who listen, and return the item; a read that is cancelled in a callback must not lose it."""
        if isinstance(item, ServerSentEvent):
            self._events_this_turn += 1 + len(self._session.intake.ready)
        if self._session.batches is None or isinstance(item, Gap):
            self._unhanded = item
            await self._reporter.tell(item)
            self._unhanded = None
        return item

    def asked(self) -> None:
        """Begin a wait of the consumer; the limits on silence run from here."""
        self._waiting_since = self._clock()

    async def close(self) -> None:
        """
        End the stream: close connection and transport, and tell all callbacks.

        All this is bounded, is done once, and is done to its end although the caller may be cancelled; whoever
        else calls waits for it.
        """
        self.closing = True
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = anyio.Event()
        try:
            await finish(self._end, within=4 * CLOSE_SECONDS)
        finally:
            self._closed.set()

    async def leave(self) -> None:
        """Close the connection only; who is iterating, and is kept by a callback, is to end the stream."""
        await self._drop()

    def abandon(self) -> None:
        """Have the connection closed by the event loop: nobody is left who could wait for it."""
        if self._watch is not None:
            self._watch.end()
        if self.connection is not None:
            self.connection.abandon()

    async def _end(self) -> None:
        session = self._session
        try:
            await self._drop()
        finally:
            # A stream that has given up stays in ERROR: its text is the one to be read last.
            closes = session.state not in (StreamState.CLOSED, StreamState.ERROR)
            if closes:
                session.close(anyio.current_time())
        if closes:
            await self._say_goodbye()
            self._farewell = session.take(anyio.current_time())
            if self._farewell is not None:
                self._reporter.observe(self._farewell)

    async def _say_goodbye(self) -> None:
        """Tell all callbacks of the end; one that takes too long is cut short, for the sake of those behind it."""
        untold, left = self._session.journal.untold, CLOSE_SECONDS
        while untold or self._reporter.pending:
            with anyio.move_on_after(left, shield=True):
                await self._reporter.announce(untold)
            left = 0.0

    def wake(self, *, restart: bool = False) -> None:
        """
        Interrupt whatever `next` is waiting for.

        Raises:
            RuntimeError: It is waiting in another thread.
        """
        if self._thread not in (0, get_ident()) and (self._watch is not None or self._scope is not None):
            raise RuntimeError(
                "the stream belongs to another thread; have its event loop call this: "
                "loop.call_soon_threadsafe(stream.restart), or anyio.from_thread.run_sync(stream.restart)"
            )
        self._restart = self._restart or restart
        if self._watch is not None:
            self._watch.cut()
        elif self._scope is not None:
            self._scope.cancel()

    async def _last_word(self) -> Delivery | None:
        """Close, and return the notice of it once; an error that was not raised yet comes first."""
        session = self._session
        error, session.error = session.error, None
        await self.close()
        if error is not None:
            raise error
        farewell, self._farewell = self._farewell, None
        return farewell

    async def _proceed(self) -> None:
        """Do what the session says is next; only a wish to restart comes before a read."""
        step = self._session.next_step()
        if isinstance(step, ResilientSSEError):
            await self._lose(step)
        elif step is Step.COMPLETE:
            try:
                await self._drop()
            finally:
                self._session.complete(anyio.current_time())
        elif step is Step.CONNECT or self.connection is None:
            await self._connect()
        elif self._restart:
            await self._interrupted()
        else:
            if self.before_read is not None:
                await self.before_read()
                self.asked()  # the time of a save is the program's own
            await self._read(self.connection)

    async def _connect(self) -> None:
        """Make the next attempt of the present outage."""
        session = self._session
        if self._outage is None:
            self._outage = Outage(go_on=self._goes_on, delay=self._delay, sleep=self._pause)
        if not await self._outage.next():
            self._end_outage()
            return
        await self._pause()
        if self.closing:
            return
        self._restart = False
        cursor = session.intake.cursor
        session.journal.attempting(anyio.current_time())
        try:
            connection = await self._open(cursor)
        except ResilientSSEError as error:
            session.refused(error, now=anyio.current_time(), wall=datetime.now(UTC))
            self._outage.failed()
            return
        except Exception as exc:  # noqa: BLE001 - the caller's own functions raise what they like; it is raised below
            session.failed(exc, now=anyio.current_time())
            self._outage.failed()
            return
        except BaseException as exc:
            # Told to the session when the stream is asked again.
            self._was_cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
            session.journal.attempted(anyio.current_time())
            raise
        if connection is None:
            if not self.closing:
                await self._interrupted()
            return
        self._end_outage()
        self.connection = connection
        self._watch = watch_over(connection, self._quiet)
        self._clock = clock()
        self._waiting_since = self._clock()
        session.opened(connection.status, connection.headers, cursor=cursor, now=self._waiting_since)

    def _end_outage(self) -> None:
        if self._outage is not None:
            self._outage.end()
            self._outage = None

    async def _open(self, cursor: str | None) -> Connection | None:
        """Open a connection; `None` if `wake` was called meanwhile."""
        with self._interruptible():
            try:
                request = await self._request.prepare(cursor)
            except Exception as exc:
                failure = of_callers(exc)
                if failure is exc:
                    raise
                raise failure from exc
            return await self._transport.open(request)
        return None

    async def _read(self, connection: Connection) -> None:
        """Wait for bytes, as long as silence may last, and give them to the session."""
        session = self._session
        left, reason = session.silence.left
        if left <= 0:  # a flood of what is no event never lets a timer ring
            await self._lose(ConnectionLostError(reason, "nothing that counts arrived in time"))
            return
        assert self._watch is not None  # noqa: S101 - there is a connection
        watch, since = self._watch, self._waiting_since
        notice = session.silence.until_notice if session.state is StreamState.CONNECTED else math.inf
        try:
            chunk = await watch.read(notice_at=since + notice, limit_at=since + left)
        except ConnectionLostError as error:
            await self._lose(error)
            return
        except anyio.get_cancelled_exc_class():
            await self._was_cut(connection)
            raise
        now = self._clock()
        waited, self._waiting_since = now - self._waiting_since, now
        if isinstance(chunk, tuple):  # the read may have brought this in the very moment it was cut
            data, size = chunk
            session.receive(data, raw_size=size, waited=waited, now=now)
        if watch.is_cut:
            if self._restart:
                await self._interrupted()
            elif not self.closing:
                await self._lose(ConnectionLostError(reason, f"nothing for {waited:.1f} s"))
        elif not isinstance(chunk, tuple):
            await self._lose(ConnectionLostError(Reason.EOF))
        else:
            # Bytes that were at hand are not waited for: a bomb, a flood, or a swarm of tiny chunks must not hold
            # the event loop.
            self._reads_this_turn += 1
            if connection.waited or waited >= _SECONDS_OF_A_WAIT:
                self._begin_turn(now)
            elif (
                not chunk[1]
                or self._reads_this_turn >= _READS_A_TURN
                or now - self._turn_at > _SECONDS_A_TURN
            ):
                await self._give_turn()

    async def _was_cut(self, connection: Connection) -> None:
        """The program has cancelled a read.  A connection that lasts goes on; any other was closed by it."""
        session, now = self._session, self._clock()
        if connection.lasting:
            waited, self._waiting_since = now - self._waiting_since, now
            session.receive(b"", raw_size=0, waited=waited, now=now)  # many short waits are one long silence
            return
        # Told to the session when the stream is asked again: a stream that is closed now has lost nothing.
        self._was_cancelled = True
        if session.intake.cursor is None and not self._warned:
            self._warned = True
            session.unresumable()
        await self._drop()

    async def _lose(self, error: ResilientSSEError) -> None:
        try:
            await self._drop()
        finally:  # cancelled or not, the connection is gone, and the session must know
            self._session.lost(error, now=anyio.current_time(), wall=datetime.now(UTC))
            if self._session.oddity:
                self._reporter.odd(self._session.oddity)
                self._session.oddity = ""

    async def _interrupted(self) -> None:
        """Leave the connection because the program wants it, not because it failed."""
        self._restart = False
        try:
            await self._drop()
        finally:
            self._session.interrupted(now=anyio.current_time(), at_once=True)

    async def _drop(self) -> None:
        """Close the connection before anything else is opened: a stream holds one at most."""
        connection, self.connection = self.connection, None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end()
        if connection is not None:
            try:
                await connection.aclose()
            finally:
                await self._transport.aclose()

    async def _pause(self, _delay: float = 0.0) -> None:
        """Sleep until the next attempt is due, whoever has slept a part of it before."""
        session, loop = self._session, current_token()
        if self._loop not in (None, loop):  # the moment to resume at is on the clock of another event loop
            session.resume_at = anyio.current_time() + self._announced
        self._thread = get_ident()
        self._loop, self._announced = loop, max(session.resume_at - anyio.current_time(), 0.0)
        while not self.closing:
            if self._restart:
                self._restart = False
                session.hurry(anyio.current_time())
            left = session.resume_at - anyio.current_time()
            if left <= 0:
                return
            with self._interruptible():
                await anyio.sleep(left)

    async def _quiet(self) -> None:
        began = anyio.current_time()
        self._session.quiet(began)
        try:
            await self._reporter.announce(self._session.journal.untold)
        finally:
            self._waiting_since += anyio.current_time() - began  # the time of a callback is the program's own

    def _goes_on(self) -> bool:
        return self._session.state is StreamState.RECONNECTING and not self.closing

    def _delay(self) -> float:
        return max(self._session.resume_at - anyio.current_time(), 0.0)

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        """Make what runs inside end early when `wake` is called."""
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                yield
            finally:
                self._scope = None
