"""Python programs in processes of their own, from their first line to their certain end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_MAX_LINE = 65_536
_LAST_WORDS = 2000
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)


class ChildError(Exception):
    """A process that is needed did not start, or ended too soon."""


class Child:
    """A running process that writes JSON, one object a line; what is no object is passed over."""

    def __init__(self, name: str, process: Process, errors: IO[bytes]) -> None:
        self.hello: dict[str, Any] = {}  # the first object it wrote, when it was ready
        self.last: dict[str, Any] = {}  # the latest object after that
        self._name = name
        self._process = process
        self._errors = errors
        self._ending = False
        self._input = cast("ByteSendStream", process.stdin)  # both were asked for
        self._lines = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))

    async def send(self, line: str) -> None:
        """Send a line of text; `ChildError` if the process is gone."""
        try:
            await self._input.send(f"{line}\n".encode())
        except _GONE as error:
            raise ChildError(f"the {self._name} has gone") from error

    async def start(self) -> None:
        """Wait until it is ready; `ChildError` if it never is."""
        with anyio.move_on_after(_START_SECONDS):
            self.hello = await self._receive() or {}
        if not self.hello:
            await self.end()
            raise self._failed("did not start")

    async def watch(self) -> None:
        """Take whatever else it writes; `ChildError` if it ends although nobody has asked it to."""
        await self._over()
        if not self._ending:
            raise self._failed(f"ended too soon, with code {self._process.returncode}")

    async def end(self) -> None:
        """Ask it to stop by ending its standard input, and make it stop if it does not."""
        self._ending = True
        await self._input.aclose()
        with anyio.move_on_after(_STOP_SECONDS):
            await self._over()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _over(self) -> None:
        while (told := await self._receive()) is not None:
            self.last = told
        await self._process.wait()

    async def _receive(self) -> dict[str, Any] | None:
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

    def _failed(self, what: str) -> ChildError:
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - _LAST_WORDS, 0))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return ChildError(": ".join((f"the {self._name} {what}", *lines[-1:])))


@asynccontextmanager
async def child(name: str, arguments: Sequence[str]) -> AsyncGenerator[Child]:
    """
    Run `python` with *arguments* for the time of the block, and give the process once it is ready.

    `ChildError` says that it did not start; `Child.watch`, in a task of the block, that it ended before the block.
    """
    with TemporaryFile() as errors:
        try:
            # A session of its own: Ctrl-C is for us, and we end it.
            command = [sys.executable, "-P", *arguments]
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise ChildError(f"the {name} did not start: {error}") from error
        running = Child(name, process, errors)
        try:
            await running.start()
            yield running
        finally:
            with anyio.CancelScope(shield=True):
                await running.end()
                await process.aclose()
