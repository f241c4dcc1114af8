"""A real server on a free port of the loopback interface, and the command as a process."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from resilient_sse.cli import main

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
    return Response("id: a\x1bb\nevent: e\x9b2J\ndata: \x1b[31mred\x07\ndata: \x7f\ttab\n\n", media_type=SSE)


async def missing(request: Request) -> Response:
    """Refuse, and say why in JSON."""
    return JSONResponse({"error": "no such\nstream \x1b[2J"}, status_code=404)


async def page(request: Request) -> Response:
    """Answer with something else."""
    return HTMLResponse("<p>hello</p>")


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Serve the routes above for all tests, and give the address."""
    handlers = [reply, endless, quiet, echo, hostile, missing, page]
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


@pytest.fixture(scope="session")
def start(command: list[str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command; what is still running at the end is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([*command, *arguments], **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command within this process, with output that is no pipe."""

    def run(*arguments: str) -> Done:
        code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return run
