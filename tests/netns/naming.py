"""
Names of namespaces, which tell whose they are, and their removal.

A namespace outlives the process that made it, and nobody can clean up after `kill -9` but the next to come.  So
the name tells the owner: its process id, and when that process was started, because ids are used again.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.netns.tools import NetnsCommandError, NetnsError, call

__all__ = ["DIRECTORY", "new_name", "pids_in", "remove", "sweep"]

DIRECTORY = Path("/var/run/netns")
"""Where iproute2 keeps the names of namespaces."""

_NAME = re.compile(r"resilient-sse-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}-[a-z]+")
_DEATH_SECONDS = 5.0


def new_name(role: str) -> str:
    """
    Make a name that nobody else uses, for a namespace of this process.

    Args:
        role: A word in lower-case letters.
    """
    pid = os.getpid()
    return f"resilient-sse-{pid}-{_started(pid)}-{secrets.token_hex(4)}-{role}"


def sweep() -> list[str]:
    """
    Remove the namespaces whose owners have died, with every process in them, and return their names.

    Raises:
        NetnsCommandError: A namespace could not be removed.
        NetnsUnavailableError: The programs for it are not installed.
    """
    swept: list[str] = []
    for name in _orphans():
        remove(name)
        swept.append(name)
    return swept


def pids_in(name: str) -> list[int]:
    """
    Return the ids of the processes in a namespace.

    Raises:
        NetnsCommandError: It does not exist.
        NetnsUnavailableError: The programs for it are not installed.
    """
    return [int(pid) for pid in call("ip", "netns", "pids", name).split()]


def remove(name: str) -> None:
    """
    Kill what runs in a namespace and remove it; it is no error if it has gone already.

    Raises:
        NetnsCommandError: It could not be removed.
        NetnsError: A process in it could not be killed.
        NetnsUnavailableError: The programs for it are not installed.
    """
    try:
        _kill_all(name)
        call("ip", "netns", "delete", name)
    except NetnsCommandError:
        if (DIRECTORY / name).exists():  # or another sweep was quicker
            raise


def _orphans() -> list[str]:
    try:
        names = sorted(path.name for path in DIRECTORY.iterdir())
    except FileNotFoundError:  # no namespace was ever made
        return []
    return [name for name in names if (found := _NAME.fullmatch(name)) and _is_dead(found)]


def _is_dead(owner: re.Match[str]) -> bool:
    return _started(int(owner["pid"])) != int(owner["started"])


def _started(pid: int) -> int | None:
    """Return when a process was started, in the kernel's ticks, or `None` if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    after_name = stat.rpartition(")")[2].split()  # the name may hold spaces and brackets
    if after_name[0] in "ZX":  # dead, and only not yet collected by its parent
        return None
    return int(after_name[19])


def _kill_all(name: str) -> None:
    until = time.monotonic() + _DEATH_SECONDS
    while pids := pids_in(name):
        if time.monotonic() > until:
            raise NetnsError(f"processes {pids} in the namespace {name} could not be killed")
        for pid in pids:
            _kill(pid, name)
        time.sleep(0.01)


def _kill(pid: int, name: str) -> None:
    """Kill a process if it still is one of the namespace: its id may be another's by now."""
    with suppress(ProcessLookupError, FileNotFoundError):
        handle = os.pidfd_open(pid)
        try:
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == (DIRECTORY / name).stat().st_ino:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
