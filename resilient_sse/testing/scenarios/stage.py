"""
The stage that scenarios are played on: a server, a network, and a clock, whatever they are made of.

A scenario asks its `Driver` for a `Stage` and does everything through it.  There is a driver for each form, in
memory and virtual time or over real sockets; a driver of your own plays in one of the two as well.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from resilient_sse.testing.proxy.profiles import Profile

if TYPE_CHECKING:
    import httpx

    from resilient_sse.testing.memory_server import Answer, MemoryServer
    from resilient_sse.testing.proxy import FaultProxy
    from resilient_sse.testing.scenarios.log import RunLog


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


class Stage(Protocol):
    """
    A server and the network before it.  Each stream has events of its own, numbered from `Setup.first_id`.

    What the server and the network do is recorded in the log by the stage, faults are by the scenario.
    """

    @property
    def client(self) -> httpx.AsyncClient | None:
        """What streams must be given as `client`, if anything."""
        ...

    def url(self, stream: str) -> str:
        """Return the address of *stream* through the network, with a query that names it."""
        ...

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        """Publish an event and return its id."""
        ...

    async def answer(self, stream: str, *answers: Answer) -> None:
        """Have the server do wrong with the next requests of *stream*, one after the other."""
        ...

    async def use(self, profile: str) -> None:
        """Exchange the network; connections that are open stay open."""
        ...

    async def refuse(self) -> None:
        """Accept no new connection."""
        ...

    async def accept(self) -> None:
        """Accept connections again."""
        ...

    async def black_hole(self) -> None:
        """Let nothing pass and nothing end."""
        ...

    async def flow(self) -> None:
        """Let everything pass again."""
        ...

    async def reset(self) -> int:
        """Reset every connection, and return how many there were."""
        ...

    async def close(self) -> int:
        """End every connection in good form, and return how many there were."""
        ...


class NetworkStage:
    """What stages do with their network: the fault proxy, or the server in memory, which has the same words."""

    def __init__(self, network: FaultProxy | MemoryServer) -> None:
        self._network = network

    async def use(self, profile: str) -> None:
        """Exchange the network."""
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
