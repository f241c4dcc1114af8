"""How long it has been silent, counted only while somebody was waiting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from resilient_sse._core.options import Liveness

__all__ = ["Silence"]


class Silence:
    """
    Two clocks of one connection: time without a sign of life, and time without an event.

    They run only while the consumer waits for a read: a slow consumer is not a stalled server.
    """

    __slots__ = (
        "_eventless",
        "_limits",
        "_silent",
    )

    def __init__(self, limits: Liveness) -> None:
        self._limits = limits
        self._silent = 0.0
        self._eventless = 0.0

    def start(self) -> None:
        """Begin with a new connection."""
        self._silent = self._eventless = 0.0

    def heard(self, size: int, waited: float, *, frames: bool, event: bool) -> bool:
        """
        Count a read; return whether it was a sign of life.

        Args:
            size: How many bytes it brought.
            waited: For how long the consumer waited for it, in seconds.
            frames: Whether it completed anything, be it a comment.
            event: Whether it completed an event.
        """
        self._silent += waited
        self._eventless += waited
        if event:
            self._eventless = 0.0
        stall_on = self._limits.stall_on
        alive = size > 0 if stall_on == "bytes" else frames if stall_on == "frames" else event
        if alive:
            self._silent = 0.0
        return alive

    @property
    def until_notice(self) -> float:
        """Seconds of further silence until the notice; infinite for never."""
        return max(self._limits.notice - self._silent, 0.0)

    @property
    def left(self) -> tuple[float, Reason]:
        """Seconds of further silence until the connection is given up, and for which reason."""
        stall, event = self._limits.stall_timeout, self._limits.event_timeout
        until_stall = math.inf if stall is None else stall - self._silent
        until_event = math.inf if event is None else event - self._eventless
        if until_event < until_stall:
            return max(until_event, 0.0), Reason.EVENT_TIMEOUT
        return max(until_stall, 0.0), Reason.STALL
