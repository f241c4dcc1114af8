"""
Where consoles listen: one directory for each user, and in it a socket named after the process.

The directory is the user's own and closed to others; a directory that somebody else has made is refused, since
whoever made it decides what is in it.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["answers", "claim", "directory", "free_path", "pid_of", "sockets"]

_NAME = re.compile(r"(\d+)(?:-\d+)?\.sock")
_PATIENCE = 1.0


def directory() -> Path:
    """Return where consoles of this user listen: in `$XDG_RUNTIME_DIR`, or where temporary files are."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():
        return Path(given) / "resilient-sse"
    return Path(tempfile.gettempdir()) / f"resilient-sse-{os.geteuid()}"


def _check(place: Path) -> None:
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{place} must be a directory of yours that is closed to others (chmod 700); "
            "remove it, or choose a path for the console"
        )


def free_path() -> Path:
    """
    Return a path named after this process, which may have several consoles; the directory is made.

    Raises:
        PermissionError: The directory is not this user's alone.
    """
    place, pid = directory(), os.getpid()
    with suppress(FileExistsError):  # something else than a directory is found out below
        place.mkdir(mode=0o700, exist_ok=True)
    _check(place)
    path, number = place / f"{pid}.sock", 1
    while path.exists() and answers(path):
        number += 1
        path = place / f"{pid}-{number}.sock"
    return path


def sockets() -> list[Path]:
    """
    Return the sockets of this user's consoles, by process; what ended without taking its socket away, too.

    Raises:
        PermissionError: The directory is not this user's alone.
    """
    place = directory()
    if not os.path.lexists(place):
        return []
    _check(place)
    found = [path for path in place.iterdir() if _NAME.fullmatch(path.name) and path.is_socket()]
    return sorted(found, key=lambda path: (pid_of(path), len(path.name), path.name))


def pid_of(path: Path) -> int:
    """Return the process that a socket is named after, 0 if it has another name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def answers(path: Path) -> bool:
    """
    Return whether somebody listens at *path*.

    Raises:
        PermissionError: It is somebody else's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):  # a full queue is one that somebody has opened
            return True
    return True


def claim(path: Path) -> None:
    """
    Make room for a socket: what a process has left behind there is removed.

    Raises:
        FileExistsError: Something else is there.
        OSError: Another console listens there, or the path cannot be one of a socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is not a socket; choose another path for the console")
    if answers(path):
        raise OSError(f"a console listens at {path} already; choose another path")
    path.unlink(missing_ok=True)
