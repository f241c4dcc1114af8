"""Python programs in processes of their own, from their first line to their certain end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile
from typing import Any, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_MAX_LINE = 65_536
_LAST_WORDS = 2000
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)


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
    A running process that writes JSON, one object a line; what is no object is passed over.

    Attributes:
        hello: The first object it wrote, when it was ready.
        last: The latest object it wrote after that.
    """

    def __init__(self, name: str, process: Process) -> None:
        self.hello: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.is_ending: bool = False
        self._name = name
        self._process = process
        self._input = cast("ByteSendStream", process.stdin)  # both were asked for
        self._lines = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))

    async def send(self, line: str) -> None:
        """Send a line of text; `ChildError` if the process is gone."""
        try:
            await self._input.send(f"{line}\n".encode())
        except _GONE as error:
            raise ChildError(self._name, "has gone") from error

    async def receive(self) -> dict[str, Any] | None:
        """Return the next object that it writes, or `None` at the end."""
        told: object = None
        try:
            while not isinstance(told, dict):
                line = await self._lines.receive_until(b"\n", _MAX_LINE)
                with suppress(ValueError):
                    told = json.loads(line)
        except (anyio.EndOfStream, anyio.IncompleteRead, *_GONE):
            return None
        return cast("dict[str, Any]", told)

    async def end(self) -> None:
        """Ask it to stop by ending its standard input, and make it stop if it does not."""
        self.is_ending = True
        await self._input.aclose()
        with anyio.move_on_after(_STOP_SECONDS):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(name: str, arguments: Sequence[str]) -> AsyncGenerator[Child]:
    """
    Run `python` with *arguments* for the time of the block.

    Args:
        name: What it is, for errors.
        arguments: As for `python`: `"-m"` and a module, and what follows it.

    Yields:
        The process, ready, with its first object read.

    Raises:
        ChildError: It did not start, or ended before the block did.
    """
    failure: Exception | None = None
    with TemporaryFile() as errors:

        def failed(what: str) -> ChildError:
            errors.seek(max(errors.seek(0, os.SEEK_END) - _LAST_WORDS, 0))
            lines = errors.read().decode(errors="replace").strip().splitlines()
            return ChildError(name, f"{what}: {lines[-1]}" if lines else what)

        async def watch() -> None:
            """Take whatever else it writes; end the block if it ends although nobody has asked it to."""
            nonlocal failure
            while (facts := await running.receive()) is not None:
                running.last = facts
            await process.wait()
            if not running.is_ending:
                failure = failed(f"ended too soon, with code {process.returncode}")
                tasks.cancel_scope.cancel()

        try:
            # A session of its own: Ctrl-C is for us, and we end it.
            command = [sys.executable, "-P", *arguments]
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise ChildError(name, f"did not start: {error}") from error
        running = Child(name, process)
        try:
            hello = None
            with anyio.move_on_after(_START_SECONDS):
                hello = await running.receive()
            if hello is None:
                await running.end()
                raise failed("did not start")
            running.hello = hello
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
