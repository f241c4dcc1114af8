"""One circuit breaker for many streams, event loops and threads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import anyio

from resilient_sse._client.backends import running
from resilient_sse._client.log import logger
from resilient_sse._client.request import origin
from resilient_sse._core.checks import check_count, check_seconds
from resilient_sse._core.circuit import Circuit, CircuitState
from resilient_sse._core.outage import is_of_the_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse._core.session import Session

T = TypeVar("T")

# Who waits looks again within this part of `reset_after`; so all come back within it, and not at once.
_SPREAD = 0.1


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
        self._lock = RLock()  # a stream that is collected while this thread holds it leaves, too
        self._circuits: dict[str, Circuit] = {}  # 0.2 KiB for each origin that a stream has led to
        self._offsets: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    @property
    def states(self) -> dict[str, CircuitState]:
        """A copy of the state of each origin that streams have led to, such as `https://host:443`."""
        with self._lock:
            now = self._now()
            return {where: circuit.state(now) for where, circuit in self._circuits.items()}

    def _gate(self, url: str, random: Callable[[], float]) -> Gate:
        where = origin(url)
        with self._lock:
            circuit = self._circuits.setdefault(where, Circuit(self._failures, self._reset_after))
        return Gate(where, circuit, self._lock, self._now, random)

    def _now(self) -> float:
        """Return the time on one clock for all event loops, whose own may differ, as trio's do."""
        try:
            loop, now = running(), anyio.current_time()
        except RuntimeError:  # a thread without an event loop asks for the states
            return time.monotonic()
        return now + self._offsets.setdefault(loop, time.monotonic() - now)


# The seam for the streams.
gate = CircuitBreaker._gate  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@dataclass(eq=False)
class Gate:
    """One stream's way through a circuit breaker, which tells the log when the circuit opens and closes."""

    where: str
    circuit: Circuit
    lock: RLock
    clock: Callable[[], float]
    random: Callable[[], float]
    unproven: bool = False
    """Whether there is a connection that is to prove itself."""

    def wait(self, *, forced: bool) -> float:
        """Return how long to wait before asking again, 0 to go; *forced* goes at once, as the probe."""
        self.unproven = False
        left = self._tell(Circuit.wait, forced=forced)
        if not left:
            return 0.0
        spread = self.circuit.reset_after * _SPREAD
        if self.circuit.probed:  # nobody knows for how long
            return spread * (1 + self.random()) / 2
        return left + spread * self.random()

    def opened(self, settle_after: float) -> None:
        """Record that there is a connection, which is proven if it holds for *settle_after* seconds."""
        self.unproven = True
        self._tell(Circuit.opened, settle_after=settle_after)

    def judge(self, session: Session, now: float) -> None:
        """Tell if the connection has proved itself; *now* is on the clock of the event loop."""
        if self.unproven and session.is_proven(now):
            self.unproven = False
            self._tell(Circuit.proved)

    def ended(self, error: Exception | None = None) -> None:
        """Record that the attempt, or its unproven connection, has ended; by *error*, if that is the server's."""
        self.unproven = False
        self._tell(Circuit.left if error is None or not is_of_the_server(error) else Circuit.failed)

    def _tell(self, what: Callable[..., T], **facts: float) -> T:
        circuit = self.circuit
        with self.lock:
            now = self.clock()
            result = what(circuit, self, now, **facts)
            turned = circuit.turned(now)
        if turned:
            logger.warning(
                "%s: circuit open, %d attempts in a row have failed; one is made each %g s",
                self.where,
                circuit.limit,
                circuit.reset_after,
            )
        elif turned is False:
            logger.info("%s: circuit closed", self.where)
        return result
