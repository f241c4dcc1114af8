"""Python programs in processes of their own, from their first line to their certain end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from typing import IO

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
    A running process that writes JSON, one object a line.

    Attributes:
        hello: The first object it wrote, when it was ready.
        last: The latest object it wrote after that.
    """

    def __init__(
        self, name: str, process: Process, errors: IO[bytes], told: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.hello: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self._name = name
        self._process = process
        self._errors = errors
        self._told = told
        self._ending = False
        assert process.stdout is not None  # noqa: S101 - it was asked for
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def send(self, line: str) -> None:
        """
        Send a line of text.

        Raises:
            ChildError: The process is gone.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        try:
            await self._process.stdin.send(f"{line}\n".encode())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ChildError(self._name, "has gone") from error

    async def start(self) -> None:
        """
        Wait for the first line.

        Raises:
            ChildError: It did not come.
        """
        hello: dict[str, Any] | None = None
        with anyio.move_on_after(_START_SECONDS):
            hello = await self._object()
        if hello is None:
            await self.end()
            raise ChildError(self._name, f"did not start{self._said()}")
        self.hello = hello

    async def watch(self) -> None:
        """
        Take whatever else it writes, up to its end.

        Raises:
            ChildError: It ended although nobody has asked it to.
        """
        while (told := await self._object()) is not None:
            self.last = told
        await self._process.wait()
        if not self._ending:
            raise ChildError(
                self._name, f"ended too soon, with code {self._process.returncode}{self._said()}"
            )

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

    async def _object(self) -> dict[str, Any] | None:
        """Return the next object, or `None` at the end; lines that are none are passed over."""
        told: object = None
        try:
            while not isinstance(told, dict):
                line = await self._lines.receive_until(b"\n", _MAX_LINE)
                with suppress(ValueError):
                    told = json.loads(line)
        except (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            return None
        facts = cast("dict[str, Any]", told)
        if self._told is not None:
            self._told(facts)
        return facts

    def _said(self) -> str:
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - _LAST_WORDS, 0))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
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
    with TemporaryFile() as errors:
        try:
            process = await anyio.open_process(
                [sys.executable, "-P", *arguments],
                stdin=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        except OSError as error:
            raise ChildError(name, f"did not start: {error}") from error
        running = Child(name, process, errors, told)
        failure: Exception | None = None

        async def watch() -> None:
            nonlocal failure
            try:
                await running.watch()
            except ChildError as error:
                failure = error
                tasks.cancel_scope.cancel()

        try:
            await running.start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                try:
                    yield running
                except Exception as error:  # noqa: BLE001 - carried past the task group, which would wrap it
                    failure = failure or error
                await running.end()  # which ends its output, too
            if failure is not None:
                raise failure
        finally:
            with anyio.CancelScope(shield=True):
                await running.end()
                await process.aclose()
