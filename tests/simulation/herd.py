"""
The herd model: how a fleet of clients comes back after an outage that has struck all of them at once.

Pure arithmetic over `Backoff`: each client draws from a source of its own, as streams do (R60, R61, R177).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from resilient_sse import Backoff
from resilient_sse._core.backoff import Pacing

__all__ = ["SLOT", "Herd", "Wait", "herd_of_delays", "peak_share"]

SLOT = 0.01
"""Seconds: the width of the slots that retries are counted in."""


@dataclass(frozen=True, slots=True)
class Wait:
    """
    One retry of the whole fleet.

    Attributes:
        attempt: Its number, from 1.
        delays: Each client's delay, in seconds.
    """

    attempt: int
    delays: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The share of the clients that comes in the fullest slot of 10 ms."""
        return peak_share(self.delays)

    @property
    def spread(self) -> float:
        """Seconds from the first to the last."""
        return max(self.delays) - min(self.delays)

    def distinct(self, digits: int | None = None) -> int:
        """Return how many delays differ, rounded to so many decimal places of a second."""
        return len(set(self.delays if digits is None else (round(delay, digits) for delay in self.delays)))


@dataclass(frozen=True, slots=True)
class Herd:
    """
    A fleet after an outage.

    Attributes:
        clients: How many.
        waits: Each attempt.
    """

    clients: int
    waits: tuple[Wait, ...]

    def arrivals(self, attempt: int) -> Wait:
        """Return when the clients come for the *attempt*-th time: sums of delays, in seconds since the outage."""
        sums = [sum(delays) for delays in zip(*(wait.delays for wait in self.waits[:attempt]), strict=True)]
        return Wait(attempt, tuple(sums))


def herd_of_delays(
    clients: int = 1000,
    *,
    attempts: int = 6,
    backoff: Backoff | None = None,
    retry_after: float | None = None,
    seed: int = 0,
) -> Herd:
    """
    Draw the delays of a fleet.

    Args:
        clients: How many.
        attempts: How many retries each makes.
        backoff: Theirs; the default is that of `ResilientStream`.
        retry_after: What every answer asks for, in seconds.
        seed: Where their sources of jitter come from.

    Raises:
        ValueError: *clients* or *attempts* is less than 1.
    """
    if clients < 1 or attempts < 1:
        raise ValueError(f"clients and attempts must be at least 1, not {clients!r} and {attempts!r}")
    sources = Random(seed)
    fleet = [
        Pacing(backoff or Backoff(), max_server_delay=60.0, random=Random(sources.random()).random)
        for _ in range(clients)
    ]
    waits: list[Wait] = []
    for attempt in range(1, attempts + 1):
        delays: list[float] = []
        for pacing in fleet:
            if retry_after is not None:
                pacing.retry_after(retry_after)
            delays.append(pacing.delay(attempt))
        waits.append(Wait(attempt, tuple(delays)))
    return Herd(clients, tuple(waits))


def peak_share(moments: Iterable[float]) -> float:
    """Return the share of *moments* that falls into the fullest slot of 10 ms."""
    slots = Counter(int(moment / SLOT) for moment in moments)
    return max(slots.values()) / slots.total()
