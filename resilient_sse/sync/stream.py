"""
The stream of events for threads.

Theory of operation.  One event loop in one thread of the process carries all streams.  A call of a stream, such as
asking for the next event, starts a coroutine there and waits in the calling thread for messages out of it: the
result, or a function of the caller's to be called.  So callbacks run in the thread that consumes the stream, as
on asyncio they run in its task, and what they call of the stream in turn runs within that same coroutine.  Events
come in batches: whatever the connection has brought is handed over at once, and the next of them cost no step
between threads.  Nothing is read ahead of the consumer.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, cast

from resilient_sse._client.payloads import SKIPPED, Payloads
from resilient_sse._client.stream import Item_co, Subscription
from resilient_sse._core.checks import check_callable
from resilient_sse._core.events import ServerSentEvent

if TYPE_CHECKING:
    from resilient_sse._core.events import Activity, Gap
    from resilient_sse._core.states import StateChange
    from resilient_sse._core.stats import StreamHealth, StreamStats

__all__ = ["ResilientStream"]

T = TypeVar("T")
CallbackT = TypeVar("CallbackT", bound="Callable[[StateChange], None]")
GapCallbackT = TypeVar("GapCallbackT", bound="Callable[[Gap], None]")

_BATCH = 1000
_END_SECONDS = 5.0

Message: TypeAlias = "tuple[str, Any]"
Work: TypeAlias = "Callable[[], Coroutine[Any, Any, T]]"

# What a call says to the thread that waits for it, and the thread to the call.
_RETURN, _RAISE, _CALL = "return", "raise", "call"

_present: ContextVar[_Task | None] = ContextVar("_present", default=None)
"""The task that the present coroutine is a part of."""

_thread = threading.local()
"""
Its `inbox` is where it listens for all its tasks: one that a signal's handler waits for may need a callback of
the one that was interrupted.  Its `asking` is the innermost callback that this thread is in: the queue of the
coroutine that waits for it.  Its `carries_all` says that it is the thread of the event loop.
"""


# --- The event loop of the process


class _Portal:
    """The event loop in a thread of its own, made at the first use, in each process anew."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream may be collected, or a signal come, while it is held
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ending = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_run_forever, args=(loop,), name="resilient_sse", daemon=True
                )
                thread.start()
                atexit.register(_stop, loop, thread)
                self._loop = loop  # at last: a Ctrl-C before it leaves none that does not run
            return self._loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    _thread.carries_all = True
    runner = asyncio.Runner(loop_factory=lambda: loop)
    while not _portal.ending:
        with suppress(SystemExit, KeyboardInterrupt):  # of one stream's `auth`, which hears of it, too
            runner.get_loop().run_forever()
    with suppress(RuntimeError):  # it wants a thread at last, which a program that ends cannot start
        runner.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Close what is open when the program ends: in a thread that is cut off nothing could be."""
    if thread.is_alive():
        _portal.ending = True
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_SECONDS)


_portal = _Portal()


def _behind_fork() -> None:
    """Begin anew in a child, which has none of the threads; it may have been forked within a callback."""
    global _portal  # noqa: PLW0603
    _portal = _Portal()
    _thread.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_behind_fork)


class _Task:
    """A coroutine in the event loop, and where the thread listens that waits for it."""

    def __init__(self, inbox: SimpleQueue[tuple[_Task, str, Any]]) -> None:
        self._inbox = inbox
        self._task: asyncio.Task[None] | None = None
        self.given_up = False

    def send(self, kind: str, content: Any) -> None:  # noqa: ANN401
        self._inbox.put((self, kind, content))

    async def run(self, work: Work[Any]) -> None:
        before = _present.set(self)
        try:
            self.send(_RETURN, await work())
        except BaseException as exc:
            self.send(_RAISE, exc)
            if isinstance(exc, asyncio.CancelledError):
                raise  # anything else would end the event loop, if it is no Exception
        finally:
            _present.reset(before)  # what a callback has called is a part of the same task

    def start(self, work: Work[Any]) -> None:
        if _portal.ending:  # nobody would end it any more
            self.send(_RAISE, asyncio.CancelledError())
        elif not self.given_up:
            self._task = asyncio.get_running_loop().create_task(self.run(work))

    def give_up(self) -> None:
        self.given_up = True
        if self._task is None:
            self.send(_RAISE, None)
        else:
            self._task.cancel()
            self._task.add_done_callback(lambda _: self.send(_RAISE, None))  # it may not have begun


def _call(work: Work[T]) -> T:
    """Run a coroutine in the event loop; meanwhile call in this thread what it asks for."""
    if getattr(_thread, "carries_all", False):
        raise RuntimeError(
            "this was called in the event loop of all streams, which it would stop: by an observer, or `until`"
        )
    inbox = _thread.__dict__.setdefault("inbox", SimpleQueue())
    task, loop = _Task(inbox), _portal.loop
    asking: asyncio.Queue[Message] | None = getattr(_thread, "asking", None)
    ended = False
    try:
        if asking is not None:
            loop.call_soon_threadsafe(asking.put_nowait, (_CALL, functools.partial(task.run, work)))
        else:
            loop.call_soon_threadsafe(task.start, work)
        kind, content = _wait(task, inbox)
        ended = True
    except RuntimeError as exc:  # the event loop has ended
        kind, content = _RAISE, exc
    finally:
        if asking is None and not ended and not loop.is_closed():
            # Ctrl-C, for one: the coroutine ends before the thread goes on.
            loop.call_soon_threadsafe(task.give_up)
            with suppress(Empty):
                _wait(task, inbox, _END_SECONDS)
    if kind == _RAISE:
        of_the_end = isinstance(content, (asyncio.CancelledError, RuntimeError))
        if _portal.ending and of_the_end and threading.current_thread().daemon:
            threading.Event().wait()  # it ends with the program, as if Python had cut it off here
        raise content
    return cast("T", content)


def _wait(task: _Task, inbox: SimpleQueue[tuple[_Task, str, Any]], seconds: float | None = None) -> Message:
    """Wait for the end of *task*, and call what the thread's tasks ask for; with *seconds*, it was given up."""
    others: list[tuple[_Task, str, Any]] = []
    try:
        while True:
            of, kind, content = inbox.get(timeout=seconds)
            if kind == _CALL and seconds is None:
                _serve(*content)
            elif kind == _CALL and of is task:
                interrupted = (_RAISE, RuntimeError("the thread was interrupted"))
                _portal.loop.call_soon_threadsafe(content[2].put_nowait, interrupted)
            elif of is task:
                return kind, content
            elif not of.given_up:
                others.append((of, kind, content))
    finally:
        for other in others:  # for the calls that this one has interrupted
            inbox.put(other)


def _serve(function: Callable[..., Any], arguments: tuple[Any, ...], answers: asyncio.Queue[Message]) -> None:
    """Call a function of the user's, and give its result to the coroutine that waits for it."""
    before = getattr(_thread, "asking", None)
    _thread.asking = answers
    answer: Message = (_RAISE, RuntimeError("the callback did not return"))
    try:
        answer = (_RETURN, function(*arguments))
    except Exception as exc:  # noqa: BLE001 - the stream decides what becomes of it
        answer = (_RAISE, exc)
    finally:
        _thread.asking = before
        _portal.loop.call_soon_threadsafe(answers.put_nowait, answer)


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401
    """Call *function* in the thread that waits for the stream."""
    task = _present.get()
    if task is None:
        return function(*arguments)
    answers: asyncio.Queue[Message] = asyncio.Queue()
    task.send(_CALL, (function, arguments, answers))
    while True:
        kind, content = await answers.get()
        if kind == _RETURN:
            return cast("T", content)
        if kind == _RAISE:
            raise content
        await content()


# --- The stream


class ResilientStream(Subscription[Item_co]):
    """
    A Server-Sent Events subscription that stays alive, for threads: iterate over it.

    Arguments, attributes and errors are those of `resilient_sse.ResilientStream`, with these differences.
    Callbacks are plain functions; they, and functions given as `headers`, `params`, `decode` and `on_invalid`, are
    called in the thread that consumes the stream, so they may block.  Other functions (`classify`, `until`,
    `cursor`, `observers`, `auth`...) are called in the event loop that all streams of the process share, and must
    return at once.
    `close` and `restart` may be called from any thread.  A stream belongs to the process that made it.

    Raises:
        TypeError: An argument has the wrong type, or a callback is a coroutine function.
        ValueError: An argument is out of its range.
    """

    _calling = staticmethod(_in_thread)

    def _made(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - those of the other face
        for name in ("on_state_change", "on_gap", "headers", "params"):
            if callable(function := options.get(name)):
                check_callable(name, function)
                if name in ("headers", "params"):
                    options[name] = functools.partial(_in_thread, function)
        self._process = os.getpid()
        self._batch: deque[Activity | None] = deque()  # `None` is the end
        self._given: ServerSentEvent | None = None
        super().__init__(*args, **options)

    if not TYPE_CHECKING:
        __init__ = _made
        __init__.__signature__ = inspect.signature(Subscription.__init__)

    @property
    def last_event_id(self) -> str | None:
        """The id in force (the HTML standard's `lastEventId`), `None` when there is none or it was cleared."""
        return self._given_id() if self._batch else self._in_loop(self._given_id)

    def _given_id(self) -> str | None:
        if self._batch:
            return None if self._given is None else self._given.last_event_id or None
        return super().last_event_id

    @property
    def stats(self) -> StreamStats:
        """The figures so far, as a copy that no longer changes."""
        return self._in_loop(self._figures)

    def _figures(self) -> StreamStats:
        stats = super().stats
        waiting = sum(isinstance(item, ServerSentEvent) for item in self._batch.copy())
        return replace(stats, received=stats.received - waiting, delivered=stats.delivered - waiting)

    def health(self) -> StreamHealth:
        """Return how the stream is now."""
        return self._in_loop(lambda: self._session.health(_portal.loop.time()))

    def on_state_change(self, callback: CallbackT) -> CallbackT:
        """Call *callback* with each `StateChange`, in order, in the thread that asks or closes the stream."""
        check_callable("callback", callback)
        return super().on_state_change(callback)

    def on_gap(self, callback: GapCallbackT) -> GapCallbackT:
        """Call *callback* with each `Gap`, before the event behind it is delivered."""
        check_callable("callback", callback)
        return super().on_gap(callback)

    def __iter__(self) -> Self:
        """Iterate over the events."""
        return self

    def __next__(self) -> Item_co:
        """Wait for the next event, or for what `decode` makes of it; the one before is committed first."""
        while True:
            before = self._given
            event: Any = self._take()
            if event is None:
                raise StopIteration
            if not isinstance(event, ServerSentEvent):
                continue
            item = self._decoded(self._payloads, event, before) if self._payloads else event
            if item is not SKIPPED:
                return item  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def activity(self) -> Iterator[Activity]:
        """
        Iterate over everything: connections opened and lost, events, comments, gaps, and the end.

        It takes from the same stream as the plain iteration; use one at a time.
        """
        self._session.delivery.keeps_comments = True
        return iter(self._take, None)

    def commit(self, event: ServerSentEvent | None = None) -> None:
        """
        Save *event*, or the last one that was handed out, as processed with everything before it.

        It is for `ack="manual"`.

        Raises:
            CheckpointError: It was not saved.
            RuntimeError: The stream has no checkpoint, commits automatically, or has handed out no event yet.
        """

        async def commit() -> None:
            if self._given is None:
                self._give_back()  # what may have come, and nobody has got
            await self._commit(self._given if event is None else event)

        self._call(commit)

    def restart(self) -> None:
        """Drop the connection now and resume on a new one; wakes a wait between attempts, too."""
        self._in_loop(super().restart)

    def close(self) -> None:
        """Close the connection and end the stream for good; from any thread, and from a callback."""
        if not _portal.loop.is_closed():  # as it is when the program ends, and with it are all connections
            self._call(self._pump.aclose)

    def __enter__(self) -> Self:
        """Enter a block that closes the stream at its end; the connection is made by the first iteration."""
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        """Close the stream; commit the last event only if the block ended without an exception."""

        async def leave() -> None:
            self._give_back()
            await self._leave(commits=exc_type is None)

        if exc_type is None or not _portal.loop.is_closed():  # see `close`
            self._call(leave)

    def __del__(self) -> None:
        """Close a connection that was left open, and warn about it."""
        pump = getattr(self, "_pump", None)
        if pump is not None and self._process == os.getpid() and pump.is_open:
            loop = _portal.loop
            if not loop.is_closed():
                asyncio.run_coroutine_threadsafe(pump.aclose(), loop)
                warnings.warn(f"unclosed {self!r}; use 'with'", ResourceWarning, source=self, stacklevel=2)

    def _take(self) -> Activity | None:
        """Return the next of what has come, whichever way of iterating asks for it; `None` at the end."""
        if self._pump.closing:  # what waits here goes to nobody, as on asyncio
            return self._call(self._end)
        if not self._batch:
            self._call(self._fill)
        try:
            item = self._batch.popleft()
        except IndexError:
            raise RuntimeError("the stream is being iterated by another thread, too") from None
        if isinstance(item, ServerSentEvent):
            self._given = item
        return item

    def _decoded(
        self, payloads: Payloads[Item_co], event: ServerSentEvent, before: ServerSentEvent | None
    ) -> Item_co:
        """Return what the program gets for *event*; one whose decoding Ctrl-C has cut short comes again."""
        try:
            return payloads.of(event)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._batch.appendleft(event)
                self._given = before
            raise

    async def _fill(self) -> None:
        """Wait for what comes, and take along the events that are there."""
        # Here and not in the thread: what has left the stream must not be lost when the thread is interrupted.
        item = await self._pump.next()
        self._batch.append(item)
        if isinstance(item, ServerSentEvent):
            self._batch.extend(self._take_ready(_BATCH))

    async def _end(self) -> Activity | None:
        self._give_back()
        return await self._pump.next()

    def _give_back(self) -> None:
        """Take it that the consumer has not got what still waits here."""
        if self._batch:
            self._pump.handed = self._given
            self._session.delivery.caught_up = False

    def _in_loop(self, function: Callable[[], T]) -> T:
        """Call what must not see the stream in the midst of a step, or change it there."""

        async def call() -> T:
            return function()

        if getattr(_thread, "carries_all", False) or _portal.loop.is_closed():
            return function()
        return self._call(call)

    def _call(self, work: Work[T]) -> T:
        if self._process != os.getpid():
            raise RuntimeError("this stream was made in another process; make one in each, behind the fork")
        return _call(work)
