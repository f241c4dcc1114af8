"""What the server answers to which request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from resilient_sse.testing.server.counters import RequestRecord
from resilient_sse.testing.server.faults import LOOP_PATH
from resilient_sse.testing.server.page import stream_page
from resilient_sse.testing.server.parameters import (
    BadRequestError,
    StreamParameters,
    accepts_gzip,
    read_publication,
)
from resilient_sse.testing.server.peer import Peer
from resilient_sse.testing.server.response import EventStream, small_compressor
from resilient_sse.testing.server.stores.protocol import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from resilient_sse.testing.server.app import ReferenceServer
    from resilient_sse.testing.server.faults import Fault
    from resilient_sse.testing.server.reader import Block, Reader
    from resilient_sse.testing.server.topics import Topic
    from resilient_sse.testing.wire import Compressor

__all__ = ["STREAM_PATH", "Endpoints"]

STREAM_PATH = "/api/v1/stream"

_RETRY_LATER = "1"


class _Application(Starlette):
    """Starlette, which notes the connection of each request before a middleware hides it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            Peer.note(scope, send)
        await super().__call__(scope, receive, send)


class Endpoints:
    """
    The routes of a server.

    Args:
        server: The server.
    """

    def __init__(self, server: ReferenceServer) -> None:
        self._server = server

    def app(self, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", _page, methods=["GET"]),
            Route(STREAM_PATH, self._stream, methods=["GET"]),
            Route("/api/v1/publish", self._publish, methods=["POST"]),
            Route("/api/v1/stats", self._stats, methods=["GET"]),
            Route(LOOP_PATH, _loop, methods=["GET"]),
        ]
        return _Application(routes=routes, lifespan=lifespan)

    async def _stream(self, request: Request) -> Response:
        server = self._server
        try:
            asked = StreamParameters.of(request)
        except BadRequestError as error:
            server.counters.bad_requests += 1
            return _refusal(error.status, str(error))
        record = RequestRecord(
            at=time.monotonic(),
            user=asked.user,
            header_cursor=asked.header,
            query_cursor=asked.query,
            cursor=asked.cursor,
        )
        response = await self._answer(request, record)
        record.status = response.status_code
        server.note(record)
        return response

    async def _answer(self, request: Request, record: RequestRecord) -> Response:
        server = self._server
        if not server.accepting:
            return _refusal(503, "the server is shutting down", _RETRY_LATER)
        wait = server.admission.wait(record.user, record.at)
        if wait:
            server.counters.rate_limited += 1
            return _refusal(429, f"too many streams opened for this user; come back in {wait} s", str(wait))
        if request.method == "HEAD":  # Starlette gives every GET route this one, too
            return Response(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        fault = server.faults.next() if server.faults is not None else None
        if fault is not None:
            server.counters.faults += 1
            record.fault = fault.name
            answer = fault.answer(request)
            if answer is not None:
                server.counters.connections += 1
                return answer
        return await self._open(request, record, fault)

    async def _open(self, request: Request, record: RequestRecord, fault: Fault | None) -> Response:
        server = self._server
        peer = Peer.of(request.scope)
        reader, topic = server.enter(record.user, peer)
        try:
            await self._begin(reader, topic, record.cursor)
        except StoreError as error:
            server.leave(reader, topic)
            server.counters.unavailable += 1
            return _refusal(503, f"the event store is out of reach: {error}", _RETRY_LATER)
        except BaseException:
            server.leave(reader, topic)
            raise
        encoding = "gzip" if server.gzip and accepts_gzip(request) else None
        blocks: AsyncIterator[Block] = _blocks(reader)
        compressor = small_compressor() if encoding else None
        if fault is not None:
            blocks = fault.shape(blocks, peer, record.user)
            if fault.content_encoding is not None:
                encoding, compressor = fault.content_encoding, None
        return EventStream(
            self._body(blocks, compressor, record),
            http_version=request.scope["http_version"],
            content_encoding=encoding,
            send_timeout=server.send_timeout,
            on_slow=lambda: reader.drop_slow(f"it took nothing for {server.send_timeout:g} s"),
            on_shutdown=server.end_streams,
            on_end=lambda: server.leave(reader, topic),
        )

    async def _begin(self, reader: Reader, topic: Topic, cursor: int | None) -> None:
        """Find where the stream begins."""
        server, before = self._server, self._server.store.first_id - 1
        last = await server.store.last(topic.name)
        if cursor is None:
            live = server.start == "live" and last is not None
            reader.begin(topic, last if live and last is not None else before)
        elif cursor > (before if last is None else last):
            # An id that was never given out here: numbering has begun anew, so all there is is new.
            reader.begin(topic, before, requested=cursor)
        else:
            position = max(cursor, before)
            if server.overlap and position > before:
                first = await server.store.first(topic.name)
                oldest = position if first is None else first - 1
                position = min(position, max(position - server.overlap, before, oldest))
            reader.begin(topic, position)

    async def _body(
        self, blocks: AsyncIterator[Block], compressor: Compressor | None, record: RequestRecord
    ) -> AsyncGenerator[bytes]:
        counters = self._server.counters
        async for number, data in blocks:
            if number is not None:
                counters.events_sent += 1
                if record.first_id is None:
                    record.first_id = number
            yield data if compressor is None else compressor.compress(data)
        if compressor is not None:
            yield compressor.finish()

    async def _publish(self, request: Request) -> Response:
        try:
            given = await read_publication(request)
            number = await self._server.publish(given.data, event=given.event, user_id=given.user)
        except BadRequestError as error:
            self._server.counters.bad_requests += 1
            return _refusal(error.status, str(error))
        except ClientDisconnect:
            return _refusal(400, "the publisher hung up")  # to nobody; uvicorn throws it away
        except StoreError as error:
            self._server.counters.unavailable += 1
            return _refusal(503, f"the event store is out of reach: {error}", _RETRY_LATER)
        return JSONResponse({"id": number})

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self._server.stats())


async def _blocks(reader: Reader) -> AsyncGenerator[Block]:
    while (block := await reader.next()) is not None:
        yield block


async def _page(_request: Request) -> Response:
    return stream_page()


async def _loop(_request: Request) -> Response:
    return RedirectResponse(LOOP_PATH)


def _refusal(status: int, text: str, retry_after: str | None = None) -> Response:
    headers = None if retry_after is None else {"Retry-After": retry_after}
    return JSONResponse({"error": text}, status, headers)
