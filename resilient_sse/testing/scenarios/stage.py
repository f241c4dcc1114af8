"""
The stage that scenarios are played on: a server, a network, and a clock, whatever they are made of.

A scenario asks its `Driver` for a `Stage`: here the one in memory, in `real` the one over sockets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import anyio
import httpx

from resilient_sse.testing.memory_server import Answer, MemoryServer
from resilient_sse.testing.proxy import FaultProxy
from resilient_sse.testing.proxy.toxics import Profile
from resilient_sse.testing.scenarios.log import RunLog
from resilient_sse.testing.script import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a scenario wants its stage to be."""

    part: str = "main"  # of the scenario
    profile: str | Profile = "clean"  # the network at the start
    first_id: int = 1
    overlap: int = 0  # how many events the server repeats when a client resumes
    heartbeat: float | None = None  # seconds between two, `None` for none


class Stage(ABC):
    """
    A server and the network before it: the fault proxy, or the server in memory, which has the same words.

    Each stream has events of its own.  What the server and the network do is recorded in the log by the stage,
    faults are by the scenario.
    """

    client: httpx.AsyncClient | None = None
    """What streams must be given as `client`, if anything."""

    def __init__(self, network: FaultProxy | MemoryServer) -> None:
        self._network = network

    @abstractmethod
    def url(self, stream: str) -> str:
        """Return the address of *stream* through the network, with a query that names it."""

    @abstractmethod
    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        """Publish an event and return its id."""

    @abstractmethod
    async def answer(self, stream: str, *answers: Answer) -> None:
        """Have the server do wrong with the next requests of *stream*, one after the other."""

    async def use(self, profile: str) -> None:
        """Exchange the network; connections that are open stay open."""
        self._network.use(profile)

    async def refuse(self) -> None:
        """Accept no new connection."""
        self._network.refuse()

    async def accept(self) -> None:
        """Accept connections again."""
        self._network.accept()

    async def black_hole(self) -> None:
        """Let nothing pass and nothing end."""
        self._network.black_hole()

    async def flow(self) -> None:
        """Let everything pass again."""
        self._network.flow()

    async def reset(self) -> int:
        """Reset every connection, and return how many there were."""
        return self._network.reset_all()

    async def close(self) -> int:
        """End every connection in good form, and return how many there were."""
        return self._network.close_all()


class Driver(ABC):
    """Makes stages; *seed* is where randomness starts."""

    form: ClassVar[str]
    """`"virtual"`: memory and virtual time, for the same seed the same; or `"real"`: real time and sockets."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def now(self) -> float:
        """Return the time on the one clock of a run, in seconds; it may be asked from any thread."""

    @abstractmethod
    def stage(self, log: RunLog, setup: Setup) -> AbstractAsyncContextManager[Stage]:
        """Set up a stage for the time of a block."""


class VirtualStage(Stage):
    """A server and a network in memory."""

    def __init__(self, server: MemoryServer, client: httpx.AsyncClient) -> None:
        super().__init__(server)
        self.client: httpx.AsyncClient | None = client
        self._server = server

    def url(self, stream: str) -> str:
        return f"https://stage.test/api/v1/stream?user_id={stream}"

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        return self._server.publish(stream, data, event_type=event)

    async def answer(self, stream: str, *answers: Answer) -> None:
        self._server.orders.add(stream, *answers)


class VirtualDriver(Driver):
    """Makes stages in memory; for `run_in_virtual_time`, or a test on a virtual backend."""

    form: ClassVar[str] = "virtual"

    def now(self) -> float:
        return anyio.current_time()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[VirtualStage]:
        server = MemoryServer(
            profile=setup.profile,
            first_id=setup.first_id,
            overlap=setup.overlap,
            random=Random(f"{self.seed} {log.name}").random,  # noqa: S311 - a network is no secret
            record=log.add,
        )
        script = Script()
        script.always(server)

        async def beat(every: float) -> None:
            while True:
                await anyio.sleep(every)
                server.beat()

        try:
            async with script.client() as client, anyio.create_task_group() as tasks:
                if setup.heartbeat is not None:
                    tasks.start_soon(beat, setup.heartbeat)
                yield VirtualStage(server, client)
                tasks.cancel_scope.cancel()
        finally:
            log.add("network", part=setup.part, drops=server.dropped, max_live=server.max_live)
        script.verify()
