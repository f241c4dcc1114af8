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
        self.told: dict[str, Any] = {}  # the latest object it wrote; the first says that it is ready
        self._name = name
        self._process = process
        self._errors = errors
        self._input = cast("ByteSendStream", process.stdin)  # both were asked for
        self._lines = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))

    async def send(self, line: str) -> None:
        """Send a line of text; whether the process has gone `watch` tells."""
        with suppress(*_GONE):
            await self._input.send(f"{line}\n".encode())

    async def receive(self) -> bool:
        """Take the next object that it writes, and return whether there was one."""
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, *_GONE):
            while True:
                line = await self._lines.receive_until(b"\n", _MAX_LINE)
                with suppress(ValueError):
                    told: object = json.loads(line)
                    if isinstance(told, dict):
                        self.told = cast("dict[str, Any]", told)
                        return True
        return False

    async def watch(self) -> None:
        """Take whatever it writes; `ChildError` if it ends before the block of `child` does."""
        await self._over()
        raise self.failed(f"ended too soon, with code {self._process.returncode}")

    async def end(self) -> None:
        """Ask it to stop by ending its standard input, and make it stop if it does not."""
        await self._input.aclose()
        with anyio.move_on_after(_STOP_SECONDS):
            await self._over()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()

    def failed(self, what: str) -> ChildError:
        """Return the error that says *what* the process did, with its last words."""
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - _LAST_WORDS, 0))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return ChildError(": ".join((f"the {self._name} {what}", *lines[-1:])))

    async def _over(self) -> None:
        while await self.receive():
            pass
        await self._process.wait()


@asynccontextmanager
async def child(name: str, arguments: Sequence[str]) -> AsyncGenerator[Child]:
    """
    Run `python` with *arguments* for the time of the block, and give the process once it is ready.

    `ChildError` says that it did not start; `Child.watch`, in a task of the block, that it ended before the block.
    """
    with TemporaryFile() as errors:
        command = [sys.executable, "-P", *arguments]
        try:
            # A session of its own: Ctrl-C is for us, and we end it.
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise ChildError(f"the {name} did not start: {error}") from error
        running = Child(name, process, errors)
        try:
            with anyio.move_on_after(_START_SECONDS):
                await running.receive()
            if not running.told:
                await running.end()
                raise running.failed("did not start")
            yield running
        finally:
            with anyio.CancelScope(shield=True):
                await running.end()
