"""How long it has been silent, counted only while somebody was waiting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from resilient_sse._core.options import StreamOptions

# Seconds.
_NOTHING = 1e-6


class SilenceClock:
    """
    Two clocks of one connection: time without a sign of life, and time without an event.

    They run only while the consumer waits for a read: a slow consumer is not a stalled server.
    """

    __slots__ = ("_eventless", "_limits", "_silent", "left", "until_notice")

    def __init__(self, limits: StreamOptions) -> None:
        self._limits = limits
        self.left: tuple[float, Reason]
        """Seconds of further silence until the connection is given up, and for which reason."""
        self.until_notice: float
        """Seconds of further silence until the notice; infinite for never."""
        self.start()

    def start(self) -> None:
        self._silent = self._eventless = 0.0
        self._measure()

    def heard(self, size: int, waited: float, *, frames: bool, event: bool) -> bool:
        """
        Count a read of *size* bytes that was *waited* for (seconds); return whether it was a sign of life.

        *frames* tells whether it completed anything, be it a comment, and *event* whether it completed an event.
        """
        stall_on = self._limits.stall_on
        alive = size > 0 if stall_on == "bytes" else frames if stall_on == "frames" else event
        if alive and not self._silent and self._limits.event_timeout is None:
            return True  # nothing has changed: the usual read
        self._silent = 0.0 if alive else self._silent + waited
        self._eventless = 0.0 if event else self._eventless + waited
        self._measure()
        return alive

    @property
    def lasted(self) -> float:
        """Seconds since what is missing was last there."""
        return self._eventless if self.left[1] is Reason.EVENT_TIMEOUT else self._silent

    def _measure(self) -> None:
        limits = self._limits
        until_stall = _left(limits.stall_timeout, self._silent)
        until_event = _left(limits.event_timeout, self._eventless)
        stalls = until_stall <= until_event
        self.left = (until_stall, Reason.STALL) if stalls else (until_event, Reason.EVENT_TIMEOUT)
        self.until_notice = _left(limits.notice, self._silent)


def _left(limit: float | None, passed: float) -> float:
    """Return what is left; less than a microsecond is nothing, for sums of moments are not exact."""
    left = math.inf if limit is None else limit - passed
    return left if left > _NOTHING else 0.0
