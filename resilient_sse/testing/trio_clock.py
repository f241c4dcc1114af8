"""
What trio's clock for tests does not do by itself: wait for threads, and notice that nothing can ever happen.

Trio's clock with autojump spins at full speed once every task is blocked and no deadline is left.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import trio
import trio.abc
import trio.testing

from resilient_sse.testing import clock
from resilient_sse.testing.clock import AllTasksBlockedError, endless, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

_QUIET_ROUNDS = 3
"""Rounds of the loop without a step of any task; a jump of the clock alone takes two."""


class Watch(trio.abc.Instrument):
    """
    A trio instrument that watches over a run in virtual time.

    It holds the clock while a thread works, and has the main task fail when nothing can ever happen again, or
    when the clock has jumped too often.  A trio instrument cannot raise; so the error is delivered as trio
    delivers a `KeyboardInterrupt`, and kept in `error`.
    """

    def __init__(self) -> None:
        self.clock: trio.testing.MockClock = trio.testing.MockClock(autojump_threshold=0)
        self.error: Exception | None = None
        self._rounds = 0  # since the last step
        self._jumps = 0
        self._alone_since: float | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        """Count a step, and hold the clock if a thread works."""
        if self._rounds > 1:
            self._jumps += 1
            self._alone_since = None
        self._rounds = 0
        working = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        self._hold(clock.THREAD_PATIENCE if working else 0.0)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's
        """Look closer when nothing happens."""
        self._rounds += 1
        is_long = self._jumps > clock.MOST_JUMPS
        if self._rounds >= _QUIET_ROUNDS or (is_long and self._rounds > 1):
            self._look()

    def _look(self) -> None:
        statistics = trio.lowlevel.current_statistics()
        if statistics.tasks_runnable or trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            return
        if self._jumps > clock.MOST_JUMPS:
            self._jumps = 0  # what cleans up may take its time as well
            self._fail(endless(self.clock.current_time(), _places()))
        elif statistics.seconds_to_next_deadline == math.inf:
            io = statistics.io_statistics
            waiting = sum(int(getattr(io, name)) for name in dir(io) if name.startswith("tasks_waiting"))
            # One is trio's own.
            self._wait_for_others(math.inf if waiting > 1 else clock.STRANGER_PATIENCE)

    def _wait_for_others(self, patience: float) -> None:
        """Really wait, for a socket or a thread that nobody here knows of, before all is called stuck."""
        if self._alone_since is None:
            self._alone_since = time.monotonic()
        is_alone = patience < math.inf and threading.active_count() == 1
        if is_alone or time.monotonic() - self._alone_since >= patience:
            self._alone_since = None
            self._fail(AllTasksBlockedError(_places()))
        else:
            self._hold(patience)

    def _hold(self, threshold: float) -> None:
        if threshold != self.clock.autojump_threshold:
            self.clock.autojump_threshold = threshold

    def _fail(self, error: Exception) -> None:
        self.error = self.error or error

        def raise_error() -> NoReturn:
            raise error

        for task in _tasks():
            # As trio's own `_attempt_delivery_of_pending_ki`; there is no public way into a task that waits.
            if getattr(task, "_abort_func", None) is not None:
                abort: Callable[[Callable[[], NoReturn]], None] = getattr(task, "_attempt_abort")  # noqa: B009 - private
                abort(raise_error)
                return
        self._hold(math.inf)  # nobody can be told; at least do not spin


def _places() -> tuple[str, ...]:
    return tuple(f"{task.name}: {place(task.coro)}" for task in _tasks())


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield the main task and all that descend from it; trio's own are in other nurseries."""
    root = trio.lowlevel.current_root_task()
    nurseries = root.child_nurseries if root else []
    if len(nurseries) > 2:  # noqa: PLR2004 - run_sync_soon's, the system tasks' and the main task's
        yield from _below(nurseries[-1])


def _below(nursery: trio.Nursery) -> Iterator[trio.lowlevel.Task]:
    for task in nursery.child_tasks:
        yield task
        for inner in task.child_nurseries:
            yield from _below(inner)
