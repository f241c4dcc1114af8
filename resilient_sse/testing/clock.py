"""
Virtual time: a test of an hour takes milliseconds, on asyncio and on trio.

Code under test keeps calling `anyio.sleep`, `anyio.move_on_after` and `anyio.current_time`; what changes is the
clock of the event loop.  Whenever every task is waiting, it jumps to the next timer.  Time starts at zero and
moves in no other way, so a test may compare moments for equality.

Time stands still while a thread works (`anyio.to_thread` with the default limiter, `loop.run_in_executor`).  Real
sockets have no such protection: a test that needs them needs real time as well.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import Context
from pathlib import PurePath
from types import FrameType
from typing import Any, Literal, TypeAlias, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

BackendName: TypeAlias = Literal["asyncio", "trio"]
"""The event loops that anyio runs on."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


THREAD_PATIENCE = 5.0
"""Real seconds that time waits for a working thread.  Bounded: the thread may itself wait for the loop."""

STRANGER_PATIENCE = 1.0
"""Real seconds that a blocked loop waits for threads it knows nothing about before it calls itself stuck."""

MOST_JUMPS = 1_000_000
"""How often one clock jumps: far more than any test needs, and half a minute or so of real time."""


class AllTasksBlockedError(RuntimeError):
    """Every task is blocked and no timer is pending: on real time, the program would hang for ever."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.tasks = tasks

    def __str__(self) -> str:
        return "\n    ".join(("every task is blocked and no timer is pending", *self.tasks))


def endless(now: float, tasks: tuple[str, ...]) -> RuntimeError:
    """Make the error of a clock that has jumped `MOST_JUMPS` times, with where each task is waiting."""
    what = f"virtual time has jumped {MOST_JUMPS:,} times, to {now:,.0f} s"
    return RuntimeError("\n    ".join((f"{what}: something polls or retries for ever", *tasks)))


def place(step: object) -> str:
    """Tell where a suspended coroutine waits."""
    calls: list[str] = []
    # `Task.get_stack()` shows only the outermost frame of a suspended coroutine; the inmost is of interest.
    while step is not None:
        frame: FrameType | None = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None:
            # The file's name alone: the message may end up in a report, and directories are nobody's business.
            where = PurePath(frame.f_code.co_filename).name
            calls.append(f"{frame.f_code.co_name} ({where}:{frame.f_lineno})")
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    return " > ".join(calls) or "nowhere"


class _JumpingSelector(selectors.DefaultSelector):
    """Ask the operating system without waiting, and move the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jumps = 0
        self.jobs: set[object] = set()  # given to executors and not yet finished
        self.own_files = 0  # the loop's self-pipe: it wakes the loop, but nobody waits for it

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._threads_at_work() and (ready := super().select(THREAD_PATIENCE)):
            return ready
        if timeout is not None:
            self.now += timeout
            self.jumps += 1
            if self.jumps > MOST_JUMPS:
                self.jumps = 0  # what cleans up may take its time as well
                raise endless(self.now, _places())
            return []
        if len(self.get_map()) > self.own_files:
            return super().select(None)
        if threading.active_count() > 1 and (ready := super().select(STRANGER_PATIENCE)):
            return ready
        raise AllTasksBlockedError(_places())

    def _threads_at_work(self) -> bool:
        if self.jobs:
            return True
        try:
            return anyio.to_thread.current_default_thread_limiter().borrowed_tokens > 0
        except RuntimeError:  # a loop started without anyio's help has no anyio threads either
            return False


def _places() -> tuple[str, ...]:
    tasks = sorted(asyncio.all_tasks(asyncio.get_running_loop()), key=lambda task: task.get_name())
    return tuple(f"{task.get_name()}: {place(task.get_coro())}" for task in tasks)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """
    An asyncio loop whose time jumps to the next timer whenever nothing is left to run.

    Pass the class as *loop_factory*, to `asyncio.Runner` or to anyio's asyncio backend.

    Raises:
        AllTasksBlockedError: Out of the running loop, when no timer, thread or socket can wake any task.
    """

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)
        self._clock.own_files = len(self._clock.get_map())

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._clock.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*ArgsT], object],
        *args: *ArgsT,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule *callback*; one that is infinitely far away never becomes a pending timer."""
        # `anyio.sleep_forever()` is such a timer.  In the heap it would have the clock jump on for ever.
        if when == math.inf:
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*ArgsT], ResultT], *args: *ArgsT
    ) -> asyncio.Future[ResultT]:
        """Run *func* in a thread (or whatever *executor* offers), while virtual time stands still."""
        future = super().run_in_executor(executor, func, *args)
        self._clock.jobs.add(future)
        future.add_done_callback(self._clock.jobs.discard)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's
        """Join the executor's threads; *timeout* is ignored, since virtual time would be up at once."""
        self._clock.jobs.add(self)
        await super().shutdown_default_executor()
        self._clock.jobs.discard(self)


def virtual_backend(name: BackendName) -> tuple[BackendName, dict[str, Any]]:
    """
    Return the value of an `anyio_backend` fixture that runs a test in virtual time, on `"asyncio"` or `"trio"`.

    Call it once for each test: the clock it contains goes on where the test before stopped.  A test that hangs
    fails with `AllTasksBlockedError`, on trio perhaps within an exception group.  One in which the clock has
    jumped a million times, since something polls for ever, fails with a `RuntimeError`.

    `ModuleNotFoundError`: trio was asked for and is not installed; `ValueError`: *name* is something else.
    """
    if name == "asyncio":
        return name, {"loop_factory": VirtualClockLoop}
    if name == "trio":
        try:
            from resilient_sse.testing.trio_clock import Watch  # noqa: PLC0415 - trio is optional
        except ModuleNotFoundError as error:
            text = "virtual time on trio needs trio: pip install 'resilient-sse[trio]'"
            raise ModuleNotFoundError(text, name=error.name) from error
        watch = Watch()
        return name, {"clock": watch.clock, "instruments": [watch]}
    raise ValueError(f"name must be 'asyncio' or 'trio', not {name!r}")


def run_in_virtual_time(
    func: Callable[[*ArgsT], Awaitable[ResultT]], *args: *ArgsT, backend: BackendName = "asyncio"
) -> ResultT:
    """
    Run an async function to its end in virtual time and return what it returns: `anyio.run`, in no time.

    For whatever is no async test function: property tests, doctests, `unittest`.

    Raises:
        ModuleNotFoundError: trio was asked for and is not installed.
        AllTasksBlockedError: Nothing can ever happen again.
        RuntimeError: The clock has jumped a million times: something polls or retries for ever.
    """
    name, options = virtual_backend(backend)
    try:
        return anyio.run(func, *args, backend=name, backend_options=options)
    finally:
        for watch in options.get("instruments", ()):
            if watch.error is not None:  # which may lie in a group, or be lost by what it went through
                raise watch.error from None
