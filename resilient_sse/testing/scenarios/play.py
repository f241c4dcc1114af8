"""Playing a scenario: scenes on a stage, streams that are followed, messages published, faults noted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from resilient_sse._core.states import StreamState
from resilient_sse.testing.scenarios.follow import DONE, Follower, Settings
from resilient_sse.testing.scenarios.log import RunLog
from resilient_sse.testing.scenarios.stage import Driver, Form, Setup, Stage

__all__ = ["MESSAGE_BYTES", "Play", "Scenario", "Scene", "play", "text"]

MESSAGE_BYTES = 100

_LOOK = 0.02

ValueT = TypeVar("ValueT")


def text(number: int) -> str:
    """Return the text of a message: as long as all the others."""
    return f"message {number} ".ljust(MESSAGE_BYTES, ".")


class Scene:
    """
    A stage, and what is going on on it.

    Args:
        stage: The server and the network.
        log: Where everything is noted.
        tasks: Where streams are followed.
        seed: Where the jitter of the clients starts.
    """

    def __init__(self, stage: Stage, log: RunLog, tasks: TaskGroup, seed: int) -> None:
        self.stage = stage
        self.log = log
        self.followers: list[Follower] = []
        self._tasks = tasks
        self._seed = seed
        self._published: dict[str, int] = {}

    def follow(self, name: str, settings: Settings | None = None) -> Follower:
        """Begin to follow the stream *name*."""
        random = Random(f"{self._seed} {self.log.name} {name}").random  # noqa: S311 - jitter, not secrets
        follower = Follower(name, settings or Settings(), stage=self.stage, log=self.log, random=random)
        self.followers.append(follower)
        self._tasks.start_soon(follower.run)
        return follower

    async def publish(self, *names: str, count: int = 1, every: float = 0.0) -> None:
        """
        Publish messages.

        Args:
            *names: The streams that each get them; none are all that are followed.
            count: How many.
            every: Seconds between two; what is late is made up for.
        """
        start = anyio.current_time()
        for number in range(count):
            await anyio.sleep(max(0.0, start + number * every - anyio.current_time()))
            for name in names or [follower.name for follower in self.followers]:
                self._published[name] = self._published.get(name, 0) + 1
                await self.stage.publish(name, text(self._published[name]))

    async def complete(self) -> None:
        """Publish the event that completes each stream, and wait until all have ended."""
        for follower in self.followers:
            await self.stage.publish(follower.name, str(self._published.get(follower.name, 0)), event=DONE)
        await self.all(lambda follower: follower.over)

    async def all(self, held: Callable[[Follower], bool]) -> None:
        """Wait until *held* is true of every stream that is not over."""
        for follower in self.followers:
            await follower.until(held)

    async def connected(self) -> None:
        """Wait until every stream is connected."""
        await self.all(lambda follower: follower.state is StreamState.CONNECTED)

    async def caught_up(self) -> None:
        """Wait until every stream has received all that was published for it."""
        await self.all(lambda follower: follower.received >= self._published.get(follower.name, 0))

    def fault(self, name: str) -> None:
        """Note a fault that strikes every stream of the scene now, once for each."""
        for follower in self.followers:
            self.log.add("fault", follower.name, name=name)

    def mended(self, name: str) -> None:
        """Note that a fault is over for every stream of the scene."""
        for follower in self.followers:
            self.log.add("mended", follower.name, name=name)


class Play:
    """
    One run of a scenario.

    Args:
        driver: What it is played with.
        log: Where everything is noted.
    """

    def __init__(self, driver: Driver, log: RunLog) -> None:
        self.driver = driver
        self.log = log
        self.random: Random = Random(f"{driver.seed} {log.name}")  # noqa: S311 - where faults strike is no secret

    def by_form(self, *, virtual: ValueT, real: ValueT) -> ValueT:
        """Choose what only virtual time can afford, or what real time can."""
        return virtual if self.driver.form is Form.VIRTUAL else real

    @asynccontextmanager
    async def scene(self, setup: Setup | None = None) -> AsyncGenerator[Scene]:
        """Set up a scene for the time of a block; streams that are followed at its end are left."""
        async with self.driver.stage(self.log, setup or Setup()) as stage, anyio.create_task_group() as tasks:
            yield Scene(stage, self.log, tasks, self.driver.seed)
            tasks.cancel_scope.cancel()

    async def together(self, parts: Iterable[Callable[[Play], Coroutine[Any, Any, None]]]) -> None:
        """Play several parts at the same time."""
        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(part, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    One production scenario.

    Attributes:
        key: What the report calls it.
        name: What the command line calls it.
        title: What people call it.
        promise: What it shows, in a sentence.
        play: Plays it.
        limit: Seconds after which a run is broken off, on the clock of the run.
        alone: Whether it compares times, so that in real time nothing else may be played meanwhile.
    """

    key: str
    name: str
    title: str
    promise: str
    play: Callable[[Play], Awaitable[None]]
    limit: float = 60.0
    alone: bool = False


async def play(scenario: Scenario, driver: Driver) -> RunLog:
    """
    Play *scenario* and return its log; one that lasts too long is broken off, which its figures show.

    Args:
        scenario: What to play.
        driver: What to play it with.
    """
    log = RunLog(scenario.key, driver.form.value, seed=driver.seed, now=driver.now)
    lateness = [0.0]
    with anyio.move_on_after(scenario.limit) as scope:
        async with anyio.create_task_group() as tasks:
            if driver.form is not Form.VIRTUAL:
                tasks.start_soon(_watch_clock, lateness)
            await scenario.play(Play(driver, log))
            tasks.cancel_scope.cancel()
    log.add("finish", in_time=not scope.cancelled_caught, late=round(max(lateness), 3))
    return log


async def _watch_clock(lateness: list[float]) -> None:
    """Note how late the event loop is: a machine that is too busy keeps no times, whatever the client does."""
    while True:
        due = anyio.current_time() + _LOOK
        await anyio.sleep(_LOOK)
        lateness[0] = max(lateness[0], anyio.current_time() - due)
