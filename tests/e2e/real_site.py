"""A real server: Starlette and sse-starlette on uvicorn, in a thread, with numbered events."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any, Self

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

STOP_SECONDS = 10.0


class Site:
    """
    A small site whose `/events` replays after the id it is given and then goes on live.

    Args:
        port: The port to listen on; 0 for a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.store: list[tuple[int, str]] = []
        self.cursors: list[str | None] = []
        """The id of every request to `/events`, `None` where there was none."""
        self.bodies: list[Any] = []
        """What was posted to `/chat`."""
        self.live = 0
        """Streams being sent at this moment."""
        self._news = asyncio.Event()
        self._over = False
        self._socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        routes = [
            Route("/events", self._events),
            Route("/chat", self._chat, methods=["POST"]),
            Route("/private", self._private),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_config=None,
            log_level="critical",
            lifespan="off",
            ws="none",
            backlog=512,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End every stream, close the port, and wait for the thread; harmless when done before."""
        if self._thread.is_alive():
            self._tell(over=True)
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS)
            assert not self._thread.is_alive(), "the server did not stop"

    def publish(self, *events: tuple[int, str]) -> None:
        """Store events and send them to every open stream."""
        self.store.extend(events)
        assert all(earlier < later for (earlier, _), (later, _) in pairwise(self.store))
        self._tell()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve(sockets=[self._socket]))
        self._socket.close()

    def _tell(self, *, over: bool = False) -> None:
        self._over = self._over or over
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _events(self, request: Request) -> Response:
        if self._over:
            return PlainTextResponse("closing", status_code=503)
        cursor = request.headers.get("last-event-id")
        self.cursors.append(cursor)
        return EventSourceResponse(self._from(int(cursor or 0)))

    async def _from(self, cursor: int) -> AsyncGenerator[dict[str, Any]]:
        self.live += 1
        try:
            waiting = [(number, text) for number, text in self.store if number > cursor]
            sent = len(self.store)
            while not self._over:
                news = self._news
                for number, text in waiting:
                    yield {"id": str(number), "data": text}
                if sent == len(self.store):
                    await news.wait()
                waiting, sent = self.store[sent:], len(self.store)
        finally:
            self.live -= 1

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        cursor = int(request.headers.get("last-event-id", "0"))
        words = list(enumerate(str(body["prompt"]).split(), 1))

        async def reply() -> AsyncGenerator[dict[str, Any]]:
            for number, word in words[cursor : cursor + int(body["at_once"])]:
                yield {"id": str(number), "data": json.dumps({"word": word})}
            if cursor + int(body["at_once"]) >= len(words):
                yield {"event": "done", "data": "{}"}

        return EventSourceResponse(reply())

    async def _private(self, request: Request) -> Response:
        given = request.headers.get("authorization")
        wanted = "Basic " + base64.b64encode(b"user:secret").decode()
        if given not in (wanted, "Bearer fresh"):
            return PlainTextResponse("who are you?", status_code=401)

        async def greeting() -> AsyncGenerator[dict[str, Any]]:
            yield {"data": f"welcome {str(given).partition(' ')[0]}"}

        return EventSourceResponse(greeting())
