"""
The places where asyncio needs more than anyio gives, or gives more than it.

anyio's shields hold off its own cancel scopes.  `asyncio.timeout`, `asyncio.wait_for` and `Task.cancel` pass
through them; `hold` keeps work safe from those without a task of its own, so that context variables and
`current_task()` are the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled, current_token

if TYPE_CHECKING:
    from contextvars import Context

    from anyio.lowlevel import EventLoopToken

CLOSE_SECONDS: Final = 2.0
"""Closing never takes longer than this; what is not closed by then is left to the event loop."""

T = TypeVar("T")

_background: set[asyncio.Task[None]] = set()


def on_asyncio() -> bool:
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


def running() -> object:
    """Return the present event loop, or what stands for it; on asyncio at a fortieth of what anyio takes."""
    return asyncio._get_running_loop() or current_token().native_token  # noqa: SLF001 - there is no other that may fail


def clock() -> Callable[[], float]:
    """Return the clock of the present event loop, also for later; anyio looks for the loop at each question."""
    if on_asyncio():
        return asyncio.get_running_loop().time
    now: Callable[[], float] = sys.modules["trio"].lowlevel.current_clock().current_time
    return now


class Alarm:
    """
    A timer of asyncio that is set again and again and hardly ever rings.

    A timer object a read costs two microseconds and a heap of dead timers; this one stays, looks at the moment it
    was set to when it rings, and sleeps on if that has moved.
    """

    __slots__ = ("_loop", "_ring", "_rings_at", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._when = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def set(self, when: float) -> None:
        """Ring at this moment of the loop's clock, and at no other; infinite for never."""
        self._when = when
        if when < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = when
            self._timer = self._loop.call_at(when, self._rung)

    def cancel(self) -> None:
        self._ring = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rung(self) -> None:
        self._timer, self._rings_at = None, math.inf
        if self._loop.time() < self._when:
            self.set(self._when)
        else:
            self._ring()


async def finish(work: Callable[[], Coroutine[Any, Any, None]], *, within: float) -> None:
    """Run *work* to its end within so many seconds, and pass a cancellation of the caller on afterwards."""
    with anyio.move_on_after(within, shield=True) as scope:
        if on_asyncio():
            await hold(work(), lambda: not scope.cancel_called)
        else:
            await work()


async def outlive(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """
    Run *work* to its end although the caller may be cancelled; behind a `Task.cancel` for `CLOSE_SECONDS` at most.

    On asyncio it has a task of its own: a driver that is cancelled in its midst may keep a connection, or a lock.
    """
    await checkpoint_if_cancelled()  # which a loop around this would not find otherwise
    with anyio.CancelScope(shield=True):
        if not on_asyncio():
            return await work()
        task = asyncio.create_task(work())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await hold(asyncio.wait((task,), timeout=CLOSE_SECONDS))
            raise
        finally:
            task.cancel()
            del task  # its error refers to this frame
    raise AssertionError("a shield lets errors through")


async def to_its_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Wait for what is done in a thread, whoever is cancelled, be it all tasks at once: it would go on unseen."""
    await checkpoint_if_cancelled()
    with anyio.CancelScope(shield=True):
        return await (hold(work()) if on_asyncio() else work())
    raise AssertionError("a shield lets errors through")


async def in_thread(function: Callable[[], T]) -> T:
    """Call *function* in a thread, and wait for its end once it has begun."""
    async with to_thread.current_default_thread_limiter():
        return await to_its_end(partial(to_thread.run_sync, function, limiter=anyio.CapacityLimiter(1)))


def in_background(work: Callable[[], Coroutine[Any, Any, None]], token: EventLoopToken) -> None:
    """Begin *work* in the event loop of *token*, from anywhere; if that has ended, so has what it would close."""
    loop: Any = token.native_token
    with contextlib.suppress(RuntimeError):
        if isinstance(loop, asyncio.AbstractEventLoop):
            loop.call_soon_threadsafe(_begin, loop, work)
        else:
            loop.run_sync_soon(sys.modules["trio"].lowlevel.spawn_system_task, work)


def _begin(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = loop.create_task(work())
    _background.add(task)  # the loop itself would let go of it
    task.add_done_callback(_background.discard)


class StandIn:
    """
    What a task of asyncio waits for in place of a future, so that it can be woken without the future's being done.

    A task is cancelled by cancelling what it waits for.  For this object somebody else decides what that means.

    The end of *future* wakes the task, too; *cancel* is called when the task is cancelled, with the message, and
    returns whether that was heeded.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_future", "_wakeup", "cancel")

    def __init__(self, future: asyncio.Future[Any], cancel: Callable[..., bool]) -> None:
        # The mark by which tasks know what to wait for.
        self._asyncio_future_blocking = True
        future._asyncio_future_blocking = False  # noqa: SLF001 - see above
        self._future = future
        self.cancel = cancel

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: Context) -> None:
        self._wakeup, self._context = wakeup, context
        self._future.add_done_callback(wakeup, context=context)

    def wake(self) -> None:
        """Wake the task, if the future has not."""
        if self._future.remove_done_callback(self._wakeup):
            self.get_loop().call_soon(self._wakeup, self, context=self._context)

    def result(self) -> None:
        """Give the woken task nothing."""

    # Work that is held may hold work itself; then this stands in for another one.

    def remove_done_callback(self, wakeup: Callable[[Any], object]) -> int:
        return self._future.remove_done_callback(wakeup)

    def done(self) -> bool:
        return self._future.done()

    def cancelled(self) -> bool:
        return self._future.cancelled()


@types.coroutine
def hold(work: Coroutine[Any, Any, T], held: Callable[[], bool] = lambda: True) -> Generator[Any, Any, T]:
    """
    Run *work* in the present task of asyncio, and keep `Task.cancel` from it as long as *held* is true.

    A cancellation that was kept is passed on at the next wait that is not held, or at the end.
    """
    kept: asyncio.CancelledError | None = None
    thrown: asyncio.CancelledError | None = None
    waited: Any = None

    def passes(cancellation: asyncio.CancelledError) -> bool:
        return not (held() and is_native(cancellation))

    def cancel(msg: object = None) -> bool:
        nonlocal kept
        cancellation = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        if passes(cancellation):
            return bool(waited.cancel(msg))
        kept = cancellation
        return True

    try:
        while True:
            waited = work.send(None) if thrown is None else work.throw(thrown)
            thrown = None
            if waited is not None and kept is not None and passes(kept):
                waited.cancel(*kept.args)
                kept = None
            try:
                yield waited and StandIn(waited, cancel)  # nothing is sleep(0)
            except asyncio.CancelledError as exc:
                if waited is None or not waited.cancelled():
                    kept = exc
            except BaseException:
                if waited is None or not waited.done():
                    raise
            if kept is not None and passes(kept):
                thrown, kept = kept, None
    except StopIteration as end:
        if kept is not None:
            raise kept from None
        return cast("T", end.value)
    except Exception as exc:
        if kept is not None:  # whoever handles the error would go on
            raise kept from exc
        raise
    finally:
        work.close()
        kept = thrown = waited = None


def is_native(cancellation: asyncio.CancelledError) -> bool:
    """Whether it does not come from a cancel scope of anyio, which repeats it until it is obeyed."""
    # Shields hold the outer scopes off, so it is for a scope inside the work.  anyio knows its own by this text.
    return not str(cancellation).startswith("Cancelled via cancel scope")


def misread_cancellation() -> bool:
    """Whether a `CancelledError` came from something that was awaited, and nobody cancels this task."""
    task = asyncio.current_task() if on_asyncio() else None
    return task is None or not task.cancelling()  # other event loops cancel by an exception of their own
