"""
The demo's server, a process of its own: it streams the reply and does wrong on the way, once in each way.

It listens on a free port of the loopback interface and reports each deed as a line of JSON on standard output.
It stops when its standard input ends, which is when the demo is over or its process has died in whatever
manner, and in any case after two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from typing import TypeAlias

import anyio
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from resilient_sse.cli.demo.script import MESSAGES, OVERLAP, REPLY, RETRY_AFTER, Deed, Fault, Plan

_Chunk: TypeAlias = ServerSentEvent | bytes

_PACE = 0.12  # seconds between messages: about as fast as people read
_LIFE = 120.0
_GRACE = 2.0
_HEARTBEAT_EVERY = 6
_COMMENT_EVERY = 4

# SO_LINGER, on and with zero seconds: closing sends a reset instead of a goodbye.
_LINGER = struct.pack("ii", 1, 0)


class _Protocol(H11Protocol):
    """uvicorn's own, which lets the transport of a client be found: ASGI hides it."""

    transports: dict[tuple[str, int] | None, asyncio.Transport] = {}  # noqa: RUF012 - one for the process

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transports[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transports.pop(self.client, None)
        super().connection_lost(exc)


class Network:
    """The server and the bad network before it; each fault is done once, in the order of `Fault`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ended = False
        self._todo = deque(fault for fault in Fault if plan.sabotage != "calm" or fault is not Fault.RESET)

    async def reply(self, request: Request) -> Response:
        """Answer a request for the reply."""
        fault = self._todo[0] if self._todo else None
        if fault is Fault.UNAVAILABLE and self._ended:
            self._done(f"answers 503, Retry-After: {RETRY_AFTER}")
            return PlainTextResponse(
                "restarting\n", status_code=503, headers={"Retry-After": str(RETRY_AFTER)}
            )
        # Pings of sse-starlette's own would end the silence.
        return EventSourceResponse(self._chunks(fault, request), ping=3600)

    def _chunks(self, fault: Fault | None, request: Request) -> AsyncGenerator[_Chunk]:
        last = int(request.headers.get("last-event-id", "0"))
        match fault:
            case Fault.RESET:
                return self._until_reset(last, request)
            case Fault.SILENCE:
                return self._until_silence(last)
            case Fault.UNAVAILABLE:
                return self._until_restart(last)
            case Fault.REPLAY:
                return self._to_the_end(last, self._replay(last))
            case None:
                return self._to_the_end(last)

    async def _until_reset(self, last: int, request: Request) -> AsyncGenerator[_Chunk]:
        """Send a part of the last message, give it time to arrive, and reset the connection."""
        async for chunk in _messages(self._plan, last + 1, self._plan.reset_after):
            yield chunk
        number = max(last, self._plan.reset_after) + 1
        whole = _message(number).encode()
        part = whole[: max(int(len(whole) * self._plan.cut), 1)]
        yield part
        await anyio.sleep(_PACE)
        client = request.client
        transport = _Protocol.transports[(client.host, client.port) if client else None]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._done(
            f"resets the connection inside message {number}, after {len(part)} of its {len(whole)} bytes"
        )
        transport.abort()

    async def _until_silence(self, last: int) -> AsyncGenerator[_Chunk]:
        """Send nothing any more until the client has had enough, and its going away cancels this."""
        async for chunk in _messages(self._plan, last + 1, self._plan.silent_after):
            yield chunk
        since = time.monotonic() - _PACE  # when the last message was sent
        _report(Deed(text=f"falls silent after message {max(last, self._plan.silent_after)}"))
        try:
            await anyio.sleep_forever()
        finally:
            seconds = time.monotonic() - since
            self._done(f"was silent for {seconds:.1f} s", seconds=seconds)

    async def _until_restart(self, last: int) -> AsyncGenerator[_Chunk]:
        """End the response; the next request finds the server starting."""
        async for chunk in _messages(self._plan, last + 1, self._plan.end_after):
            yield chunk
        self._ended = True
        _report(Deed(text=f"restarts: ends the response after message {max(last, self._plan.end_after)}"))

    async def _to_the_end(
        self, last: int, before: AsyncIterable[_Chunk] | None = None
    ) -> AsyncGenerator[_Chunk]:
        if before is not None:
            async for chunk in before:
                yield chunk
        async for chunk in _messages(self._plan, last + 1, MESSAGES):
            yield chunk
        yield ServerSentEvent(event="done", data=json.dumps({"messages": MESSAGES}))

    async def _replay(self, last: int) -> AsyncGenerator[_Chunk]:
        """Send again what was sent before."""
        first = max(last - OVERLAP, 0) + 1
        async for chunk in _messages(self._plan, first, last, altered=self._plan.sabotage == "repeat"):
            yield chunk
        self._done(f"has sent messages {first} to {last} once more", messages=last - first + 1)

    def _done(self, text: str, *, messages: int = 0, seconds: float = 0.0) -> None:
        _report(Deed(text=text, fault=self._todo.popleft(), messages=messages, seconds=seconds))


async def _messages(plan: Plan, first: int, last: int, *, altered: bool = False) -> AsyncGenerator[_Chunk]:
    """Send messages at a steady pace, with signs of life between them that no reader must see."""
    for number in range(first, last + 1):
        if number == plan.never_sent:
            continue
        yield _message(number, altered=altered)
        if number % _COMMENT_EVERY == 0:
            yield ServerSentEvent(comment="still here")
        if number % _HEARTBEAT_EVERY == 0:
            yield ServerSentEvent(event="heartbeat", data="")
        await anyio.sleep(_PACE)


def _message(number: int, *, altered: bool = False) -> ServerSentEvent:
    word = REPLY[number - 1]
    data = json.dumps({"text": word.upper() + "!" if altered else word})
    return ServerSentEvent(id=str(number), data=data)


def _report(deed: Deed) -> None:
    with suppress(OSError):  # if nobody is left to read it, the end is near
        print(deed.to_json(), flush=True)


def _stop_in_time(server: uvicorn.Server) -> None:
    """End the server when the demo has ended, or its process has, and in any case."""

    def stop() -> None:
        server.should_exit = True
        time.sleep(_GRACE)
        os._exit(1)  # it had its chance

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        stop()

    threading.Thread(target=stop_with_parent, daemon=True).start()
    clock = threading.Timer(_LIFE, stop)
    clock.daemon = True
    clock.start()


def run() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sabotage")
    given = parser.parse_args()
    network = Network(Plan.of(given.seed, given.sabotage))
    app = Starlette(routes=[Route("/reply", network.reply)])
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", loop="asyncio", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    _stop_in_time(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        _report(Deed(text=f"listens on 127.0.0.1:{port}", port=port))
        server.run(sockets=[listener])


if __name__ == "__main__":
    run()
