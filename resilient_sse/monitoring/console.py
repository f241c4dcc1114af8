"""
The side of `resilient-sse top` that is inside the program: its streams, shown to other processes on this machine.

```python
console = Console()
stream = ResilientStream(url, observers=[console.named("prices")])
async with console:
    ...
```

It must never be felt by the program that it is part of.  A stream counts for itself, in `StreamStats`, and tells
its observer what changes; an event costs the call of a function that returns at once.  Streams are held weakly:
one that is collected leaves the console.  A reader asks one short question and gets one line of JSON, described in
small portions, between which the program's own tasks have their turn; who does not read is dropped.  Nothing that
goes wrong here ends anything else.

Consoles listen in one directory for each user, each at a socket named after its process.  The directory is the
user's own and closed to others; one that somebody else has made is refused, since whoever made it decides what is
in it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

import anyio
from anyio.abc import SocketAttribute

from resilient_sse._client.log import logger
from resilient_sse._core.checks import check, check_callable
from resilient_sse._core.errors import HandshakeError
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse._core.stats import StreamStats

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import SocketListener, SocketStream, TaskGroup, TaskStatus

    from resilient_sse._core.ports import Fact, Instrument, Observer

__all__ = ["Console", "EventTime", "answers", "directory", "pid_of", "sockets"]

EventTime: TypeAlias = Callable[[ServerSentEvent], float]
"""Reads from an event when it was made, in seconds since 1970; a server of yours may say so in the data."""

VERSION: Final = 2
"""The form of the answer; it rises when a reader of the old form would go wrong."""
QUESTION: Final = b"resilient-sse snapshot 1\n"
"""What a reader says first, so that a browser led to a port of ours gets nothing."""
PORTION: Final = 50
"""How many streams are described before other tasks have their turn; about a millisecond of work."""

_MOST_READERS: Final = 8
_MOST_STREAMS: Final = 10_000
_ANSWER_SECONDS: Final = 5.0
_BREATH_SECONDS: Final = 1.0
_LAST_PORT: Final = 65_535
_NAME_LENGTH: Final = 200
_SOCKET: Final = re.compile(r"(\d+)(?:-\d+)?\.sock")
_PATIENCE_SECONDS: Final = 1.0

_COUNTED: Final = tuple(field.name for field in fields(StreamStats) if field.type == "int")
_counts: Final[Callable[[object], tuple[int, ...]]] = attrgetter(*_COUNTED)


class _Register:
    """The streams of a process that are alive, how many there have been, and how often one has given up."""

    def __init__(self) -> None:
        self.alive: weakref.WeakValueDictionary[int, _Followed] = weakref.WeakValueDictionary()
        self.attached: int = 0
        self.failed: int = 0


class _Named:
    """An instrument that gives its streams a name, which they may share; without one, they have a number."""

    def __init__(self, register: _Register, name: str | None, event_time: EventTime | None) -> None:
        self._register = register
        self._name = name
        self._event_time = event_time

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream, which is shown for as long as the observer lives."""
        register = self._register
        register.attached += 1
        name = self._name or f"stream-{register.attached}"
        followed = _Followed(register, stats, name, self._event_time)
        register.alive[register.attached] = followed
        return followed


class _Followed:
    """The observer of one stream, and the latest of what it was told."""

    __slots__ = ("__weakref__", "_due", "_event_time", "_register", "_since", "_stats", "_told")

    def __init__(
        self, register: _Register, stats: StreamStats, name: str, event_time: EventTime | None
    ) -> None:
        self._register = register
        self._event_time = event_time
        self._stats = stats
        self._since: float | None = None
        self._due: float | None = None
        self._told: dict[str, Any] = {
            "number": register.attached,
            "name": name,
            "state": StreamState.CONNECTING.value,
            "attempt": 0,
            "reason": None,
            "last_error": None,
            "lag": None,
        }

    def __call__(self, fact: Fact, /) -> None:
        """Remember what *fact* changes."""
        if isinstance(fact, ServerSentEvent):
            if self._event_time is not None:
                lag = time.time() - self._event_time(fact)
                self._told["lag"] = _rounded(lag) if math.isfinite(lag) else None
        elif isinstance(fact, StateChange):
            told = self._told
            if fact.new.value != told["state"] or self._since is None:
                self._since = fact.at  # the next attempt of the same outage is no news
            self._due = None if fact.delay is None else fact.at + fact.delay
            told |= {"state": fact.new.value, "attempt": fact.attempt, "reason": fact.reason.value}
            if fact.error is not None:
                told["last_error"] = _kind(fact.error, fact.status)
            if fact.new is StreamState.ERROR:
                self._register.failed += 1

    def describe(self, now: float) -> dict[str, Any]:
        """
        Return what is told, ready for JSON: figures, names and kinds, no text that a server has sent.

        Args:
            now: The time on the event loop's clock.
        """
        stats = self._stats
        return {
            **self._told,
            "state_for": _between(self._since, now),
            "started_for": _between(stats.started_at, now),
            "silent_for": _between(stats.last_byte_at, now),
            "eventless_for": _between(stats.last_event_at, now),
            "next_attempt_in": None if self._due is None else _rounded(max(self._due - now, 0.0)),
            "last_recovery": _rounded(stats.last_recovery),
            "completion": stats.completion,
            "stats": dict(zip(_COUNTED, _counts(stats), strict=True)),
        }


def _kind(error: BaseException, status: int | None) -> str:
    """Name an error as `StreamHealth.last_error` does; its text may quote what must not be shown."""
    cause = error.__cause__ or error
    if status is None and isinstance(cause, HandshakeError):
        status = cause.status
    return type(cause).__name__ + (f" {status}" if status else "")


def _between(then: float | None, now: float) -> float | None:
    return None if then is None else _rounded(now - then)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Console:
    """
    Shows the streams of this process to `resilient-sse top`.

    Give it, or what `named` returns, to streams among their `observers`, and have it listen: by `async with`, or
    by running `serve` in a task.  It needs the event loop of its streams.

    Args:
        address: The path of a Unix domain socket, or the number of a port on 127.0.0.1 (0 takes a free one, and
            any user of the machine can ask it); `None` takes a socket in the user's runtime directory that is
            named after the process, where `resilient-sse top` finds it.

    Raises:
        TypeError: *address* is neither a path nor a port.
        ValueError: *address* is no port, or an empty path.

    Attributes:
        address: Where it listens, as `resilient-sse top` takes it; `None` while it does not.
    """

    def __init__(self, address: str | os.PathLike[str] | int | None = None) -> None:
        check(
            "address",
            address,
            (str, os.PathLike, int, type(None)),
            f"a path, or a port from 0 to {_LAST_PORT}",
            lambda given: given != "" and not (isinstance(given, int) and not 0 <= given <= _LAST_PORT),
        )
        self._wanted = address
        self.address: str | None = None
        self._register = _Register()
        self._begun = time.monotonic()
        self._tasks: TaskGroup | None = None
        self._file: tuple[Path, int] | None = None
        self._readers = 0

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """Return the observer of a new stream, which is shown under a number."""
        return _Named(self._register, None, None).attach(stats, url)

    def named(self, name: str, *, event_time: EventTime | None = None) -> Instrument:
        """
        Return what to give to the `observers` of a stream that shall have a name.

        Args:
            name: Shown to everyone who may read the console, so no secret.
            event_time: Tells from an event when it was made, in seconds since 1970; without it nobody can know
                how far the stream lags behind, for the protocol gives events no time.

        Raises:
            TypeError: *name* is no text, or *event_time* no function.
        """
        check("name", name, str, "a text, such as 'prices'")
        if event_time is not None:
            wanted = "a function of an event, such as lambda event: event.json()['made_at']"
            check_callable("event_time", event_time, what=wanted)
        return _Named(self._register, name[:_NAME_LENGTH], event_time)

    async def serve(self, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """
        Listen until cancelled; for a task group's `start` or `start_soon`.

        Raises:
            OSError: It cannot listen there; the message names what to change.
        """
        async with self:
            task_status.started(self.address or "")
            await anyio.sleep_forever()

    async def __aenter__(self) -> Self:
        """
        Begin to listen.

        Raises:
            OSError: It cannot listen there; the message names what to change.
            RuntimeError: It listens already.
        """
        if self._tasks is not None:
            raise RuntimeError("this console listens already")
        listener = await self._opened()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._accept, listener, self._tasks)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Listen no more; what the block raises passes as it is, in no exception group."""
        tasks = self._tasks
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            if isinstance(exc, anyio.get_cancelled_exc_class()):
                return await tasks.__aexit__(exc_type, exc, traceback)
            await tasks.__aexit__(None, None, None)
        finally:
            self._tasks = self.address = None
            if self._file is not None:
                path, inode = self._file
                self._file = None
                with suppress(OSError):
                    if path.stat().st_ino == inode:  # unless another one is in its place
                        path.unlink()
        return None

    async def _opened(self) -> SocketListener:
        if isinstance(self._wanted, int):
            return await self._open_port(self._wanted)
        if not hasattr(os, "geteuid"):
            raise OSError(errno.ENOTSUP, "there are no Unix domain sockets here; give the console a port")
        path = _free_path() if self._wanted is None else Path(self._wanted)
        _claim(path)
        try:
            # Nobody can connect before it listens, and then its mode is set.
            listener = await anyio.create_unix_listener(path, mode=0o600)
        except OSError as error:
            number = error.errno or errno.ENAMETOOLONG  # Python itself says that a path is too long
            raise OSError(
                number, f"the console cannot listen at {path}: {error.strerror or error}"
            ) from error
        self._file = path, path.stat().st_ino
        self.address = str(path)
        return listener

    async def _open_port(self, port: int) -> SocketListener:
        try:
            several = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            hint = "another program has it" if taken else error.strerror or str(error)
            raise OSError(
                error.errno, f"the console cannot listen on port {port}: {hint}; 0 takes a free one"
            ) from error
        listener = cast("SocketListener", several.listeners[0])
        where = listener.extra(SocketAttribute.local_address)  # noqa: S610 - it is not Django's
        self.address = f"{where[0]}:{where[1]}"
        return listener

    async def _accept(self, listener: SocketListener, tasks: TaskGroup) -> None:
        async with listener:
            while True:
                try:
                    reader = await listener.accept()
                except OSError:  # out of descriptors, most likely; the program's own streams need them more
                    await anyio.sleep(_BREATH_SECONDS)
                else:
                    tasks.start_soon(self._answer, reader)

    async def _answer(self, reader: SocketStream) -> None:
        self._readers += 1
        try:
            async with reader:
                with anyio.move_on_after(_ANSWER_SECONDS):
                    heard = b""
                    while self._readers <= _MOST_READERS and len(heard) < len(QUESTION):
                        heard += await reader.receive(len(QUESTION) - len(heard))
                    if heard == QUESTION:
                        await self._tell(reader)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # the reader has gone
        except Exception:  # noqa: BLE001 - whatever it is, the program goes on
            logger.exception("the console could not describe the streams")
        finally:
            self._readers -= 1

    async def _tell(self, reader: SocketStream) -> None:
        """Send one line: an object with the process, and its streams in portions; what is cut short has no end."""
        streams = [*self._register.alive.values()]
        shown = streams[:_MOST_STREAMS]
        process = {
            "pid": os.getpid(),
            "program": Path(sys.argv[0] if sys.argv else "").name or "python",
            "up": round(time.monotonic() - self._begun, 3),
            "at": anyio.current_time(),
            "streams": len(streams),
            "attached": self._register.attached,
            "failed": self._register.failed,
        }
        await reader.send(f'{{"console": {VERSION}, "process": {json.dumps(process)}, "rows": ['.encode())
        for begin in range(0, len(shown), PORTION):
            now = anyio.current_time()
            portion = [json.dumps(each.describe(now)) for each in shown[begin : begin + PORTION]]
            await reader.send((", " * (begin > 0) + ", ".join(portion)).encode())  # others have their turn
        await reader.send(b"]}\n")


# --- Where consoles listen


def directory() -> Path:
    """Return where consoles of this user listen: in `$XDG_RUNTIME_DIR`, or where temporary files are."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():
        return Path(given) / "resilient-sse"
    return Path(tempfile.gettempdir()) / f"resilient-sse-{os.geteuid()}"


def _check_owner(place: Path) -> None:
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{place} must be a directory of yours that is closed to others (chmod 700); "
            "remove it, or choose a path for the console"
        )


def _free_path() -> Path:
    """
    Return a path named after this process, which may have several consoles; the directory is made.

    Raises:
        PermissionError: The directory is not this user's alone.
    """
    place, pid = directory(), os.getpid()
    with suppress(FileExistsError):  # something else than a directory is found out below
        place.mkdir(mode=0o700, exist_ok=True)
    _check_owner(place)
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
    _check_owner(place)
    found = [path for path in place.iterdir() if _SOCKET.fullmatch(path.name) and path.is_socket()]
    return sorted(found, key=lambda path: (pid_of(path), len(path.name), path.name))


def pid_of(path: Path) -> int:
    """Return the process that a socket is named after, 0 if it has another name."""
    match = _SOCKET.fullmatch(path.name)
    return int(match[1]) if match else 0


def answers(path: Path) -> bool:
    """
    Return whether somebody listens at *path*.

    Raises:
        PermissionError: It is somebody else's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):  # a full queue is one that somebody has opened
            return True
    return True


def _claim(path: Path) -> None:
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
