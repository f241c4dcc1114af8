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
import socket
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup

from resilient_sse._client.log import logger
from resilient_sse._core.checks import check, check_callable
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.ports import Fact, Instrument, Observer
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse._core.stats import StreamHealth, StreamStats, health_after

__all__ = ["Console", "EventTime", "directory", "sockets"]

EventTime: TypeAlias = Callable[[ServerSentEvent], float]
"""Reads from an event when it was made, in seconds since 1970; a server of yours may say so in the data."""

VERSION: Final = 3
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
_PATIENCE_SECONDS: Final = 1.0

_COUNTED: Final = tuple(field.name for field in fields(StreamStats) if field.type == "int")


class _Followed:
    """The observer of one stream, and the latest of what it was told."""

    __slots__ = ("__weakref__", "_console", "_event_time", "_health", "_lag", "_name", "_number", "_stats")

    def __init__(
        self, console: Console, stats: StreamStats, name: str | None, event_time: EventTime | None
    ) -> None:
        console.attached += 1
        self._console = console
        self._number = console.attached
        self._name = name or f"stream-{console.attached}"
        self._event_time = event_time
        self._stats = stats
        self._health = StreamHealth(state=StreamState.CONNECTING)
        self._lag: float | None = None
        console.streams[console.attached] = self

    def __call__(self, fact: Fact, /) -> None:
        """Remember what *fact* changes."""
        if isinstance(fact, ServerSentEvent):
            if self._event_time is not None:
                lag = time.time() - self._event_time(fact)
                self._lag = round(lag, 3) if math.isfinite(lag) else None
        elif isinstance(fact, StateChange):
            self._health = health_after(self._health, fact)
            if fact.new is StreamState.ERROR:
                self._console.failed += 1

    def describe(self, now: float) -> dict[str, Any]:
        """Return what is told at the time *now* of the loop's clock: figures, names and kinds, ready for JSON."""
        health, stats = self._health, self._stats
        begun = {
            "state_for": health.since,
            "started_for": stats.started_at,
            "silent_for": stats.last_byte_at,
            "eventless_for": stats.last_event_at,
        }
        return {
            "number": self._number,
            "name": self._name,
            "state": health.state.value,
            "attempt": health.attempt,
            "reason": health.reason and health.reason.value,
            "last_error": health.last_error,
            "lag": self._lag,
            **{name: None if then is None else round(now - then, 3) for name, then in begun.items()},
            "completion": stats.completion,
            "stats": {name: getattr(stats, name) for name in _COUNTED},
        }


class _Named:
    """An instrument that gives its streams a name, which they may share."""

    async_only = True

    def __init__(self, console: Console, name: str, event_time: EventTime | None) -> None:
        self._given = console, name, event_time

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream, which is shown for as long as the observer lives."""
        console, name, event_time = self._given
        return _Followed(console, stats, name, event_time)


class Console:
    """
    Shows the streams of this process to `resilient-sse top`.

    Give it, or what `named` returns, to streams among their `observers`, and have it listen by `async with`, in
    the event loop of its streams.

    Args:
        address: The path of a Unix domain socket, or the number of a port on 127.0.0.1 (0 takes a free one, and
            any user of the machine can ask it); `None` takes a socket in the user's runtime directory that is
            named after the process, where `resilient-sse top` finds it.

    Raises:
        TypeError: *address* is neither a path nor a port.
        ValueError: *address* is no port, or an empty path.

    Attributes:
        address: Where it listens, as `resilient-sse top` takes it; `None` while it does not.
        streams: What it knows of the streams that are alive, by number.
        attached: How many streams there have been.
        failed: How often one has given up.
    """

    async_only = True

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
        self.streams: weakref.WeakValueDictionary[int, _Followed] = weakref.WeakValueDictionary()
        self.attached: int = 0
        self.failed: int = 0
        self._begun = time.monotonic()
        self._tasks: TaskGroup | None = None
        self._file: tuple[Path, int] | None = None
        self._readers = 0

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream, which is shown under a number."""
        return _Followed(self, stats, None, None)

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
        return _Named(self, name[:_NAME_LENGTH], event_time)

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
        where = self._wanted
        if not isinstance(where, int):
            if not hasattr(os, "geteuid"):
                raise OSError(errno.ENOTSUP, "there are no Unix domain sockets here; give the console a port")
            where = Path(where or directory(make=True) / f"{os.getpid()}.sock")
        try:
            if isinstance(where, int):
                several = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=where)
                self.address = "{}:{}".format(*several.extra(SocketAttribute.local_address))  # noqa: S610 - no Django
                return cast("SocketListener", several.listeners[0])
            alive = where.is_socket() and _answers(where)
            # What was left behind gives way.  Nobody can connect before it listens, and then its mode is set.
            listener = None if alive else await anyio.create_unix_listener(where, mode=0o600)
        except OSError as error:
            number = error.errno or errno.ENAMETOOLONG  # Python itself says that a path is too long
            why = f"the console cannot listen at {where}: {error.strerror or error}; choose another"
            raise OSError(number, why) from error
        if listener is None:
            raise OSError(errno.EADDRINUSE, f"a console listens at {where} already; choose another path")
        self._file = where, where.stat().st_ino
        self.address = str(where)
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
                    if self._readers <= _MOST_READERS and await reader.receive(len(QUESTION)) == QUESTION:
                        await self._tell(reader)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # the reader has gone
        except Exception:  # noqa: BLE001 - whatever it is, the program goes on
            logger.exception("the console could not describe the streams")
        finally:
            self._readers -= 1

    async def _tell(self, reader: SocketStream) -> None:
        """Send one line: an object with the process, and its streams in portions; what is cut short has no end."""
        streams = [*self.streams.values()]
        process = {
            "pid": os.getpid(),
            "program": Path(sys.argv[0] if sys.argv else "").name or "python",
            "up": round(time.monotonic() - self._begun, 3),
            "at": anyio.current_time(),
            "streams": len(streams),
            "attached": self.attached,
            "failed": self.failed,
        }
        await reader.send(f'{{"console": {VERSION}, "process": {json.dumps(process)}, "rows": ['.encode())
        for begin in range(0, min(len(streams), _MOST_STREAMS), PORTION):
            now = anyio.current_time()
            portion = [json.dumps(each.describe(now)) for each in streams[begin : begin + PORTION]]
            await reader.send((", " * (begin > 0) + ", ".join(portion)).encode())  # others have their turn
        await reader.send(b"]}\n")


def directory(*, make: bool = False) -> Path:
    """Return where consoles of this user listen; a `PermissionError` says that it is not theirs alone."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(tempfile.gettempdir()) / f"resilient-sse-{os.geteuid()}"
    if given and Path(given).is_dir():
        place = Path(given) / "resilient-sse"
    if make:
        with suppress(FileExistsError):  # something else than a directory is found out below
            place.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(
                f"{place} must be a directory of yours that is closed to others (chmod 700); "
                "remove it, or choose a path for the console"
            )
    return place


def sockets() -> dict[int, Path]:
    """Return the sockets of this user's consoles, by process; what ended without taking its socket away, too."""
    if not hasattr(os, "geteuid"):  # elsewhere there are no such sockets
        return {}
    found = [path for path in directory().glob("*.sock") if path.stem.isdecimal()]
    return dict(sorted((int(path.stem), path) for path in found))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):  # a full queue is one that somebody has opened
            return True
    return True
