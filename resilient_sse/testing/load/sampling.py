"""Readings taken while a run goes on, and the figures they give."""

from __future__ import annotations

import statistics
import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient_sse.testing.load.fleet import Fleet
    from resilient_sse.testing.load.plan import LoadPlan

_READINGS = 400
_SHORTEST_INTERVAL = 0.5
_TELLING_SECONDS = 0.1
_GROWTH_SECONDS = 300.0
"""Memory watched for less than this shows the allocator's steps, not a slope."""
_TEN_MINUTES = 600.0


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


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What this process has used by a moment, its children not included.

    Attributes:
        at: The moment, in seconds of a clock that only runs forward.
        cpu: CPU seconds, user and system, of all threads.
        resident: Resident bytes.
        received: Messages received.
    """

    at: float
    cpu: float
    resident: int
    received: int

    def share_since(self, earlier: Reading | None) -> float | None:
        """Return the share of one core used since *earlier*: 1.0 is one core all the time; `None` for no time."""
        if earlier is None or self.at <= earlier.at:
            return None
        return (self.cpu - earlier.cpu) / (self.at - earlier.at)


def growth(times: Sequence[float], levels: Sequence[float]) -> float | None:
    """
    Return the slope of the least-squares line through *levels* in per cent of their mean for each ten minutes.

    Returns:
        Per cent, negative for a fall, or `None` if they were watched for less than five minutes.
    """
    if not times or times[-1] - times[0] < _GROWTH_SECONDS:
        return None
    slope = statistics.linear_regression(times, levels).slope
    return 100 * slope * _TEN_MINUTES / statistics.fmean(levels)


class Sampler:
    """
    Takes a reading now and then, into memory that is taken once: what is measured must not grow by being measured.

    *live* asks the server how many connections it has, and *told* is given the progress with each reading.

    Attributes:
        first: The reading at the beginning.
        last: The latest reading.
        steady: The first and the latest reading while all streams were open, or `None`.
        peak: The most bytes resident.
        seen: The connections that the server saw while all streams were open, each time.
        excess: The most by which they exceeded the users and those reconnecting, or `None`.
        lateness: The longest time by which a timer rang late, in seconds.
        warm_at: When memory was read after the warm-up, while all streams were open.
        warm: What it was then.
    """

    def __init__(
        self,
        plan: LoadPlan,
        fleet: Fleet,
        live: Callable[[], Awaitable[int | None]],
        told: Callable[[Progress], None] | None,
    ) -> None:
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - needs an extra

        self._memory = psutil.Process().memory_info
        self.first: Reading = self._read(0)
        self.last: Reading = self.first
        self.steady: tuple[Reading, Reading] | None = None
        self.peak: int = self.first.resident
        self.seen: array[int] = array("l")
        self.excess: int | None = None
        self.lateness: float = 0.0
        self.warm_at: array[float] = array("d")
        self.warm: array[float] = array("d")
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
            self.lateness = max(self.lateness, anyio.current_time() - due)

    async def _take(self, began: float) -> None:
        fleet = self._fleet
        reconnecting = fleet.count("reconnecting")
        steady = fleet.steady
        live = await self._live() if steady else None
        steady = steady and fleet.steady
        if live is not None and steady:
            # The server was asked at some moment in between.
            over = live - self._plan.users - max(reconnecting, fleet.count("reconnecting"))
            self.seen.append(live)
            self.excess = over if self.excess is None else max(self.excess, over)
        seconds = anyio.current_time() - began
        before, self.last = self.last, self._read(fleet.received)
        self.peak = max(self.peak, self.last.resident)
        if steady:
            self.steady = (self.last if self.steady is None else self.steady[0], self.last)
            if seconds >= self._plan.warming:
                self.warm_at.append(self.last.at)
                self.warm.append(self.last.resident)
        if self._told is not None:
            self._told(self._progress(seconds, before))

    def _read(self, received: int) -> Reading:
        return Reading(time.perf_counter(), time.process_time(), self._memory().rss, received)

    def _progress(self, seconds: float, before: Reading) -> Progress:
        plan, fleet, now = self._plan, self._fleet, self.last
        known = plan.target is None or plan.messages is not None
        return Progress(
            seconds=seconds,
            users=plan.users,
            opened=len(fleet.followers),
            open=fleet.count("open"),
            reconnecting=fleet.count("reconnecting"),
            ended=fleet.count("ended"),
            received=fleet.received,
            expected=plan.users * plan.messages_each if known else None,
            cpu=now.share_since(before) if now.at - before.at > _TELLING_SECONDS else None,
            resident=now.resident,
        )
