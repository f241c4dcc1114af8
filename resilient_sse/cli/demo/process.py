"""The life of the demo's server process, from its first report to its certain end."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from resilient_sse.cli.demo.script import Deed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import Process

    from resilient_sse.cli.demo.record import Record

__all__ = ["ServerError", "serving"]

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_MAX_LINE = 4096


class ServerError(Exception):
    """The demo's server did not start."""


@asynccontextmanager
async def serving(record: Record, *, sabotage: str | None) -> AsyncGenerator[str]:
    """
    Run the server for the time of the block, and have everything it reports recorded by the end of it.

    Yields:
        The address of the reply.

    Raises:
        ServerError: It did not start.
    """
    command = [sys.executable, "-P", "-m", "resilient_sse.cli.demo.server", "--seed", str(record.seed)]
    if sabotage is not None:
        command += ["--sabotage", sabotage]
    # A session of its own: Ctrl-C is for the demo, which then ends its server.
    try:
        process = await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, start_new_session=True
        )
    except OSError as error:
        raise ServerError(f"the demo's server did not start: {error}") from error
    try:
        lines = _lines(process)
        url = await _url(lines, record)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, lines, record)
            yield url
            await _end(process)  # which ends its reports, too
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
            await process.aclose()


def _lines(process: Process) -> BufferedByteReceiveStream:
    if process.stdout is None:  # pragma: no cover - it was asked for
        raise ServerError("the demo's server has no output")
    return BufferedByteReceiveStream(process.stdout)


async def _url(lines: BufferedByteReceiveStream, record: Record) -> str:
    with anyio.move_on_after(_START_SECONDS):
        deed = await _next(lines)
        if deed is not None and deed.url is not None:
            record.deed(deed)
            return deed.url
    raise ServerError("the demo's server did not start")


async def _listen(lines: BufferedByteReceiveStream, record: Record) -> None:
    while (deed := await _next(lines)) is not None:
        record.deed(deed)


async def _next(lines: BufferedByteReceiveStream) -> Deed | None:
    try:
        return Deed.from_json(await lines.receive_until(b"\n", _MAX_LINE))
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        return None


async def _end(process: Process) -> None:
    """Ask the server to stop by ending its standard input, and make it stop if it does not."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
