"""One circuit breaker for many streams, event loops and threads."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio

from resilient_sse._client.backends import running
from resilient_sse._client.locks import BRIEFLY
from resilient_sse._client.log import logger, origin
from resilient_sse._core.checks import check_count, check_seconds
from resilient_sse._core.outage import is_of_the_server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient_sse._core.session import Session

# Who waits looks again within this part of `reset_after`; so all come back within it, and not at once.
_SPREAD = 0.1


class CircuitState(Enum):
    """What a `CircuitBreaker` does with the attempts to one origin."""

    CLOSED = "closed"
    """All are made."""
    OPEN = "open"
    """None is made."""
    HALF_OPEN = "half_open"
    """One is being made, or its connection is proving itself; the others wait."""


class CircuitBreaker:
    """
    Keeps many streams from a server that is down: one object, given to all of them as `breaker`.

    It judges each origin (scheme, host and port) by itself, over all streams, event loops and threads that share
    the object.  After *failures* in a row it lets one attempt through each *reset_after* seconds, and the other
    streams wait, which spends no retries.  When the connection of such an attempt has proved itself, as for the
    retry budget, they come back within a tenth of *reset_after*.

    Args:
        failures: How many attempts have to fail in a row.
        reset_after: Seconds until one is let through again; up to a tenth more.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.
    """

    def __init__(self, *, failures: int = 5, reset_after: float = 30.0) -> None:
        check_count("failures", failures, least=1, optional=False)
        check_seconds("reset_after", reset_after, positive=True, optional=False)
        self._failures = failures
        self._reset_after = reset_after
        self._circuits: dict[str, _Circuit] = {}  # 0.2 KiB for each origin that a stream has led to
        self._offsets: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    @property
    def states(self) -> dict[str, CircuitState]:
        """A copy of the state of each origin that streams have led to, such as `https://host:443`."""
        with BRIEFLY:
            now = self._now()
            return {where: circuit.state(now) for where, circuit in self._circuits.items()}

    def _guard(self, url: str, random: Callable[[], float]) -> Guard:
        where = origin(url)
        with BRIEFLY:
            circuit = self._circuits.setdefault(where, _Circuit(where, self._failures, self._reset_after))
        return Guard(circuit, self._now, random)

    def _now(self) -> float:
        """Return the time on one clock for all event loops, whose own may differ, as trio's do."""
        try:
            loop, now = running(), anyio.current_time()
        except RuntimeError:  # a thread without an event loop asks for the states
            return time.monotonic()
        return now + self._offsets.setdefault(loop, time.monotonic() - now)


# The seam for the streams.
guard_of = CircuitBreaker._guard  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@dataclass(eq=False, slots=True)
class _Circuit:
    """
    What became of the attempts to one origin, over all streams.

    It opens after *limit* failures in a row.  Then one attempt is let through now and then, the probe, and what
    becomes of it decides.  A probe of which nothing is heard loses its place by time, so no end of a stream can
    keep the others waiting for ever.
    """

    where: str
    limit: int
    reset_after: float
    failures: int = 0
    watched: Guard | None = None  # the probe; while closed, whose connection may end the row of failures
    accepted: bool = False  # whether it has a connection; then it is proven
    until: float = 0.0  # then, and else another probe may be made
    told: bool = False  # that it is not closed

    def state(self, now: float) -> CircuitState:
        """Return the state; a connection that has held for long enough closes the circuit."""
        if self.accepted and now >= self.until:
            self.close()
        if self.failures < self.limit:
            return CircuitState.CLOSED
        return CircuitState.OPEN if self.watched is None else CircuitState.HALF_OPEN

    def watch(self, who: Guard | None, until: float, *, accepted: bool = False) -> None:
        self.watched, self.until, self.accepted = who, until, accepted

    def close(self) -> None:
        self.failures = 0
        self.watch(None, 0.0)

    def counts(self, who: Guard, now: float) -> bool:
        """Whether news of *who* count: not if it began before the circuit opened, or has lost its place."""
        return self.state(now) is CircuitState.CLOSED or self.watched is who


@dataclass(eq=False)
class Guard:
    """One stream's way through a circuit."""

    circuit: _Circuit
    clock: Callable[[], float]
    random: Callable[[], float]
    unproven: bool = False
    """Whether there is a connection that is to prove itself."""

    def wait(self, *, forced: bool) -> float:
        """Return how long to wait before asking again, 0 to go; *forced* goes at once, as the probe."""
        self.unproven = False
        with self._held() as (circuit, now):
            if circuit.state(now) is CircuitState.CLOSED:
                return 0.0
            if now >= circuit.until or circuit.watched is self or forced:
                circuit.watch(self, now + circuit.reset_after)
                return 0.0
            spread = circuit.reset_after * _SPREAD
            if circuit.watched is not None:  # nobody knows for how long
                return spread * (1 + self.random()) / 2
            return circuit.until - now + spread * self.random()

    def opened(self, settle_after: float) -> None:
        """Record that there is a connection, which is proven if it holds for *settle_after* seconds."""
        self.unproven = True
        with self._held() as (circuit, now):
            if circuit.watched in (None, self) and circuit.counts(self, now):
                circuit.watch(self, now + settle_after, accepted=True)

    def judge(self, session: Session, now: float) -> None:
        """Tell if the connection has proved itself; *now* is on the clock of the event loop."""
        if self.unproven and session.is_proven(now):
            self.unproven = False
            with self._held() as (circuit, at):
                if circuit.counts(self, at):
                    circuit.close()

    def ended(self, error: Exception | None = None) -> None:
        """Record that the attempt, or its unproven connection, has ended; by *error*, if that is the server's."""
        self.unproven = False
        failed = error is not None and is_of_the_server(error)
        with self._held() as (circuit, now):
            if failed and circuit.counts(self, now):
                circuit.failures += 1
                if circuit.failures >= circuit.limit:
                    circuit.watch(None, now + circuit.reset_after)
            if circuit.watched is self:  # the next may try at once
                circuit.watch(None, now)

    @contextmanager
    def _held(self) -> Generator[tuple[_Circuit, float]]:
        """Hold the lock, and tell the log behind it if the circuit has opened or closed."""
        circuit = self.circuit
        with BRIEFLY:
            now = self.clock()
            yield circuit, now
            told, circuit.told = circuit.told, circuit.state(now) is not CircuitState.CLOSED
            turned = circuit.told is not told
        if turned and not told:
            words = "%s: circuit open, %d attempts in a row have failed; one is made each %g s"
            logger.warning(words, circuit.where, circuit.limit, circuit.reset_after)
        elif turned:
            logger.info("%s: circuit closed", circuit.where)
