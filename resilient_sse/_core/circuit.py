"""
The circuit of one origin: whether its streams may try to connect, by what became of the attempts before.

It is closed while attempts succeed, and opens after so many failures in a row, over all streams.  Then one
attempt is let through now and then, the probe, and what becomes of it decides.  A probe of which nothing is heard
loses its place by time, so no end of a stream can keep the others waiting for ever.
"""

from __future__ import annotations

from enum import Enum


class CircuitState(Enum):
    """What a `CircuitBreaker` does with the attempts to one origin."""

    CLOSED = "closed"
    """All are made."""
    OPEN = "open"
    """None is made."""
    HALF_OPEN = "half_open"
    """One is being made, or its connection is proving itself; the others wait."""


class Circuit:
    """
    The circuit of one origin.  *who* stands for a stream; *now* is one clock for all of them.

    *limit* failures in a row open it; *reset_after* seconds behind one, or a silent probe, comes the next probe.
    """

    __slots__ = ("_accepted", "_failures", "_until", "_was_shut", "_watched", "limit", "reset_after")

    def __init__(self, limit: int, reset_after: float) -> None:
        self.limit = limit
        self.reset_after = reset_after
        self._was_shut = False
        self._close()

    def _close(self) -> None:
        self._failures = 0
        self._watched: object = None  # the probe; while closed, whose connection may end the row of failures
        self._accepted = False  # whether it has a connection; then it is proven
        self._until = 0.0  # then, and else another probe may be made

    def state(self, now: float) -> CircuitState:
        """Return the state; a connection that has held for long enough closes the circuit."""
        if self._accepted and now >= self._until:
            self._close()
        if self._failures < self.limit:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.probed else CircuitState.OPEN

    @property
    def probed(self) -> bool:
        """Whether a stream is watched: the probe, if the circuit is not closed."""
        return self._watched is not None

    def turned(self, now: float) -> bool | None:
        """Return whether it is closed for attempts now, `None` if that is as it was when asked before."""
        shut = self.state(now) is not CircuitState.CLOSED
        if shut is self._was_shut:
            return None
        self._was_shut = shut
        return shut

    def wait(self, who: object, now: float, *, forced: bool = False) -> float:
        """Return how long *who* has to wait; 0 lets it through, as the probe if the circuit is not closed."""
        if self.state(now) is CircuitState.CLOSED:
            return 0.0
        if now < self._until and self._watched is not who and not forced:
            return self._until - now
        self._watched, self._accepted, self._until = who, False, now + self.reset_after
        return 0.0

    def opened(self, who: object, now: float, *, settle_after: float) -> None:
        """Record that *who* has a connection, which is proven if it holds for *settle_after* seconds."""
        unwatched = self.state(now) is CircuitState.CLOSED and self._watched is None
        if unwatched or self._watched is who:
            self._watched, self._accepted, self._until = who, True, now + settle_after

    def proved(self, who: object, now: float) -> None:
        """Record that the connection of *who* has brought something."""
        if self._counts(who, now):
            self._close()

    def failed(self, who: object, now: float) -> None:
        """Record that the attempt of *who* failed, or its connection before it was proven."""
        if self._counts(who, now):
            self._failures += 1
            if self._failures >= self.limit:
                self._watched, self._accepted, self._until = None, False, now + self.reset_after
            else:
                self.left(who, now)

    def left(self, who: object, now: float) -> None:
        """Record that *who* has ended and told nothing of the server; the next may try at once."""
        if self._watched is who:
            self._watched, self._accepted, self._until = None, False, now

    def _counts(self, who: object, now: float) -> bool:
        """Whether *who* decides: not if it began before the circuit opened, or has lost its place."""
        return self.state(now) is CircuitState.CLOSED or self._watched is who
