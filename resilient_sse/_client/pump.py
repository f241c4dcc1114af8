"""
The hands of a stream: connect, read, wait, and report to the session; it decides.

Theory of operation.  `next` runs in the consumer's task and returns the next thing the session has for the
consumer.  There is no task in the background and no queue beyond what one read brought: the consumer pulls, and
TCP pushes back.  Every cancel scope opens and closes inside one call of `next`.

`close` and `restart` come from elsewhere: another task, or a callback inside `next`.  They leave a flag and
wake whatever `next` is waiting for; `next` itself does the rest, so one task at a time owns the connection.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from threading import get_ident
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from resilient_sse._client.attempts import Attempts
from resilient_sse._client.backends import CLOSE_SECONDS, clock, finish, running
from resilient_sse._client.transport import of_callers
from resilient_sse._core.batches import PORTION
from resilient_sse._core.errors import ConnectionLostError, ResilientSSEError
from resilient_sse._core.events import Activity, Gap, ServerSentEvent
from resilient_sse._core.session import Step
from resilient_sse._core.states import Reason, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient_sse._client.breaker import Guard
    from resilient_sse._client.callbacks import Callbacks
    from resilient_sse._client.checkpointing import ConsumerPosition
    from resilient_sse._client.request import PreparedRequest, RequestTemplate
    from resilient_sse._client.transport import Connection, Transport
    from resilient_sse._core.session import Session

# Others get a turn after `PORTION` events, of which a read counts as so many, or after so much time.  A read that
# has waited has given them one.
_EVENTS_A_READ = 3
_SECONDS_A_TURN = 0.005

# So many attempts that the program has cancelled in a row are told of.
_TOO_SHORT = 3


class Pump:
    """One stream's input and output; the session decides, and callbacks are told."""

    def __init__(
        self,
        session: Session,
        request: RequestTemplate,
        transport: Transport,
        callbacks: Callbacks,
        position: ConsumerPosition | None,
        *,
        guard: Guard | None,
    ) -> None:
        self._guard = guard
        self._session = session
        self._request = request
        self._transport = transport
        self._callbacks = callbacks
        self._position = position
        self._attempts = Attempts()
        self._prepared: PreparedRequest | None = None
        self._scope: anyio.CancelScope | None = None  # of the present wait for anything but bytes
        self._iterating = False
        self._idle: anyio.Event | None = None
        self._closed: anyio.Event | None = None
        self._loop: object = None  # the last event loop, its thread and its clock
        self._thread = 0
        self._clock: Callable[[], float] = anyio.current_time
        self._restart = False
        self._was_cancelled = self._warned = False
        self._cut_attempts = 0  # in a row
        self._waits_since = 0.0  # the consumer, or since the read before
        self._turn_at = 0.0
        self._left = self._portion = PORTION
        self._given = 0  # so many events, and the position has not been told yet
        self._unhanded: Activity | None = None  # told of, or being told of, and not returned yet
        self.connection: Connection | None = None
        """The open connection, if there is one."""
        self.closing = False
        """Whether the stream was asked to close."""
        self.handed: ServerSentEvent | None = None
        """The last event that was returned by `next`."""

    async def next(self, *, asked: bool = True) -> Activity | None:
        """
        Return the next thing for the consumer, or `None` when the stream is over.

        Args:
            asked: Whether the consumer begins to wait now; the limits on silence run from the first read on.
        """
        if self._iterating:
            raise RuntimeError("the stream is being iterated by another task or from inside a callback")
        self._iterating = True
        session, batches, position = self._session, self._session.batches, self._position
        unannounced, pending = session.unannounced, self._callbacks.pending
        try:
            if self._loop is not running():
                await self._enter_loop()
            if position is not None:
                await self.settle()
            if self.connection is None:
                await self._begin()
            while True:
                if unannounced or pending:
                    await self._announce()
                if self.closing:
                    await self.settle(last=True)
                    return await self._finish()
                now = self._clock()
                if asked:
                    self._waits_since, asked = now, False
                if self._left <= 0 or now - self._turn_at >= _SECONDS_A_TURN:
                    await self._give_turn(now - self._turn_at)
                    continue
                if batches is not None:
                    most = self._left if position is None else min(self._left, position.room)
                    batches.portion = min(most, self._portion)
                item = self._unhanded or session.take(now)
                if session.stats.id_conflicts:
                    self._callbacks.conflict(meaningless=session.delivery.window.meaningless)
                if item is not None:
                    if item is not self._unhanded and (batches is None or isinstance(item, Gap)):
                        self._unhanded = item  # which must not be lost if a callback is cancelled
                        self._callbacks.notify(item)
                        if pending:
                            await self._announce()
                    self._unhanded = None
                    if isinstance(item, ServerSentEvent):
                        self._given = 1 + len(session.delivery.ready)
                        self._left -= self._given
                        self.handed = item
                        if position is not None and position.manual:
                            self._hand_over()  # before the program can commit it
                    else:
                        self._left -= 1  # a flood of comments must not hold the event loop
                    return item
                step, connection = session.next_step(), self.connection
                if step is Step.READ and connection is not None and not self._restart:
                    if position is not None:
                        await position.passed(session.delivery.last_event_id, now=now)
                        self._waits_since = self._clock()  # the time of a save is the program's own
                    if self._guard is not None:
                        self._guard.judge(session, now)
                    if await self._read(connection):
                        await self._read_on(connection)
                else:
                    await self._proceed(step)
                    if step is Step.END:
                        await self.settle(last=True)
                        return None
                    del step  # an error refers to this frame
        except StopAsyncIteration as exc:  # it would end the caller's loop as if all were well
            raise RuntimeError("a function given to the stream raised StopAsyncIteration") from exc
        finally:
            item = None  # what it tells of may refer to this frame
            self._iterating = False
            if self._idle is not None:
                self._idle.set()
                self._idle = None

    async def settle(self, *, last: bool = False) -> None:
        """Commit what the consumer has got, for it asks for more, or is to get no more."""
        if self._position is not None:
            self._hand_over()
            await self._position.settle(None if last else self._clock)

    def _hand_over(self) -> None:
        """Tell the position what the consumer has got, which in batches happens unseen."""
        if self._position is not None and self._given and self.handed is not None:
            self._position.handed_over(self.handed, self._given)
            self._given = 0

    async def _begin(self) -> None:
        """Begin to iterate without a connection: for the first time, or again."""
        if self._position is not None and self._session.stats.started_at is None:
            stored = await self._position.load()
            if stored is not None:
                self._session.delivery.resume_from(stored)
        self._session.start(self._clock())
        if self._was_cancelled and not self.closing:
            self._was_cancelled = False
            self._session.interrupted(now=self._clock(), at_once=False)

    async def _read(self, connection: Connection) -> bool:
        """Wait for bytes, and give them to the session; return whether it was woken, and nothing came."""
        session, silence = self._session, self._session.silence
        seconds, reason = silence.left
        if seconds <= 0:
            what = "no event" if reason is Reason.EVENT_TIMEOUT else "nothing"
            await connection.leave_shared(silence.lasted)
            await self._end_read(connection)
            await self._lose(ConnectionLostError(reason, f"{what} for {silence.lasted:.1f} s"))
            return False
        if silence.until_notice < seconds and session.state is StreamState.CONNECTED:
            seconds = silence.until_notice
        try:
            data = await connection.receive(seconds)
        except ConnectionLostError as error:
            await self._lose(error)
            return False
        except anyio.get_cancelled_exc_class():
            await self._read_cancelled(connection)
            raise
        now = self._clock()
        waited, self._waits_since = now - self._waits_since, now
        if connection.source.since is not None:
            self._turn_at, self._left = now, PORTION
        else:
            self._left -= _EVENTS_A_READ
            if not connection.arrived:
                waited = 0.0  # a further slice of a read: what judging the one before took is no silence
        if data is None:
            await self._lose(ConnectionLostError(Reason.EOF))
            return False
        session.receive(data, raw_size=connection.arrived, waited=waited, now=now)
        if silence.until_notice <= 0 < silence.left[0]:
            session.silent(now)
        return not (data or connection.arrived)

    async def _read_on(self, connection: Connection) -> None:
        """
        Tell of a silence, and read on unless there is a reason to leave.

        Nothing is taken meanwhile: nothing has come, and the time that has passed is no replay.
        """
        woken = True
        try:
            while woken:
                await self._announce()
                gone = self.closing or self.connection is not connection
                if gone or self._restart:
                    await self._end_read(connection)
                    if not gone:
                        await self._interrupted()
                    return
                woken = await self._read(connection)
        except BaseException:
            if connection.source.pending:  # it came out of a callback
                try:
                    await self._end_read(connection)
                finally:
                    await self._read_cancelled(connection)
            raise

    async def _announce(self) -> None:
        await self._callbacks.announce(self._session.unannounced)
        self._waits_since = self._clock()  # the time of a callback is the program's own

    async def _give_turn(self, spent: float) -> None:
        """Let others have their turn; portions become smaller where they had to wait for long."""
        if spent >= _SECONDS_A_TURN:
            self._portion = max(int(self._portion * _SECONDS_A_TURN / spent), 1)
        else:
            self._portion = min(2 * self._portion, PORTION)
        await checkpoint()
        self._turn_at, self._left = self._clock(), PORTION

    async def _enter_loop(self) -> None:
        """Begin to iterate in this event loop, or go on here behind another one, whose clock was another."""
        session = self._session
        if self.connection is not None:
            await self._lose(ConnectionLostError(Reason.RESET, "the stream goes on in another event loop"))
        left = session.resume_at - self._clock()
        self._loop, self._thread, self._clock = running(), get_ident(), clock()
        self._turn_at = self._clock()
        session.resume_at = self._turn_at + max(left, 0.0)

    async def aclose(self) -> None:
        """End the stream, whoever is iterating: `ResilientStream.aclose`."""
        self.closing = True
        self._session.delivery.discard()
        inside = self._callbacks.inside
        if self._iterating or inside:
            self.wake()
        if inside:  # the stream waits for the callback, which may wait for this task
            await self._drop()
            return
        if self._iterating:
            self._idle = self._idle or anyio.Event()
            with anyio.move_on_after(2 * CLOSE_SECONDS):
                await self._idle.wait()
        if self._iterating:
            await self._drop()  # who is iterating, and is kept by a callback, is to end the stream
        else:
            await self.close()  # who was iterating may have been cancelled before it could

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

    def abandon(self) -> None:
        """Have the connection closed by the event loop: nobody is left who could wait for it."""
        self._transport.forget()
        if self._guard is not None:
            self._guard.ended()
        if self.connection is not None:
            self.connection.abandon()

    @property
    def is_open(self) -> bool:
        """Whether it holds a connection, be it one whose answer is still to come."""
        return self.connection is not None or self._transport.is_asking

    async def _end(self) -> None:
        session, self._unhanded = self._session, None
        try:
            await self._drop()
        finally:
            if self._guard is not None:
                self._guard.ended()
            # A stream that has given up stays in ERROR: its text is the one to be read last.
            if session.state not in (StreamState.CLOSED, StreamState.ERROR):
                session.close(self._clock())
                await self._announce_end()
                self._unhanded = notice = session.take(self._clock())
                if notice is not None:
                    self._callbacks.notify(notice)

    async def _announce_end(self) -> None:
        """Tell all callbacks of the end; one that takes too long is cut short, for the sake of those behind it."""
        unannounced, left = self._session.unannounced, CLOSE_SECONDS
        while unannounced or self._callbacks.pending:
            with anyio.move_on_after(left):
                await self._callbacks.announce(unannounced)
            left = 0.0

    def wake(self, *, restart: bool = False) -> None:
        """Interrupt whatever `next` is waiting for."""
        if self._thread not in (0, get_ident()) and (self.connection is not None or self._scope is not None):
            raise RuntimeError(
                "the stream belongs to another thread; have its event loop call this, by "
                "loop.call_soon_threadsafe(...) of asyncio or token.run_sync_soon(...) of trio"
            )
        self._restart = self._restart or restart
        if self.connection is not None:
            self.connection.source.wake()
        elif self._scope is not None:
            self._scope.cancel()
        elif restart:
            self._transport.forget()

    async def _finish(self) -> Activity | None:
        """Close, and return the notice of it once; an error that was not raised yet comes first."""
        session = self._session
        error, session.error = session.error, None
        await self.close()
        if error is not None:
            raise error
        notice, self._unhanded = self._unhanded, None
        return notice

    async def _proceed(self, step: Step | ResilientSSEError) -> None:
        """Do what the session says is next; only a wish to restart comes before a read."""
        if isinstance(step, ResilientSSEError):
            await self._lose(step)
        elif step is Step.GO_ON:
            self._session.go_on(self._clock())
            self._left = 0
        elif step is Step.COMPLETE:
            try:
                await self._drop()
            finally:
                self._session.complete(self._clock())
        elif step is Step.END:
            await self.close()  # this frees what our own client holds
        elif step is Step.CONNECT or self.connection is None:
            await self._connect()
        else:
            await self._interrupted()

    async def _connect(self) -> None:
        """Make the next attempt of the present outage."""
        session = self._session
        await self._pause()
        guard = self._guard
        if guard is not None and not self._transport.is_asking:
            await self._pass_circuit(guard)
        if self.closing:
            return
        self._restart = False
        if not self._transport.is_asking:
            self._prepared = None
            session.attempting(self._clock())
        try:
            connection = await self._open()
        except Exception as exc:  # noqa: BLE001 - the caller's own functions raise what they like; it is raised below
            if guard is not None:
                asked = self._prepared is not None and self._prepared.at_home
                guard.ended(exc if asked else None)
            now = self._clock()
            if isinstance(exc, ResilientSSEError):
                session.refused(exc, now=now, wall=datetime.now(UTC))
            else:
                session.failed(exc, now=now)
            over = session.state is not StreamState.RECONNECTING
            wait = self._attempts.failed(max(session.resume_at - now, 0.0), over=over)
            session.resume_at = session.resume_at if wait is None else now + wait
            return
        except BaseException as exc:
            if self._transport.is_asking:
                raise  # and the next call goes on waiting
            if guard is not None:
                guard.ended()
            # Told to the session when the stream is asked again.
            self._was_cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
            self._cut_attempts += self._was_cancelled
            if self._cut_attempts == _TOO_SHORT:
                self._callbacks.attempts_cancelled()
            session.attempted(self._clock())
            raise
        request = self._prepared
        if connection is None or request is None:
            if not self.closing:
                await self._interrupted()
            return
        self._cut_attempts = 0
        self._attempts.succeeded()
        self.connection = connection
        self._waits_since = self._turn_at = now = self._clock()
        self._left = 0
        session.opened(
            connection.status,
            connection.headers,
            cursor=request.cursor,
            now=now,
            url=connection.url,
            lossy=request.lossy,
        )
        if guard is not None and request.at_home:
            guard.opened(session.outage.pacing.settle_after)
        elif guard is not None:
            guard.ended()

    async def _pass_circuit(self, guard: Guard) -> None:
        """Wait until the circuit breaker lets the stream through; `restart` ends this wait as any other."""
        session, forced = self._session, False
        while not self.closing and (left := guard.wait(forced=forced)):
            session.circuit_open(left, self._clock())
            due = session.resume_at
            await self._announce()
            await self._pause()
            forced = session.resume_at < due

    async def _open(self) -> Connection | None:
        """Open a connection; `None` if `wake` was called meanwhile."""
        session = self._session
        with self._interruptible():
            if self._prepared is None:
                try:
                    self._prepared = await self._request.prepare(session.delivery.cursor, session.answer)
                except Exception as exc:
                    failure = of_callers(exc)
                    if failure is exc:
                        raise
                    raise failure from exc
            return await self._transport.open(self._prepared, self._announce_silence)
        return None

    async def _read_cancelled(self, connection: Connection) -> None:
        """The program has cancelled a read.  A connection that lasts goes on; any other was closed by it."""
        session, now = self._session, self._clock()
        if connection.lasting:  # many short waits are one long silence
            session.receive(b"", raw_size=0, waited=now - self._waits_since, now=now)
            return
        # Told to the session when the stream is asked again: a stream that is closed now has lost nothing.
        self._was_cancelled = True
        if session.delivery.cursor is None and self._request.resume is None and not self._warned:
            self._warned = True
            session.unresumable()
        await self._drop()

    async def _end_read(self, connection: Connection) -> None:
        """End a read that was woken and is under way; closing the connection first leaves it little to do."""
        if connection.source.pending:
            try:
                await connection.aclose()
            finally:
                await connection.source.end()

    async def _lose(self, error: ResilientSSEError) -> None:
        guard = self._guard
        try:
            await self._drop()
        finally:  # cancelled or not, the connection is gone, and the session must know
            self._session.lost(error, now=self._clock(), wall=datetime.now(UTC))
            if guard is not None and guard.unproven:  # an answer that ended well begins no outage
                guard.ended(None if self._session.outage.began_at is None else error)
            if self._session.end_warning:
                self._callbacks.warn_of_end(self._session.end_warning)
                self._session.end_warning = ""

    async def _interrupted(self) -> None:
        """Leave the connection because the program wants it, not because it failed."""
        self._restart = False
        try:
            await self._drop()
        finally:
            self._session.interrupted(now=self._clock(), at_once=True)

    async def _drop(self) -> None:
        """Close the connection before anything else is opened: a stream holds one at most."""
        connection, self.connection = self.connection, None
        self._transport.forget()
        if connection is None:
            return
        if self._guard is not None:
            self._guard.judge(self._session, self._clock())
        if self._loop is not running():
            connection.abandon()  # only its own event loop could wait for it
            self._transport.abandon()
            return
        try:
            await connection.aclose()
        finally:
            await self._transport.aclose()

    async def _pause(self) -> None:
        """Sleep until the next attempt is due, whoever has slept a part of it before."""
        session = self._session
        while not self.closing:
            if self._restart:
                self._restart = False
                session.attempt_now(self._clock())
            left = session.resume_at - self._clock()
            if left <= 0:
                return
            with self._interruptible():
                await anyio.sleep(left)

    async def _announce_silence(self) -> None:
        """Tell that there is no answer yet; whoever is told may close or restart the stream, and goes on."""
        self._session.silent(self._clock())
        scope, self._scope = self._scope, None
        try:
            await self._announce()
        finally:
            self._scope = scope
        if self.closing or self._restart:
            self.wake()

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        """Make what runs inside end early when `wake` is called."""
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                yield
            finally:
                self._scope = None
