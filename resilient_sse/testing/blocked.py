"""When virtual time cannot go on: the errors that say so, where tasks wait, and how long it is patient."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

__all__ = ["MOST_JUMPS", "STRANGER_PATIENCE", "THREAD_PATIENCE", "AllTasksBlockedError", "endless", "place"]

THREAD_PATIENCE = 5.0
"""Real seconds that time waits for a working thread.  Bounded: the thread may itself wait for the loop."""

STRANGER_PATIENCE = 1.0
"""Real seconds that a blocked loop waits for threads it knows nothing about before it calls itself stuck."""

MOST_JUMPS = 1_000_000
"""How often one clock jumps: far more than any test needs, and half a minute or so of real time."""


class AllTasksBlockedError(RuntimeError):
    """
    Every task is blocked and no timer is pending: on real time, the program would hang for ever.

    Args:
        tasks: Where each task is waiting, one line per task.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.tasks = tasks

    @override
    def __str__(self) -> str:
        return "\n    ".join(("every task is blocked and no timer is pending", *self.tasks))


def endless(now: float, tasks: tuple[str, ...]) -> RuntimeError:
    """
    Make the error of a clock that has jumped `MOST_JUMPS` times.

    Args:
        now: The virtual time.
        tasks: Where each task is waiting.
    """
    what = (
        f"virtual time has jumped {MOST_JUMPS:,} times, to {now:,.0f} s: something polls or retries for ever"
    )
    return RuntimeError("\n    ".join((what, *tasks)))


def place(step: object) -> str:
    """Tell where a suspended coroutine waits."""
    calls = [f"{frame.f_code.co_name} ({_where(frame)})" for frame in _frames(step)]
    return " > ".join(calls) or "nowhere"


def _where(frame: FrameType) -> str:
    # The name of the file alone: the message may end up in a report, and directories are nobody's business.
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _frames(step: object) -> Iterator[FrameType]:
    # `Task.get_stack()` shows only the outermost frame of a suspended coroutine; the inmost is of interest.
    while step is not None:
        frame: FrameType | None = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None:
            yield frame
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
