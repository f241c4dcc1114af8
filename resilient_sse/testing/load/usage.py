"""What this process uses: CPU time, resident memory, open files, and how many of those it may open."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

__all__ = ["OpenFilesError", "Usage", "allow_open_files", "open_files_allowed", "resident_bytes"]

_STATM = Path("/proc/self/statm")
_RESERVE = 64
"""Files that are open anyway: standard streams, the event loop, pipes to the children, libraries."""


class OpenFilesError(OSError):
    """
    The process may not open as many files as the streams need.

    Args:
        needed: How many are needed.
        allowed: How many the hard limit allows.
    """

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(needed, allowed)
        self.needed = needed
        self.allowed = allowed

    def __str__(self) -> str:
        return (
            f"so many streams need {self.needed} open files, and the limit is {self.allowed}; "
            f"raise it with 'ulimit -n {self.needed}', or take fewer --users"
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """
    One reading.

    Attributes:
        at: When, in seconds of a clock that only runs forward.
        cpu: CPU time of this process so far, in seconds, user and system, all threads, children not included.
        resident: Resident memory in bytes, or `None` where the system does not tell.
    """

    at: float
    cpu: float
    resident: int | None

    @classmethod
    def read(cls) -> Usage:
        """Read the present values."""
        return cls(time.perf_counter(), time.process_time(), resident_bytes())

    def cpu_share_since(self, earlier: Usage) -> float | None:
        """Return the share of one core used since *earlier*: 1.0 is one core all the time; `None` for no time."""
        seconds = self.at - earlier.at
        return (self.cpu - earlier.cpu) / seconds if seconds > 0 else None


def resident_bytes() -> int | None:
    """Return the resident memory of this process, or `None` where there is no `/proc`."""
    try:
        pages = int(_STATM.read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files_allowed() -> int | None:
    """Return the soft limit on open files, or `None` if there is none or nobody can tell."""
    if resource is None:  # pragma: no cover - Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def allow_open_files(connections: int) -> int:
    """
    See to it that *connections* sockets may be open at once, raising the soft limit up to the hard one.

    Children inherit the limit.

    Returns:
        How many files are needed, with a reserve for what is open anyway.

    Raises:
        OpenFilesError: The hard limit forbids it.
    """
    needed = connections + _RESERVE
    if resource is None:  # pragma: no cover - Windows
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OpenFilesError(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else needed, hard))
    return needed
