"""A real server on a free port of the loopback interface, and the command as a process."""

import asyncio
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from resilient_sse.cli import main
from resilient_sse.cli.commands import group

PATIENCE = 60

SSE = "text/event-stream"

REPLY = [
    "id: 1\ndata: one\n\n",
    "id: 2\ndata: two\ndata: lines\n\n",
    ": comment\n\nevent: heartbeat\ndata: beat\n\n",
    "id: 3\nevent: news\nretry: 100\ndata: three\n\n",
    "id: 4\nevent: done\ndata: bye\n\n",
]


async def reply(request: Request) -> Response:
    """Send four events, or those after the id that is given; say that there is nothing more after the last."""
    last = int(request.headers.get("last-event-id") or 0)
    if last >= 4:
        return Response(status_code=204)
    blocks = [block for block in REPLY if not block.startswith("id") or int(block[4]) > last]
    return Response("".join(blocks), media_type=SSE)


async def endless(request: Request) -> Response:
    """Send events as quickly as they are taken, of a size that may be chosen."""
    size = int(request.query_params.get("size", "100"))

    async def events() -> AsyncIterator[str]:
        number = 0
        while True:
            number += 1
            await asyncio.sleep(0)  # or nobody would ever find out that the client has gone
            yield f"id: {number}\ndata: {'x' * size}\n\n"

    return StreamingResponse(events(), media_type=SSE)


async def quiet(request: Request) -> Response:
    """Send one event and then nothing."""

    async def events() -> AsyncIterator[str]:
        yield "id: 1\ndata: first\n\n"
        await asyncio.sleep(60)

    return StreamingResponse(events(), media_type=SSE)


async def echo(request: Request) -> Response:
    """Tell the request."""
    told = {
        "method": request.method,
        "headers": dict(request.headers),
        "query": dict(request.query_params),
        "body": (await request.body()).decode(),
    }
    return Response(f"data: {json.dumps(told)}\n\n", media_type=SSE)


async def hostile(request: Request) -> Response:
    """Send control characters wherever there is room for them."""
    block = "id: a\x1bb\nevent: e\x9b2J\ndata: \x1b[31mred\x07\ndata: \x7f\ttab é\n\n"
    return Response(block, media_type=SSE)


async def missing(request: Request) -> Response:
    """Refuse, and say why in JSON, or with a page."""
    if "page" in request.query_params:
        return HTMLResponse("<p>no such stream</p>", status_code=404)
    return JSONResponse({"error": "no such\nstream \x1b[2J"}, status_code=404)


async def mirror(request: Request) -> Response:
    """Send back what the request says, in headers, an id and a type."""
    told = f"{request.url.query} {request.query_params['key']} {request.headers['authorization']} u:hunter2 Zorro"
    headers = {"x-mirror": told, "cache-control": told, "set-cookie": "session=secret"}
    return Response(
        f"id: \x1b{told}\nevent: \x9b2J\ndata: x\n\n",
        media_type=f"{SSE}; charset={told[:9]}",
        headers=headers,
    )


async def gone(request: Request) -> Response:
    """Say that what comes after the id is there no more."""
    return Response(status_code=410)


async def page(request: Request) -> Response:
    """Answer with something else."""
    return HTMLResponse("<p>hello</p>")


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Serve the routes above for all tests, and give the address."""
    handlers = [reply, endless, quiet, echo, hostile, missing, mirror, gone, page]
    routes = [Route(f"/{handler.__name__}", handler, methods=["GET", "POST", "PUT"]) for handler in handlers]
    config = uvicorn.Config(
        Starlette(routes=routes), ws="none", loop="asyncio", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@dataclass
class Done:
    """How the command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of the output as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session")
def command() -> list[str]:
    """Give the command, with warnings as errors."""
    return [sys.executable, "-W", "error", "-m", "resilient_sse"]


@pytest.fixture
def start(command: list[str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command as a process, for signals and pipes; what still runs at the end of the test is ended."""
    with ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = stack.enter_context(subprocess.Popen([*command, *arguments], **{**pipes, **options}))
            stack.callback(process.kill)
            return process

        yield start


def finished(process: subprocess.Popen[bytes]) -> Done:
    """Wait for the end of a process, and return how it was; what has been read already is left out."""
    return Done(process.wait(PATIENCE), process.stdout.read().decode(), process.stderr.read().decode())


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command within this process, with output that is no pipe."""

    def run(*arguments: str) -> Done:
        code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return run


def parse(arguments: Sequence[str]) -> SimpleNamespace:
    """Return the values of a command's arguments by name, or raise what click raises; nothing is run."""
    name, *rest = arguments
    command = group.get_command(None, name)
    return SimpleNamespace(**command.make_context(name, rest).params)


class Screen:
    """The command on a terminal of its own; what it writes is kept."""

    def __init__(self, *arguments: str) -> None:
        pty = pytest.importorskip("pty")
        self._fcntl, self._termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
        self._ours, self._theirs = pty.openpty()
        self.resize(80)
        self._before = self._termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "resilient_sse", *arguments],
            **dict.fromkeys(("stdin", "stdout", "stderr"), self._theirs),
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: self._fcntl.ioctl(0, self._termios.TIOCSCTTY, 0),  # noqa: PLW1509 - for Ctrl-C
        )
        self.written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # Linux says so, instead of an end of file
            while data := os.read(self._ours, 65536):
                self.written += data

    @property
    def text(self) -> str:
        """What was written, movements and colours left out."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode(errors="replace"))

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            assert time.monotonic() < deadline, self.written
            time.sleep(0.02)

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        self._fcntl.ioctl(self._ours, self._termios.TIOCSWINSZ, size)

    def end(self, patience: float = PATIENCE) -> tuple[int, bool]:
        """Wait for the end; return the exit code, and whether the terminal is as it was."""
        code = self.process.wait(patience)
        same = self._termios.tcgetattr(self._theirs) == self._before
        self.close()
        return code, same

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1
            self._reader.join(PATIENCE)
            os.close(self._ours)


@pytest.fixture
def screen() -> Iterator[Callable[..., Screen]]:
    """Give a function that runs the command on a terminal of 80 columns and 24 rows."""
    screens: list[Screen] = []

    def start(*arguments: str) -> Screen:
        screens.append(Screen(*arguments))
        return screens[-1]

    yield start
    for each in screens:
        each.close()
