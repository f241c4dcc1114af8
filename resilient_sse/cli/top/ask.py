"""Finding the consoles of this machine, and asking one."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resilient_sse.cli.top.arguments import Address
from resilient_sse.cli.top.snapshot import CutShortError, NotAConsoleError, Process, Snapshot, parse_snapshot
from resilient_sse.monitoring.console import places
from resilient_sse.monitoring.console.server import QUESTION

__all__ = ["Found", "HeldUpError", "UnreachableError", "ask", "running", "where"]

_PATIENCE = 3.0
_MOST_BYTES = 32 * 1024 * 1024
_PIECE = 65_536
_SILENT = "does not answer; is its event loop held up?"
_CUT = "breaks off; is it ending, or are many others looking?"


class UnreachableError(Exception):
    """Nobody answers."""


class HeldUpError(UnreachableError):
    """
    Somebody listens, and does not answer in time, or not to the end; this may pass.

    Args:
        name: Who.
        why: What is wrong.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A console, the process that it is named after, and what it tells, or why it does not."""

    path: Path
    pid: int
    process: Process | None = None
    trouble: str = ""


def where(address: Address) -> Path | tuple[str, int]:
    """
    Return where to ask.

    Raises:
        UnreachableError: The process has no console that could be found, or more than one.
    """
    if isinstance(address, tuple):
        return address
    if isinstance(address, str):
        return Path(address)
    found = [path for path in _sockets() if places.pid_of(path) == address]
    if not found:
        raise UnreachableError(
            f"process {address} has no console in {places.directory()}; "
            "if it listens elsewhere, give the path or HOST:PORT"
        )
    if len(found) > 1:
        several = ", ".join(str(path) for path in found)
        raise UnreachableError(f"process {address} has several consoles, choose one: {several}")
    return found[0]


def running() -> list[Found]:
    """
    Return the programs of this user that have a console where it is looked for; dead sockets are taken away.

    A program that listens and does not answer is among them: it may be the one that is looked for.

    Raises:
        UnreachableError: The directory cannot be trusted.
    """
    found: list[Found] = []
    for path in _sockets():
        pid = places.pid_of(path)
        try:
            found.append(Found(path=path, pid=pid, process=ask(path).process))
        except HeldUpError as error:
            found.append(Found(path=path, pid=pid, trouble=error.why))
        except NotAConsoleError:
            continue
        except UnreachableError:
            _bury(path)
    return found


def ask(address: Path | tuple[str, int]) -> Snapshot:
    """
    Ask once.

    Raises:
        UnreachableError: Nobody answers.
        HeldUpError: Not in time, or not to the end.
        NotAConsoleError: What answers is no console.
    """
    deadline = time.monotonic() + _PATIENCE
    try:
        with _connected(address) as connection:
            connection.sendall(QUESTION)
            answer = _everything(connection, deadline)
    except (TimeoutError, BlockingIOError) as error:  # the latter: its queue of readers is full
        raise HeldUpError(_name(address), _SILENT) from error
    except (BrokenPipeError, ConnectionResetError) as error:
        raise HeldUpError(_name(address), _CUT) from error
    except OSError as error:
        raise UnreachableError(f"{_name(address)} does not answer: {error.strerror or error}") from error
    try:
        return parse_snapshot(answer.decode(errors="replace").splitlines())
    except CutShortError as error:
        raise HeldUpError(_name(address), _CUT) from error


def _connected(address: Path | tuple[str, int]) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=_PATIENCE)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(os.fspath(address))
    except BaseException:
        connection.close()
        raise
    return connection


def _everything(connection: socket.socket, deadline: float) -> bytes:
    answer = bytearray()
    while piece := connection.recv(_PIECE):
        answer += piece
        if len(answer) > _MOST_BYTES:
            raise NotAConsoleError("what answers there says more than any console would")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(answer)


def _sockets() -> list[Path]:
    if not hasattr(os, "geteuid"):
        return []  # there are no such sockets here
    try:
        return places.sockets()
    except OSError as error:
        raise UnreachableError(str(error)) from error


def _bury(path: Path) -> None:
    """Take away the socket of a process that was killed, which could not do so itself."""
    with suppress(OSError):
        if not places.answers(path) and not _alive(places.pid_of(path)):
            path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _name(address: Path | tuple[str, int]) -> str:
    return str(address) if isinstance(address, Path) else f"{address[0]}:{address[1]}"
