"""
The console: an instrument that answers `resilient-sse top` over a local socket.

It must never be felt by the program that it is part of.  So it takes one short question for each connection, from
a few readers at a time; it describes streams in small portions, between which the program's own tasks have their
turn; and a reader that does not read is dropped.  Nothing that goes wrong here ends anything else.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio
from anyio.abc import SocketAttribute

from resilient_sse._client.log import logger
from resilient_sse.monitoring.console import places
from resilient_sse.monitoring.console.register import EventTime, Named, Register, describe

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import SocketListener, SocketStream, TaskGroup, TaskStatus

    from resilient_sse._core.ports import Instrument, Observer
    from resilient_sse._core.stats import StreamStats

__all__ = ["PORTION", "QUESTION", "VERSION", "Console"]

VERSION: Final = 1
QUESTION: Final = b"resilient-sse snapshot 1\n"
"""What a reader says first, so that a browser led to a port of ours gets nothing."""

_MOST_READERS: Final = 8
_MOST_STREAMS: Final = 10_000
PORTION: Final = 50
"""How many streams are described before other tasks have their turn; about a millisecond of work."""
_ANSWER_SECONDS: Final = 5.0
_BREATH_SECONDS: Final = 1.0
_LAST_PORT: Final = 65_535


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
        _check_address(address)
        self._wanted = address
        self.address: str | None = None
        self._register = Register()
        self._anonymous = Named(self._register, None, None)
        self._begun = time.monotonic()
        self._tasks: TaskGroup | None = None
        self._file: tuple[Path, int] | None = None
        self._readers = 0

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """Return the observer of a new stream, which is shown under a number."""
        return self._anonymous.attach(stats, url)

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
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"name must be a text, such as 'prices', not {name!r}")
        if event_time is not None and not callable(event_time):
            raise TypeError(
                f"event_time must be a function of an event, such as "
                f"lambda event: event.json()['made_at'], not {event_time!r}"
            )
        return Named(self._register, name, event_time)

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
            self._clear()
        return None

    async def _opened(self) -> SocketListener:
        if isinstance(self._wanted, int):
            listener = await self._open_port(self._wanted)
            where = listener.extra(SocketAttribute.local_address)  # noqa: S610 - it is not Django's
            self.address = f"{where[0]}:{where[1]}"
            return listener
        path = self._free_path() if self._wanted is None else Path(self._wanted)
        places.claim(path)
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
            hint = (
                "another program has it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            )
            raise OSError(
                error.errno, f"the console cannot listen on port {port}: {hint}; 0 takes a free one"
            ) from error
        return cast("SocketListener", several.listeners[0])

    def _free_path(self) -> Path:
        """Return a path named after this process, which may have several consoles."""
        if not hasattr(os, "geteuid"):
            raise OSError(errno.ENOTSUP, "there are no Unix domain sockets here; give the console a port")
        place, pid = places.made_directory(), os.getpid()
        path, number = place / f"{pid}.sock", 1
        while path.exists() and places.answers(path):
            number += 1
            path = place / f"{pid}-{number}.sock"
        return path

    def _clear(self) -> None:
        """Take the socket away, unless another one is in its place."""
        if self._file is not None:
            path, inode = self._file
            self._file = None
            with suppress(OSError):
                if path.stat().st_ino == inode:
                    path.unlink()

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
                if self._readers > _MOST_READERS:
                    return
                with anyio.move_on_after(_ANSWER_SECONDS):
                    if await _asked(reader):
                        await self._tell(reader)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # the reader has gone
        except Exception:  # noqa: BLE001 - whatever it is, the program goes on
            logger.exception("the console could not describe the streams")
        finally:
            self._readers -= 1

    async def _tell(self, reader: SocketStream) -> None:
        """Send a line about the process, one for each stream, and one that says that there is no more."""
        streams = self._register.streams()
        shown = streams[:_MOST_STREAMS]
        await reader.send(_lines([self._about(len(streams))]))
        for begin in range(0, len(shown), PORTION):
            now = anyio.current_time()
            portion = [describe(followed, now) for followed in shown[begin : begin + PORTION]]
            await reader.send(_lines(portion))  # which gives other tasks their turn
        await reader.send(_lines([{"end": len(shown)}]))

    def _about(self, streams: int) -> dict[str, Any]:
        return {
            "console": VERSION,
            "pid": os.getpid(),
            "program": Path(sys.argv[0] if sys.argv else "").name or "python",
            "up": round(time.monotonic() - self._begun, 3),
            "at": anyio.current_time(),
            "streams": streams,
            "attached": self._register.attached,
            "failed": self._register.failed,
        }


def _check_address(address: object) -> None:
    wanted = f"address must be a path, or a port from 0 to {_LAST_PORT}"
    if isinstance(address, bool) or not isinstance(address, str | os.PathLike | int | None):
        raise TypeError(f"{wanted}, not {address!r}")
    if address == "" or (isinstance(address, int) and not 0 <= address <= _LAST_PORT):
        raise ValueError(f"{wanted}, not {address!r}")


async def _asked(reader: SocketStream) -> bool:
    """Return whether the reader asks what readers should ask."""
    heard = b""
    try:
        while b"\n" not in heard and len(heard) < len(QUESTION):
            heard += await reader.receive(len(QUESTION) - len(heard))
    except anyio.EndOfStream:
        return False
    return heard == QUESTION


def _lines(objects: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in objects).encode()
