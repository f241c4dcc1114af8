"""
What trio's clock for tests does not do by itself: wait for threads, and notice that nothing can ever happen.

Trio's clock with autojump spins at full speed once every task is blocked and no deadline is left.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import trio
import trio.abc
import trio.testing

from resilient_sse.testing import clock
from resilient_sse.testing.clock import AllTasksBlockedError, endless, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn


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
        self._jumps = 0
        # Trio calls it when all has been quiet for the threshold.  There is no public way to hear of that.
        setattr(self.clock, "_autojump", self._quiet)  # noqa: B010 - private

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        """End the waiting for threads and sockets: something has happened."""
        self._hold(0.0)

    def _quiet(self) -> None:
        statistics = trio.lowlevel.current_statistics()
        jump = statistics.seconds_to_next_deadline
        patience = 0.0
        if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            patience = clock.THREAD_PATIENCE if jump < math.inf else math.inf
        elif jump == math.inf:
            io = statistics.io_statistics
            waiting = sum(int(getattr(io, name)) for name in dir(io) if name.startswith("tasks_waiting"))
            if waiting > 1:  # one is trio's own
                patience = math.inf
            elif threading.active_count() > 1:
                patience = clock.STRANGER_PATIENCE
        if self.clock.autojump_threshold < patience:
            self._hold(patience)
        elif jump == math.inf:
            self._fail(AllTasksBlockedError(_places()))
        elif self._jumps >= clock.MOST_JUMPS:
            self._jumps = 0  # what cleans up may take its time as well
            self._fail(endless(self.clock.current_time(), _places()))
        else:
            self._jumps += 1
            self.clock.jump(max(jump, 0))

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
    """Yield the main task and all that descend from it; trio's own are in the first two nurseries."""
    root = trio.lowlevel.current_root_task()
    nurseries = root.child_nurseries[2:] if root else []
    while nurseries:
        for task in nurseries.pop().child_tasks:
            yield task
            nurseries += task.child_nurseries
