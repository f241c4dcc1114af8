"""Readings taken while a run goes on, and the figures they give."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from resilient_sse.testing.load.figures import mean, slope_percent
from resilient_sse.testing.load.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_sse.testing.load.fleet import Fleet
    from resilient_sse.testing.load.plan import LoadPlan

__all__ = ["Progress", "Readings", "Sampler"]

_READINGS = 400
_SHORTEST_INTERVAL = 0.5
_TELLING_SECONDS = 0.1
_GROWTH_SECONDS = 300.0
"""Memory watched for less than this shows the allocator's steps, not a slope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    How far a run has come.

    Attributes:
        seconds: Since the first stream was started.
        users: How many streams there will be.
        opened: How many were started.
        open: How many have an open connection.
        reconnecting: How many have lost theirs.
        ended: How many have ended.
        received: Messages received.
        expected: Messages that will be received in all, or `None` if nobody knows.
        cpu: The share of one core used since the last report.
        resident: Bytes resident.
    """

    seconds: float
    users: int
    opened: int
    open: int
    reconnecting: int
    ended: int
    received: int
    expected: int | None
    cpu: float | None
    resident: int | None


class Readings:
    """
    Rows of numbers in memory that is taken once: what is measured must not grow by being measured.

    Attributes:
        first: The reading at the beginning.
        last: The latest reading.
        lateness: The longest time by which a timer rang late, in seconds.
        peak: The most bytes resident.
        most: The most connections that the server saw.
        excess: The most by which they exceeded the users and those reconnecting.
    """

    def __init__(self) -> None:
        self.first: Usage = Usage.read()
        self.last: Usage = self.first
        self.lateness: float = 0.0
        self.peak = self.first.resident
        self.most: int | None = None
        self.excess: int | None = None
        self._steady_first: tuple[Usage, int] | None = None
        self._steady_last: tuple[Usage, int] | None = None
        self._seen = array("d")
        self._memory_at, self._memory = array("d"), array("d")

    def add(self, usage: Usage, *, received: int, steady: bool, warm: bool) -> None:
        """Take note of a reading; *steady* while all streams are open, *warm* once memory should not grow."""
        self.last = usage
        if usage.resident is not None:
            self.peak = max(self.peak or 0, usage.resident)
            if steady and warm:
                self._memory_at.append(usage.at)
                self._memory.append(usage.resident)
        if steady:
            self._steady_last = (usage, received)
            self._steady_first = self._steady_first or self._steady_last

    def connections(self, live: int, *, users: int, reconnecting: int) -> None:
        """Take note of what the server sees while all streams are open."""
        self._seen.append(live)
        self.most = max(self.most or 0, live)
        over = live - users - reconnecting
        self.excess = over if self.excess is None else max(self.excess, over)

    @property
    def seen(self) -> float | None:
        """The connections that the server saw, on average."""
        return mean(self._seen)

    @property
    def cpu(self) -> float | None:
        """The share of one core while all streams were open."""
        if self._steady_first is None or self._steady_last is None:
            return None
        return self._steady_last[0].cpu_share_since(self._steady_first[0])

    @property
    def cpu_overall(self) -> float | None:
        """The share of one core from the beginning to the latest reading."""
        return self.last.cpu_share_since(self.first)

    @property
    def steady(self) -> tuple[float, float, int] | None:
        """Seconds, CPU seconds and messages while all streams were open."""
        if self._steady_first is None or self._steady_last is None:
            return None
        (before, had), (after, has) = self._steady_first, self._steady_last
        return after.at - before.at, after.cpu - before.cpu, has - had

    @property
    def watched(self) -> float:
        """Seconds for which memory was watched."""
        return self._memory_at[-1] - self._memory_at[0] if self._memory_at else 0.0

    @property
    def growth(self) -> float | None:
        """Per cent each ten minutes, or `None` after too short a time."""
        if self.watched < _GROWTH_SECONDS:
            return None
        return slope_percent(list(zip(self._memory_at, self._memory, strict=True)))


class Sampler:
    """
    Takes a reading now and then.

    Args:
        plan: Of the run.
        fleet: What is watched.
        live: Asks the server how many connections it has.
        told: Is given the progress with each reading.
    """

    def __init__(
        self,
        plan: LoadPlan,
        fleet: Fleet,
        live: Callable[[], Awaitable[int | None]],
        told: Callable[[Progress], None] | None,
    ) -> None:
        self.readings: Readings = Readings()
        self._plan = plan
        self._fleet = fleet
        self._live = live
        self._told = told
        self._interval = max(plan.limit / _READINGS, _SHORTEST_INTERVAL)

    async def run(self) -> None:
        """Take readings until cancelled."""
        due = began = anyio.current_time()
        while True:
            await self._take(began)
            due = max(due + self._interval, anyio.current_time())
            await anyio.sleep_until(due)
            self.readings.lateness = max(self.readings.lateness, anyio.current_time() - due)

    async def _take(self, began: float) -> None:
        fleet, readings = self._fleet, self.readings
        reconnecting = fleet.reconnecting
        steady = fleet.steady
        live = await self._live() if steady else None
        if live is not None and fleet.steady:
            # The server was asked at some moment in between.
            readings.connections(
                live, users=self._plan.users, reconnecting=max(reconnecting, fleet.reconnecting)
            )
        seconds = anyio.current_time() - began
        before, usage = readings.last, Usage.read()
        readings.add(
            usage,
            received=fleet.received,
            steady=steady and fleet.steady,
            warm=seconds >= self._plan.warming,
        )
        if self._told is not None:
            self._told(self._progress(seconds, usage, before))

    def _progress(self, seconds: float, usage: Usage, before: Usage) -> Progress:
        plan, fleet = self._plan, self._fleet
        known = plan.target is None or plan.messages is not None
        return Progress(
            seconds=seconds,
            users=plan.users,
            opened=len(fleet.tallies),
            open=fleet.open,
            reconnecting=fleet.reconnecting,
            ended=fleet.ended,
            received=fleet.received,
            expected=plan.users * plan.messages_each if known else None,
            cpu=usage.cpu_share_since(before) if usage.at - before.at > _TELLING_SECONDS else None,
            resident=usage.resident,
        )
