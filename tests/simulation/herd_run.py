"""The herd with real streams: a server that is down for a while, and when its clients come back."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

import anyio

from resilient_sse import Backoff, ResilientStream, StateChange
from resilient_sse.testing.clock import BackendName, run_in_virtual_time
from resilient_sse.testing.script import Script
from resilient_sse.testing.steps import RecordedRequest, Refusal, Reply, Step
from resilient_sse.testing.wire import comment, event, pause
from tests.simulation.consumer import seeded
from tests.simulation.herd import Wait
from tests.simulation.run import quiet

__all__ = ["Arrivals", "herd_of_streams"]

_DOWN_AT = 1.0
_BUSY = 503


@dataclass(frozen=True, slots=True)
class Arrivals:
    """
    When the clients of one server came back.

    Attributes:
        back: When each was connected again, in seconds since the server was well.
        retries: Every retry in the outage, one `Wait` for each attempt, in seconds since the outage.
        delays: The delays that were announced, in the same order.
    """

    back: tuple[float, ...]
    retries: tuple[Wait, ...]
    delays: tuple[Wait, ...]


def herd_of_streams(
    clients: int = 100,
    *,
    down: float = 20.0,
    backoff: Backoff | None = None,
    retry_after: int | None = None,
    seed: int = 0,
    backend: BackendName = "asyncio",
) -> Arrivals:
    """
    Have a server go down under *clients* streams, all in the same moment, and come back.

    Args:
        clients: How many streams.
        down: For how long, in virtual seconds.
        backoff: Theirs; the default is that of `ResilientStream`.
        retry_after: While it is down, it answers 503 with this `Retry-After` instead of refusing connections.
        seed: Where their jitter comes from.
        backend: The event loop.

    Raises:
        ValueError: *clients* is less than 1.
    """
    if clients < 1:
        raise ValueError(f"clients must be at least 1, not {clients!r}")
    herd = _Herd(clients, down, backoff or Backoff(), retry_after, Random(seed))
    with quiet():
        run_in_virtual_time(herd.run, backend=backend)
    return herd.arrivals()


class _Herd:
    def __init__(
        self, clients: int, down: float, backoff: Backoff, retry_after: int | None, random: Random
    ) -> None:
        self._clients = clients
        self._down = down
        self._backoff = backoff
        self._random = random
        self._headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._back: list[float] = []
        self._retries: dict[int, list[float]] = {}
        self._delays: dict[int, list[float]] = {}

    async def run(self) -> None:
        """Run all streams to their end."""
        script = Script(max_requests=None)
        script.always(self._answer)
        async with script.client() as client, AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            for _ in range(self._clients):
                stream = ResilientStream(
                    "https://herd.example/stream",
                    client=client,
                    backoff=seeded(self._backoff, self._random),
                    max_retries=None,
                    until="done",
                    on_state_change=self._noted,
                )
                tasks.start_soon(self._read, await stack.enter_async_context(stream))

    def arrivals(self) -> Arrivals:
        """Return what was counted."""
        retries = tuple(Wait(attempt, tuple(moments)) for attempt, moments in sorted(self._retries.items()))
        delays = tuple(Wait(attempt, tuple(each)) for attempt, each in sorted(self._delays.items()))
        return Arrivals(tuple(self._back), retries, delays)

    @staticmethod
    async def _read(stream: ResilientStream) -> None:
        async for _ in stream:
            pass

    def _answer(self, request: RecordedRequest) -> Step:
        if request.at < _DOWN_AT:
            return _until(_DOWN_AT - request.at)
        if request.at < _DOWN_AT + self._down:
            if self._headers:
                return Reply(status=_BUSY, headers=self._headers, content_type="text/plain")
            return Refusal()
        self._back.append(request.at - _DOWN_AT - self._down)
        return Reply(event("back", id="2", event="done"))

    def _noted(self, change: StateChange) -> None:
        if change.delay is not None:
            self._delays.setdefault(change.attempt, []).append(change.delay)
            self._retries.setdefault(change.attempt, []).append(change.at - _DOWN_AT + change.delay)


def _until(moment: float) -> Reply:
    return Reply(event("first", id="1"), pause(moment), comment()).drop()
