"""Python programs in processes of their own, from their first line to their certain end."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from anyio.abc import Process

__all__ = ["Child", "ChildError", "child"]

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_MAX_LINE = 65_536
_LAST_WORDS = 2000


class ChildError(Exception):
    """
    A process that is needed did not start, or ended too soon.

    Args:
        name: What it is.
        what: What happened.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name, what)
        self.name = name
        self.what = what

    def __str__(self) -> str:
        return f"the {self.name} {self.what}"


class Child:
    """
    A running process that speaks JSON, one object a line.

    Attributes:
        name: What it is, for errors.
        hello: The first object it wrote, when it was ready.
        last: The latest object it wrote after that.
        death: Why it is gone, if it went too soon.
    """

    def __init__(
        self, name: str, process: Process, told: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self.name = name
        self.hello: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.death: ChildError | None = None
        self._process = process
        self._told = told
        self._ending = False
        self._errors = bytearray()
        if process.stdout is None:  # pragma: no cover - it was asked for
            raise ChildError(name, "has no output")
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def send(self, order: dict[str, Any]) -> None:
        """
        Send an object.

        Raises:
            ChildError: The process is gone.
        """
        if self._process.stdin is None:  # pragma: no cover - it was asked for
            raise ChildError(self.name, "has no input")
        try:
            await self._process.stdin.send(json.dumps(order).encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ChildError(self.name, "has gone") from error

    async def start(self) -> None:
        """
        Wait for the first line.

        Raises:
            ChildError: It did not come.
        """
        told: object = None
        with anyio.move_on_after(_START_SECONDS):
            told = await self._line()
        if not isinstance(told, dict):
            await self.end()
            await self._listen_to_errors()
            raise ChildError(self.name, f"did not start{self._said()}")
        self.hello = cast("dict[str, Any]", told)
        self._tell(self.hello)

    async def watch(self, gone: Callable[[], None]) -> None:
        """Take whatever else it writes, and call *gone* if it ends although nobody has asked it to."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen_to_errors)
            while (told := await self._line()) is not None:
                if isinstance(told, dict):
                    self.last = cast("dict[str, Any]", told)
                    self._tell(self.last)
        await self._process.wait()
        if not self._ending:
            code = self._process.returncode
            self.death = ChildError(self.name, f"ended too soon, with code {code}{self._said()}")
            gone()

    async def end(self) -> None:
        """Ask it to stop by ending its standard input, and make it stop if it does not."""
        self._ending = True
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        with anyio.move_on_after(_STOP_SECONDS):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _tell(self, facts: dict[str, Any]) -> None:
        if self._told is not None:
            self._told(facts)

    async def _line(self) -> object:
        try:
            line = await self._lines.receive_until(b"\n", _MAX_LINE)
        except (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            return None
        try:
            return json.loads(line)
        except ValueError:
            return line

    async def _listen_to_errors(self) -> None:
        if self._process.stderr is None:  # pragma: no cover - it was asked for
            return
        try:
            async for chunk in self._process.stderr:
                self._errors += chunk
                del self._errors[:-_LAST_WORDS]
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def _said(self) -> str:
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@asynccontextmanager
async def child(
    name: str, arguments: Sequence[str], *, told: Callable[[dict[str, Any]], None] | None = None
) -> AsyncGenerator[Child]:
    """
    Run `python` with *arguments* for the time of the block.

    Args:
        name: What it is, for errors.
        arguments: As for `python`: `"-m"` and a module, and what follows it.
        told: Is given every object that it writes, the first included, and the last by the end of the block.

    Yields:
        The process, ready, with its first line read.

    Raises:
        ChildError: It did not start, or ended before the block did.
    """
    # A session of its own: Ctrl-C is for us, and we end it.
    try:
        process = await anyio.open_process(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ChildError(name, f"did not start: {error}") from error
    running = Child(name, process, told)
    failure: Exception | None = None
    try:
        await running.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.watch, tasks.cancel_scope.cancel)
            try:
                yield running
            except Exception as error:  # noqa: BLE001 - carried past the task group, which would wrap it
                failure = error
            await running.end()  # which ends its output, too
        if running.death is not None:
            raise running.death
        if failure is not None:
            raise failure
    finally:
        with anyio.CancelScope(shield=True):
            await running.end()
            await process.aclose()
