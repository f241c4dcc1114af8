"""
The stage that scenarios are played on: a server, a network, and a clock, whatever they are made of.

A scenario asks its `Driver` for a `Stage` and does everything through it.  There is a driver for each form: here
the one in memory and virtual time, exact to the millisecond and over at once; in `real` the one over sockets.  A
driver of your own plays in one of the two as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol

import anyio
import httpx

from resilient_sse.testing.memory_server import Answer, MemoryServer
from resilient_sse.testing.proxy import FaultProxy
from resilient_sse.testing.proxy.profiles import Profile
from resilient_sse.testing.scenarios.log import RunLog
from resilient_sse.testing.script import Script


class Form(Enum):
    """What a scenario is played with."""

    VIRTUAL = "virtual"
    """Memory and virtual time: exact, the same each time for the same seed."""
    REAL = "real"
    """A real server and real sockets through a bad network, in real time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """
    What a scenario wants its stage to be.

    Attributes:
        part: Which part of the scenario it is for.
        profile: The network at the start.
        first_id: The id of the first event.
        overlap: How many events the server repeats when a client resumes.
        heartbeat: Seconds between heartbeats, `None` for none.
    """

    part: str = "main"
    profile: str | Profile = "clean"
    first_id: int = 1
    overlap: int = 0
    heartbeat: float | None = None


class Stage(ABC):
    """
    A server and the network before it.  Each stream has events of its own, numbered from `Setup.first_id`.

    What the server and the network do is recorded in the log by the stage, faults are by the scenario.

    Args:
        network: The fault proxy, or the server in memory, which has the same words.
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


class Driver(Protocol):
    """What makes stages."""

    @property
    def form(self) -> Form:
        """Which form it plays."""
        ...

    @property
    def seed(self) -> int:
        """Where randomness starts."""
        ...

    def now(self) -> float:
        """Return the time on the one clock of a run, in seconds; it may be asked from any thread."""
        ...

    def stage(self, log: RunLog, setup: Setup) -> AbstractAsyncContextManager[Stage]:
        """Set up a stage for the time of a block."""
        ...


class VirtualStage(Stage):
    """A server and a network in memory, as *setup* wants them; the server's side is recorded in *log*."""

    def __init__(self, log: RunLog, setup: Setup, random: Random) -> None:
        self.server: MemoryServer = MemoryServer(
            profile=setup.profile,
            first_id=setup.first_id,
            overlap=setup.overlap,
            random=random.random,
            record=log.add,
        )
        super().__init__(self.server)

    def url(self, stream: str) -> str:
        """Return the address of *stream*."""
        return f"https://stage.test/api/v1/stream?user_id={stream}"

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        """Publish an event and return its id."""
        return self.server.publish(stream, data, event_type=event)

    async def answer(self, stream: str, *answers: Answer) -> None:
        """Have the server do wrong with the next requests."""
        self.server.misbehave(stream, *answers)


class VirtualDriver:
    """
    Makes stages in memory.  Use it inside `run_in_virtual_time`, or a test on a virtual backend.

    Args:
        seed: Where randomness starts.
    """

    form: Form = Form.VIRTUAL

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def now(self) -> float:
        """Return the loop's time."""
        return anyio.current_time()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[VirtualStage]:
        """Set up a stage for the time of a block."""
        stage = VirtualStage(log, setup, Random(f"{self.seed} {log.name}"))  # noqa: S311 - a network is no secret
        script = Script()
        script.always(stage.server)

        async def beat(every: float) -> None:
            while True:
                await anyio.sleep(every)
                stage.server.beat()

        try:
            async with script.client() as client, anyio.create_task_group() as tasks:
                stage.client = client
                if setup.heartbeat is not None:
                    tasks.start_soon(beat, setup.heartbeat)
                yield stage
                tasks.cancel_scope.cancel()
        finally:
            drops, live = stage.server.dropped, stage.server.max_live
            log.add("network", part=setup.part, drops=drops, max_live=live)
        script.verify()
