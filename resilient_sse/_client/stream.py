"""What users hold: `ResilientStream`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import anyio

from resilient_sse._client.arguments import explained
from resilient_sse._client.breaker import CircuitBreaker, guard_of
from resilient_sse._client.callbacks import Callbacks, GapCallback, StateCallback, check_observers
from resilient_sse._client.checkpointing import Ack, Start, position_in
from resilient_sse._client.checkpointing import checkpoint_key as default_key
from resilient_sse._client.log import redacted
from resilient_sse._client.payloads import SKIPPED, OnInvalid, Payloads
from resilient_sse._client.pump import Pump
from resilient_sse._client.request import Content, HeaderValues, ParamValues, RequestTemplate, ResumeFunction
from resilient_sse._client.transport import Transport, check_client, check_url
from resilient_sse._core.backoff import Backoff, Delays
from resilient_sse._core.checks import check
from resilient_sse._core.cursor import CursorFunction
from resilient_sse._core.dedup import Dedup
from resilient_sse._core.events import Activity, ServerSentEvent
from resilient_sse._core.options import (
    Classify,
    EventFilter,
    OnEof,
    StallOn,
    StreamOptions,
    Total,
    Until,
)
from resilient_sse._core.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from typing_extensions import TypeVar as TypeVarWithDefault

    from resilient_sse._client.transport import Auth, Client
    from resilient_sse._core.messages import Messages
    from resilient_sse._core.ports import CheckpointStore, Instrument, Observer
    from resilient_sse._core.sequence import Numbering
    from resilient_sse._core.states import StreamState
    from resilient_sse._core.stats import StreamHealth, StreamStats

    Item_co = TypeVarWithDefault("Item_co", default=ServerSentEvent, covariant=True)
else:
    # Defaults are for type checkers, and Python has them from 3.13 on.
    Item_co = TypeVar("Item_co", covariant=True)

StateCallbackT = TypeVar("StateCallbackT", bound=StateCallback)
GapCallbackT = TypeVar("GapCallbackT", bound=GapCallback)

_DEFAULT_BACKOFF = Backoff()

# For jitter: a generator of its own would take 2.5 KiB a stream, and a shared one would be in step after a fork.
_RANDOM = SystemRandom()


class Subscription(Generic[Item_co]):
    """What the face for threads has as well: arguments, figures, and callbacks."""

    _calling: ClassVar[Callable[..., Any] | None] = None  # how callbacks are called, if not plainly

    @explained
    def __init__(
        self,
        url: str,
        *,
        # request
        method: str = "GET",
        headers: HeaderValues | Callable[[], HeaderValues | Awaitable[HeaderValues]] | None = None,
        params: ParamValues | Callable[[], ParamValues | Awaitable[ParamValues]] | None = None,
        content: Content | None = None,
        json: Any = None,  # noqa: ANN401 - any value that JSON can express
        auth: Auth | None = None,
        client: Client | None = None,
        uds: str | None = None,
        compression: bool = False,
        # resume
        last_event_id: str | None = None,
        resume_param: str | None = None,
        cursor: CursorFunction | None = None,
        resume: ResumeFunction | None = None,
        checkpoint: CheckpointStore | None = None,
        checkpoint_key: str | None = None,
        ack: Ack = "auto",
        commit_every: int = 1,
        commit_interval: float | None = None,
        start: Start = "stored",
        # liveness
        connect_timeout: float | None = 10.0,
        stall_timeout: float | None = 30.0,
        waiting_after: float | None = None,
        event_timeout: float | None = None,
        stall_on: StallOn = "bytes",
        # retry
        backoff: Backoff | Delays = _DEFAULT_BACKOFF,
        max_retries: int | None = 5,
        max_server_delay: float = 60.0,
        classify: Classify | None = None,
        breaker: CircuitBreaker | None = None,
        # stream
        dedup: Dedup = "auto",
        dedup_window: int = 1000,
        sequence: Numbering | None = None,
        heartbeat_events: Iterable[str] = ("heartbeat",),
        events: EventFilter | None = None,
        until: Until | None = None,
        error_events: EventFilter = (),
        total: Total | None = None,
        on_eof: OnEof = "reconnect",
        max_event_bytes: int | None = 16 * 1024 * 1024,
        decode: Callable[[str], Item_co] | None = None,
        on_invalid: OnInvalid[Item_co] = "raise",
        # observation
        on_state_change: StateCallback | None = None,
        on_gap: GapCallback | None = None,
        observers: Iterable[Observer | Instrument] = (),
        messages: Messages | None = None,
        flight_recorder: int = 0,
    ) -> None:
        request = RequestTemplate(
            url=url,
            method=method,
            headers=headers,
            params=params,
            content=content,
            json=json,
            resume_param=resume_param,
            resume=resume,
        )
        check_url(url)
        check_client(client, auth, uds)
        check("compression", compression, bool, "True or False")
        if breaker is not None:
            check("breaker", breaker, CircuitBreaker, "a CircuitBreaker or None")
        options = StreamOptions(
            last_event_id=last_event_id,
            cursor=cursor,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            waiting_after=waiting_after,
            event_timeout=event_timeout,
            stall_on=stall_on,
            backoff=backoff,
            max_retries=max_retries,
            max_server_delay=max_server_delay,
            classify=classify,
            dedup=dedup,
            dedup_window=dedup_window,
            sequence=sequence,
            heartbeat_events=heartbeat_events,
            events=events,
            until=until,
            error_events=error_events,
            total=total,
            on_eof=on_eof,
            max_event_bytes=max_event_bytes,
            messages=messages,
            flight_recorder=flight_recorder,
            resumes=resume is not None,
            repeatable=request.repeatable,
            replayable_body=request.replayable_body,
            fresh_credentials=callable(headers) or auth is not None,
        )
        self._where = redacted(url)
        self._position = position_in(
            checkpoint,
            checkpoint_key,
            "" if checkpoint is None else default_key(method, url),
            ack=ack,
            start=start,
            every=commit_every,
            interval=commit_interval,
        )
        observers = check_observers(observers)
        by_hand = self._position is not None and self._position.manual
        one_by_one = observers or by_hand or options.looks_at_each
        self._session = Session(options, random=_RANDOM.random, in_batches=not one_by_one)
        self._ready = self._session.delivery.ready
        self._payloads = None if decode is None else Payloads(decode, on_invalid, self._session)
        if decode is None and on_invalid != "raise":
            raise ValueError("on_invalid is about the data that decode does not take; give decode=")
        self._callbacks = Callbacks(observers, self._session.stats, where=self._where, call=self._calling)
        if on_state_change is not None:
            self._callbacks.on_state(on_state_change)
        if on_gap is not None:
            self._callbacks.on_gap(on_gap)
        transport = Transport(
            client,
            uds=uds,
            auth=request.userinfo if auth is None else auth,
            compression=compression,
            connect_timeout=connect_timeout,
            header_timeout=stall_timeout,
            waiting_after=options.notice,
        )
        guard = None if breaker is None else guard_of(breaker, url, _RANDOM.random)
        self._pump = Pump(self._session, request, transport, self._callbacks, self._position, guard=guard)

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._session.state

    @property
    def last_event_id(self) -> str | None:
        """The id in force (the HTML standard's `lastEventId`), `None` when there is none or it was cleared."""
        handed, delivery = self._pump.handed, self._session.delivery
        if handed is None or delivery.caught_up:
            return delivery.last_event_id or None
        return handed.last_event_id or None

    @property
    def stats(self) -> StreamStats:
        """The figures so far, as a copy that no longer changes."""
        return self._session.figures()

    def health(self) -> StreamHealth:
        """Return how the stream is now; call it where the event loop runs."""
        return self._session.health(anyio.current_time())

    def on_state_change(self, callback: StateCallbackT) -> StateCallbackT:
        """
        Call *callback* with each `StateChange`, in order.

        It may be sync or async; the stream waits for it.  What it raises is logged and counted.  Inside it,
        `aclose()` and `restart()` may be called.

        Returns:
            The callback, so that this serves as a decorator.
        """
        self._callbacks.on_state(callback)
        return callback

    def on_gap(self, callback: GapCallbackT) -> GapCallbackT:
        """
        Call *callback* with each `Gap`, before the event behind it is delivered.

        Returns:
            The callback, so that this serves as a decorator.
        """
        self._callbacks.on_gap(callback)
        return callback

    def remove_callback(self, callback: Callable[..., Any]) -> None:
        """
        Stop calling *callback*.

        Raises:
            ValueError: It is not one of this stream's.
        """
        self._callbacks.remove(callback)

    def restart(self) -> None:
        """
        Drop the connection now and resume on a new one; wakes a wait between attempts, too.

        Asked for again within the time that a connection needs to prove itself (5 s at most), it is paced like a
        first retry.

        Raises:
            RuntimeError: The stream is being iterated in another thread; its event loop must call this.
        """
        self._pump.wake(restart=True)

    async def _commit(self, event: ServerSentEvent | None) -> None:
        if self._position is None:
            raise RuntimeError("commit() needs a stream with checkpoint=")
        event = self._pump.handed if event is None else event
        if event is None:
            raise RuntimeError("commit() came before the first event: there is nothing to save")
        await self._position.commit(event)

    async def _leave(self, *, commits: bool) -> None:
        try:
            if commits and self._position is not None:
                await self._pump.settle(last=True)
                if self._session.delivery.caught_up:
                    await self._position.passed(self._session.delivery.last_event_id, now=math.inf)
        finally:
            await self._pump.aclose()

    def _take_ready(self, limit: int) -> list[ServerSentEvent]:
        """
        Take up to *limit* of the events that need no waiting, for the face that hands them to another thread.

        There are none where single events are looked at: by observers, `until`, `events`; and with a checkpoint no
        more than may be handed over before the next save.
        """
        ready, taken = self._ready, list[ServerSentEvent]()
        batches = self._session.batches if self._position is None else None
        while ready or (batches is not None and batches.go_on()):
            if len(taken) >= limit or not isinstance(event := ready[0], ServerSentEvent):
                break
            ready.popleft()
            taken.append(event)
        if taken:
            self._pump.handed = taken[-1]
        return taken

    def __repr__(self) -> str:
        """Show where the stream leads, without secrets, and its state."""
        return f"<ResilientStream {self._where} {self.state.value}>"


class ResilientStream(Subscription[Item_co]):
    """
    A Server-Sent Events subscription that stays alive: iterate over it.

    It reconnects when a connection fails, ends or falls silent, resumes from the last event id, drops what the
    server repeats, reports what it cannot give again, and says what it is doing.  One object spans many
    connections and holds at most one at a time.

    Use it with `async with` in services, so that the connection is closed whatever happens inside; a bare
    `async for` is enough for scripts.  Durations are seconds; `None` switches a limit off.

    Args:
        url: An absolute `http` or `https` URL.
        method: The HTTP method.
        headers: The request headers, or a function, sync or async, that returns them at each attempt.
        params: Query parameters behind those of *url*, or a function that returns them at each attempt.
        content: The request body, or a function that returns it at each attempt.
        json: A value to send as JSON.
        auth: Credentials as the library of the client takes them.
        client: Your own `AsyncClient` of httpx or httpx2.  It is never closed, and its timeouts are not used.
        uds: The path of a Unix socket to connect to, whatever the host of *url* is.
        compression: Ask for a compressed body.  Servers that do not flush after each event delay them.
        last_event_id: The id to resume after, if nothing is stored.
        resume_param: A query parameter that carries the id too, for servers that do not read the header.
        cursor: Returns the position from an event, for streams whose ids do not tell it; `None` leaves it where
            it was.  The event it is given has the position so far as its `last_event_id`.
        resume: Returns what the next request changes, given the position and the head of the last answer, for
            servers that are not resumed by the header; sync or async.  `resilient_sse.resume` has presets.
        checkpoint: A store for the position of the last processed event.
        checkpoint_key: The name of this consumer in the store; `None` makes one of method, scheme, host and path.
        ack: `"auto"` commits an event when the next one is asked for; `"manual"` leaves that to `commit`.
        commit_every: Save after so many processed events; more after a crash come again, but saves cost time.
        commit_interval: Save after so many seconds, too, when the next event is asked for.
        start: `"stored"` begins at the stored position, `"live"` ignores it.
        connect_timeout: For a free slot of the client, for the connection, and for TLS, each.
        stall_timeout: Silence after which the connection is replaced.  It runs only while the stream is being
            asked for an event, and it bounds the wait for response headers too.
        waiting_after: Silence after which the state is WAITING; `None` means five sixths of *stall_timeout*,
            `math.inf` never.
        event_timeout: Time without an event after which the connection is replaced, whatever else arrives.
        stall_on: What ends a silence: any `"bytes"`, complete `"frames"` (comments included), or `"events"`.
        backoff: The delays between attempts, or a function that returns a fresh series of them.
        max_retries: How many attempts may fail in a row after the first; `None` for no limit.
        max_server_delay: The most that `retry:` and `Retry-After` are heeded.
        classify: Decides about a failure; what it returns `None` for is decided by default.
        breaker: Shared by streams, it keeps them from a server that is down: one of them tries, the others wait.
        dedup: `"auto"` drops a known id with known content on connections that resumed, and on others where ids
            have done nothing but rise; never again once an id came twice on one connection with other content.
            `"always"` drops every known one, `"replay"` only on connections that resumed, `"off"` none.
        dedup_window: How many events are remembered for that.
        sequence: Turns ids into numbers (`integers` for ids that count up by one) to check order and gaps.
        heartbeat_events: Event types that only show life and are not delivered, unless *events* or *until* names
            them.
        events: Deliver only these types, or those for which this function is true.
        until: The type of the event that completes the stream, or a function that tells; it is delivered,
            whatever *events* says.
        error_events: Event types, or a function that tells, by which the server says that the stream has failed.
            Such an event is not delivered: it is a `StreamError`, which is retried like a failed attempt.
        total: Reads from that event how many the server has sent before it, for `StreamStats.completion`.
        on_eof: What a clean end of the response means: `"reconnect"` or `"complete"`.
        max_event_bytes: The largest event to accept.
        decode: Turns the data of an event into what the loop gets instead of the event: `json.loads`, or
            `model_validate_json` of a model.  What it raises means that the data is invalid.
        on_invalid: What becomes of an event with invalid data: `"raise"` raises `DecodeError`, `"skip"` leaves it
            out, and a function of the event and the error returns what the loop gets.  The event that *until*
            names is left out.
        on_state_change: The first callback for state changes.
        on_gap: The first callback for gaps.
        observers: Functions that are told every fact, or instruments that make one for each stream.
        messages: Texts over the defaults, or a function of the change that returns the text.
        flight_recorder: How many of the last lines that came, without payloads, an error shows in `wire`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Iterating raises `HandshakeError`, `StreamError`, `LimitExceededError`, `RetriesExhaustedError`,
    `NotResumableError`, `CheckpointError` and `DecodeError`, and `RuntimeError` if two tasks iterate at once.
    """

    def __aiter__(self) -> Self:
        """Iterate over the events."""
        return self

    async def __anext__(self) -> Item_co:
        """Wait for the next event, or for what `decode` makes of it; the one before is committed first."""
        ready, pump, payloads = self._ready, self._pump, self._payloads
        event: Any  # which is what is handed out, where nothing is decoded
        asked = True
        while True:
            if ready:  # what was judged already needs no scope, no clock and no lock: 0.2 us instead of 5
                event = ready.popleft()
            elif (event := await pump.next(asked=asked)) is None:
                raise StopAsyncIteration
            else:
                asked = False
            if type(event) is ServerSentEvent:
                pump.handed = event
                if payloads is None or (event := payloads.of(event)) is not SKIPPED:
                    return event  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
            del event  # what it tells of may refer to this frame

    def activity(self) -> AsyncIterator[Activity]:
        """
        Iterate over everything: connections opened and lost, events, comments, gaps, and the end.

        It takes from the same stream as the plain iteration; use one at a time.
        """
        self._session.delivery.keeps_comments = True
        return Activities(self._pump.next)

    async def commit(self, event: ServerSentEvent | None = None) -> None:
        """
        Save *event*, or the last one that was handed out, as processed with everything before it.

        It is for `ack="manual"`.

        Raises:
            CheckpointError: It was not saved.
            RuntimeError: The stream has no checkpoint, commits automatically, or has handed out no event yet.
        """
        await self._commit(event)

    async def aclose(self) -> None:
        """
        Close the connection and end the stream for good.

        It may be called more than once, from another task, and from a callback; it interrupts a pending read
        or wait, whose loop then ends normally.  It takes a few seconds at most.
        """
        await self._pump.aclose()

    async def __aenter__(self) -> Self:
        """Enter a block that closes the stream at its end; the connection is made by the first iteration."""
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        """Close the stream; commit the last event only if the block ended without an exception."""
        await self._leave(commits=exc_type is None)

    def __del__(self) -> None:
        """Close a connection that was left open, and warn about it."""
        pump = getattr(self, "_pump", None)
        if pump is not None and pump.is_open:
            pump.abandon()  # first, for a warning that is recorded keeps the stream
            warnings.warn(f"unclosed {self!r}; use 'async with'", ResourceWarning, source=self, stacklevel=2)


# The seam for what hands events on in batches, and as they came.
take_ready: Callable[[ResilientStream[Any], int], list[ServerSentEvent]]
take_ready = ResilientStream._take_ready  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def undecoded(stream: ResilientStream[Any]) -> None:
    """Hand out events from now on, and not what `decode` makes of them."""
    stream._payloads = None  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def where(stream: ResilientStream[Any]) -> str:
    """Return scheme, host, port and path of the URL of a stream."""
    return stream._where  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


class Activities:
    """
    The iterator behind `ResilientStream.activity`.

    An object and not a generator, which would leak its connection when abandoned.
    """

    def __init__(self, take: Callable[[], Awaitable[Activity | None]]) -> None:
        self._take = take

    def __aiter__(self) -> Self:
        """Iterate over everything."""
        return self

    async def __anext__(self) -> Activity:
        """Wait for the next thing that happens."""
        item = await self._take()
        if item is None:
            raise StopAsyncIteration
        return item
