"""The scenarios in real time: the reference server, the fault proxy, and sockets between them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from anyio import CancelScope, to_thread

from resilient_sse.testing.memory_server import Answer, Order, Orders
from resilient_sse.testing.proxy import FaultProxy
from resilient_sse.testing.scenarios.stage import Driver, Setup, Stage
from resilient_sse.testing.server import Fault, Faults, ReferenceServer, RunningServer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from resilient_sse.testing.scenarios.log import RunLog
    from resilient_sse.testing.server import Block, Peer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Director(Fault):
    """
    The server's side of a run: it records each request and each event that is sent, and does wrong when told to.

    As a fault that strikes every request it runs in the server's thread: appends to lists and queues need no lock.
    """

    orders: Orders
    _current: dict[str, Order] = field(init=False, default_factory=dict[str, Order])

    def answer(self, request: Request) -> Response | None:
        from starlette.responses import PlainTextResponse  # noqa: PLC0415 - needs the extra, as the server does

        stream = request.query_params["user_id"]
        query = request.query_params.multi_items()
        order = self.orders.take(stream, request.headers.get("last-event-id"), query)
        self._current[stream] = order
        if order.answer.status != HTTPStatus.OK:
            return PlainTextResponse("busy", order.answer.status, order.answer.headers)
        return None

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        del peer
        order = self._current.pop(user)
        async for block in blocks:
            if block[0] is None or order.passes(block[0]):
                yield block


class RealStage(Stage):
    """The reference server, behind the fault proxy; *log* has the server's side."""

    def __init__(self, log: RunLog, server: RunningServer, director: Director, proxy: FaultProxy) -> None:
        super().__init__(proxy)
        self._proxy = proxy
        self._log = log
        self._server = server
        self._director = director

    def url(self, stream: str) -> str:
        return self._proxy.url_for(f"{self._server.url}?user_id={stream}")

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:

        async def work() -> int:
            at = self._log.now()
            number = await self._server.server.publish(data, event=event, user_id=stream)
            self._log.add("published", stream, at=at, id=number, data=data, event=event)
            return number

        return await to_thread.run_sync(lambda: self._server.call(work()))

    async def answer(self, stream: str, *answers: Answer) -> None:
        self._director.orders.add(stream, *answers)


def reference_server(setup: Setup, director: Director) -> ReferenceServer:
    """Make the server that a setup wants, for this driver and for others that use real sockets."""
    return ReferenceServer(
        heartbeat=setup.heartbeat,
        retry=None,  # the delays are the client's own
        overlap=setup.overlap,
        first_id=setup.first_id,
        start="first",
        faults=Faults(then=director),
    )


class RealDriver(Driver):
    """Makes stages of real sockets.  One may be used for several runs at the same time."""

    form: ClassVar[str] = "real"

    def now(self) -> float:
        return time.monotonic()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[RealStage]:
        director = Director(orders=Orders(log.add))
        server = reference_server(setup, director)
        running = await to_thread.run_sync(RunningServer, server)  # other stages may measure times meanwhile
        try:
            async with FaultProxy(running.host, running.port, profile=setup.profile, seed=self.seed) as proxy:
                try:
                    yield RealStage(log, running, director, proxy)
                finally:
                    live, drops = server.max_live_per_user, proxy.counters.dropped
                    log.add("network", part=setup.part, drops=drops, max_live=live)
        finally:
            with CancelScope(shield=True):  # bounded: `stop` is
                await to_thread.run_sync(running.stop)
