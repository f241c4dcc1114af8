"""
The places where asyncio needs more than anyio gives, or gives more than it.

anyio's shields hold off its own cancel scopes.  `asyncio.timeout`, `asyncio.wait_for` and `Task.cancel` pass
through them; `hold` keeps work safe from those without a task of its own, so that context variables and
`current_task()` are the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from anyio.lowlevel import EventLoopToken

__all__ = ["Alarm", "clock", "finish", "hold", "in_background", "on_asyncio"]

T = TypeVar("T")

_background: set[asyncio.Task[None]] = set()


def on_asyncio() -> bool:
    """Whether the present event loop is asyncio's."""
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


def clock() -> Callable[[], float]:
    """Return the clock of the present event loop; anyio asks for the loop each time it is asked for the time."""
    return asyncio.get_running_loop().time if on_asyncio() else anyio.current_time


class Alarm:
    """
    A timer of asyncio that is set again and again and hardly ever rings.

    A timer object a read costs two microseconds and a heap of dead timers; this one stays, looks at the moment it
    was set to when it rings, and sleeps on if that has moved.

    Args:
        loop: Whose clock it goes by.
        ring: What to call.
    """

    __slots__ = ("_loop", "_ring", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._when = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Ring at this moment of the loop's clock, and at no other."""
        self._when = when
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._rung)
        elif self._timer.when() > when:
            self._timer.cancel()
            self._timer = self._loop.call_at(when, self._rung)

    def cancel(self) -> None:
        """Never ring again."""
        self._ring = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rung(self) -> None:
        self._timer = None
        if self._loop.time() < self._when:
            self.set(self._when)
        else:
            self._ring()


def _nothing() -> None:
    pass


async def finish(work: Callable[[], Coroutine[Any, Any, None]], *, within: float) -> None:
    """
    Run *work* to its end although the caller may be cancelled; cancellation is passed on afterwards.

    Args:
        work: Closes something.
        within: The seconds it may take.
    """
    with anyio.move_on_after(within, shield=True) as scope:
        if on_asyncio():
            await hold(work(), lambda: not scope.cancel_called)
        else:
            await work()


def in_background(work: Callable[[], Coroutine[Any, Any, None]], token: EventLoopToken) -> None:
    """
    Begin *work* in the event loop of *token*, from wherever the present code runs, and let nobody wait for it.

    If that loop has ended, so has whatever *work* would close.
    """
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


@types.coroutine
def hold(work: Coroutine[Any, Any, T], held: Callable[[], bool]) -> Generator[Any, Any, T]:
    """
    Run *work* in the present task of asyncio, and keep `Task.cancel` from it as long as *held* is true.

    A task is cancelled by cancelling the future that it waits for; so it is given one that only follows the future
    *work* waits for.  A cancellation that was kept is passed on at the next wait that is not held, or at the end.
    """
    kept: asyncio.CancelledError | None = None
    thrown: asyncio.CancelledError | None = None
    try:
        while True:
            waited = work.send(None) if thrown is None else work.throw(thrown)
            thrown = None
            if waited is None:  # sleep(0)
                try:
                    yield
                except asyncio.CancelledError as exc:
                    kept = exc
                if kept is not None and not (held() and _is_native(kept)):
                    thrown, kept = kept, None
                continue
            waited._asyncio_future_blocking = False  # noqa: SLF001 - the mark by which tasks know what to wait for
            while True:
                if kept is not None and not (held() and _is_native(kept)):
                    thrown, kept = kept, None
                    if not waited.cancel(*thrown.args):
                        break
                    thrown = None
                if waited.done():
                    break
                follower = waited.get_loop().create_future()
                follow = partial(_follow, follower)
                waited.add_done_callback(follow)
                try:
                    yield from follower
                except asyncio.CancelledError as exc:
                    waited.remove_done_callback(follow)
                    kept = exc
    except StopIteration as end:
        if kept is not None:
            raise kept from None
        return cast("T", end.value)
    finally:
        work.close()
        del kept, thrown


def _is_native(cancellation: asyncio.CancelledError) -> bool:
    """
    Whether it does not come from a cancel scope of anyio, which repeats it until it is obeyed.

    Shields hold the outer scopes off, so it is for a scope inside the work.  anyio knows its own by this text.
    """
    return not str(cancellation).startswith("Cancelled via cancel scope")


def _follow(follower: asyncio.Future[None], _waited: object) -> None:
    if not follower.done():
        follower.set_result(None)
