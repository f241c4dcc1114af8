"""Playing a scenario: scenes on a stage, streams that are followed, messages published, faults recorded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Literal, TypeVar

import anyio
from anyio.abc import TaskGroup

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse.testing.clock import BackendName, run_in_virtual_time
from resilient_sse.testing.scenarios.gates import Figures, Gate
from resilient_sse.testing.scenarios.log import Entry, Run, RunLog
from resilient_sse.testing.scenarios.stage import Driver, Setup, Stage, VirtualDriver

DONE = "done"
"""The type of the event that completes a stream."""

MESSAGE_BYTES = 100

_LOOK = 0.02
_PLAIN = Setup()

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The client's settings, as of `ResilientStream`; those that are not here are the defaults."""

    stall_timeout: float = 30.0
    waiting_after: float | None = None
    jitter: float = 0.1  # of the default backoff
    params: Mapping[str, str] = field(default_factory=dict[str, str])  # besides those of the stage


class Follower:
    """One stream as a program would use it, through the public API, and everything it shows recorded in `log`."""

    def __init__(self, name: str, scene: Scene, settings: Settings) -> None:
        self.name = name
        self.log: RunLog = scene.log
        self.sent: int = 0  # how many messages were published for it
        self.received: int = 0  # how many events were delivered
        self.state: StreamState = StreamState.CONNECTING
        self.attempt: int = 0  # the number of the last attempt that was announced in this outage
        self.losses: int = 0  # how often the connection was lost
        self.over: bool = False
        self._news = anyio.Event()
        known = {fact: getattr(settings, fact) for fact in ("stall_timeout", "waiting_after", "jitter")}
        self.log.add("stream", name, part=scene.part, **known)
        random = Random(f"{scene.seed} {self.log.name} {name}")  # noqa: S311 - jitter, not secrets
        self._stream = ResilientStream(
            scene.stage.url(name),
            client=scene.stage.client,
            headers=self._attempted,
            params=settings.params,
            resume_param="last_event_id",
            stall_timeout=settings.stall_timeout,
            waiting_after=settings.waiting_after,
            backoff=Backoff(jitter=settings.jitter, random=random.random),
            sequence=integers,
            until=DONE,
            on_state_change=self._changed,
            on_gap=lambda gap: self.log.add("gap", name, gap=gap.kind, missing=gap.missing),
        )

    @property
    def duplicates(self) -> int:
        """How many events were dropped because they had come before."""
        return self._stream.stats.duplicates

    async def run(self) -> None:
        """Follow the stream to its end, whichever that is."""
        error: str | None = "unfinished"
        try:
            async with self._stream as stream:
                async for event in stream:
                    self.received += 1
                    self.log.add(
                        "received",
                        self.name,
                        id=int(event.id) if event.id else None,
                        data=event.data,
                        event=event.event,
                        connection=event.connection,
                    )
                    self._wake()
            error = None
        except ResilientSSEError as failure:
            error = type(failure).__name__
        finally:
            self.log.add("ended", self.name, error=error)
            self.log.add("stats", self.name, **self._stream.stats.to_dict())
            self.over = True
            self._wake()

    async def until(self, held: Callable[[Follower], bool]) -> None:
        """Wait until *held* is true of this follower, or the stream is over."""
        while not (held(self) or self.over):
            await self._news.wait()

    def _changed(self, change: StateChange) -> None:
        lost = change.new in (StreamState.RECONNECTING, StreamState.ERROR)
        self.losses += lost and change.was_up
        self.state, self.attempt = change.new, change.attempt
        facts = {name: getattr(change, name).value for name in ("old", "new", "reason")}
        facts |= {name: getattr(change, name) for name in ("attempt", "max_retries", "delay", "message")}
        self.log.add("state", self.name, **facts)
        self._wake()

    def _attempted(self) -> dict[str, str]:
        # Headers are asked for at each attempt: this sees also those that never reach the server.
        self.log.add("attempt", self.name)
        return {}

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class Scene:
    """A stage, and what goes on on it: a *part* of a scenario; *seed* starts the clients' jitter."""

    def __init__(self, stage: Stage, part: str, log: RunLog, seed: int, tasks: TaskGroup) -> None:
        self.stage = stage
        self.part = part
        self.log = log
        self.seed = seed
        self.followers: list[Follower] = []
        self._tasks = tasks

    def follow(self, name: str, settings: Settings | None = None) -> Follower:
        """Begin to follow the stream *name*."""
        follower = Follower(name, self, settings or Settings())
        self.followers.append(follower)
        self._tasks.start_soon(follower.run)
        return follower

    async def publish(
        self, *, count: int = 1, every: float = 0.0, texts: Sequence[str] | None = None
    ) -> None:
        """Publish, for each stream, *count* messages of one length, or those *texts*, *every* so many seconds."""
        start = anyio.current_time()
        for number in range(count if texts is None else len(texts)):
            # What is late is made up for.
            await anyio.sleep(max(0.0, start + number * every - anyio.current_time()))
            for follower in self.followers:
                follower.sent += 1
                text = f"message {follower.sent} ".ljust(MESSAGE_BYTES, ".")
                await self.stage.publish(follower.name, text if texts is None else texts[number])

    async def deliver(self, *, count: int, every: float = 0.0) -> None:
        """Publish messages for every stream, and wait until all have received them."""
        await self.publish(count=count, every=every)
        await self.caught_up()

    async def complete(self) -> None:
        """Publish the event that completes each stream, and wait until all have ended."""
        for follower in self.followers:
            await self.stage.publish(follower.name, str(follower.sent), event=DONE)
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
        await self.all(lambda follower: follower.received >= follower.sent)

    def fault(self, name: str) -> None:
        """Record a fault that strikes every stream of the scene now, once for each."""
        for follower in self.followers:
            self.log.add("fault", follower.name, name=name)

    def mended(self, name: str) -> None:
        """Record that a fault is over for every stream of the scene."""
        for follower in self.followers:
            self.log.add("mended", follower.name, name=name)


class Play:
    """One run of a scenario, played with *driver* and recorded in *log*."""

    def __init__(self, driver: Driver, log: RunLog) -> None:
        self.driver = driver
        self.log = log
        self.random: Random = Random(f"{driver.seed} {log.name}")  # noqa: S311 - where faults strike is no secret

    def by_form(self, *, virtual: ValueT, real: ValueT) -> ValueT:
        """Choose what only virtual time can afford, or what real time can."""
        return virtual if self.driver.form == "virtual" else real

    @asynccontextmanager
    async def scene(self, setup: Setup = _PLAIN) -> AsyncGenerator[Scene]:
        """Set up a scene for the time of a block; streams that are followed at its end are left."""
        async with self.driver.stage(self.log, setup) as stage, anyio.create_task_group() as tasks:
            yield Scene(stage, setup.part, self.log, self.driver.seed, tasks)
            tasks.cancel_scope.cancel()

    async def together(self, *parts: Callable[[Play], Coroutine[Any, Any, None]]) -> None:
        """Play several parts at the same time."""
        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(part, self)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a report: the timeline of the first stream of a part, or the delays of all of them."""

    part: str
    caption: str
    kind: Literal["timeline", "delays"] = "timeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One production scenario: all there is to know of it."""

    key: str  # for machines: in `report.json` and in the log
    name: str  # for people: on the command line, in tables and on the page
    promise: str  # what it shows, in a sentence
    play: Callable[[Play], Awaitable[None]]
    limit: float = 60.0  # seconds after which a run is broken off, on the clock of the run
    alone: bool = False  # whether it compares times, so that nothing else may be played meanwhile
    figures: Callable[[Run], Figures] = lambda _: {}  # that it has of its own, from the log of a run
    fields: Sequence[str] = ()  # those that `report.json` has; its schema names them as well
    gates: Sequence[Gate] = ()
    charts: Sequence[Chart] = ()

    def named(self, form: str) -> str:
        """Return what people read for a run of it in this form."""
        return f"{self.name}/{form}"


async def play(scenario: Scenario, driver: Driver) -> RunLog:
    """Play *scenario* and return its log; one that lasts too long is broken off, which its figures show."""
    log = RunLog(scenario.key, driver.form, seed=driver.seed, now=driver.now)
    late = 0.0

    async def watch_clock() -> None:
        """Measure how late the loop is: a machine that is too busy keeps no times, whatever the client does."""
        nonlocal late
        while True:
            due = anyio.current_time() + _LOOK
            await anyio.sleep(_LOOK)
            late = max(late, anyio.current_time() - due)

    with anyio.move_on_after(scenario.limit) as scope:
        async with anyio.create_task_group() as tasks:
            if driver.form != "virtual":
                tasks.start_soon(watch_clock)
            await scenario.play(Play(driver, log))
            tasks.cancel_scope.cancel()
    log.add("finish", in_time=not scope.cancelled_caught, late=round(late, 3))
    return log


async def play_at_once(
    scenarios: Iterable[Scenario], driver: Driver, *, done: Callable[[str], None] | None = None
) -> list[RunLog]:
    """
    Play scenarios in the present event loop, at the same time, and return their logs in the order they end.

    Those that compare times are played first, one after the other.  *done* is told the name of each that is over.
    """
    logs: list[RunLog] = []

    async def one(scenario: Scenario) -> None:
        logs.append(await play(scenario, driver))
        if done is not None:
            done(scenario.named(driver.form))

    async with anyio.create_task_group() as tasks:
        for scenario in sorted(scenarios, key=lambda scenario: not scenario.alone):
            if scenario.alone:
                await one(scenario)
            else:
                tasks.start_soon(one, scenario)
    return logs


def play_all(
    scenarios: Sequence[Scenario],
    forms: Iterable[str],
    *,
    seed: int,
    done: Callable[[str], None] | None = None,
    backend: BackendName = "asyncio",
) -> list[Entry]:
    """
    Play scenarios in one form after the other, `"virtual"` or `"real"`, and return the whole log.

    Virtual runs take a second altogether.  Those over sockets are played at the same time: about 45 seconds.
    *seed* is where randomness starts, and *done* is told the name of each run that is over.

    Raises:
        ValueError: A form is unknown.
        ModuleNotFoundError: The form over sockets needs `resilient-sse[testing]`.
    """
    logs: list[RunLog] = []
    for form in forms:
        if form == "virtual":
            for scenario in scenarios:
                work = partial(play_at_once, [scenario], VirtualDriver(seed), done=done)
                logs += run_in_virtual_time(work, backend=backend)
        elif form == "real":
            from resilient_sse.testing.scenarios.real import RealDriver  # noqa: PLC0415 - needs the extra

            work = partial(play_at_once, scenarios, RealDriver(seed), done=done)
            logs += anyio.run(work, backend=backend)
        else:
            raise ValueError(f"form must be 'virtual' or 'real', not {form!r}")
    return [entry for log in logs for entry in log.ordered()]
