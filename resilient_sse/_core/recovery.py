"""How long an outage lasted: four points in time, from the last byte before it to the first new event after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_sse._core.states import Reason

__all__ = ["Recovery", "Setback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """
    An outage that is over: a connection was lost, and a new event has come since.

    Times are seconds on the event loop's clock (`anyio.current_time()`).  A server that has nothing new to send
    makes a recovery long without anything being wrong; `reconnected` is free of that.

    Attributes:
        reason: Why the connection was lost: the first failure of the outage.
        attempts: How many attempts it took.
        silent_since: When the last byte before it came, or the connection was opened: the report's t1.
        lost_at: When the loss was noticed: t2.
        opened_at: When the connection that brought the event was accepted: t3.
        recovered_at: When that event came: t4.
    """

    reason: Reason
    attempts: int
    silent_since: float
    lost_at: float
    opened_at: float
    recovered_at: float

    @property
    def recovery(self) -> float:
        """From the notice of the loss to the first new event (t4 - t2), in seconds."""
        return self.recovered_at - self.lost_at

    @property
    def silence(self) -> float:
        """From the last byte to the first new event (t4 - t1), in seconds."""
        return self.recovered_at - self.silent_since

    @property
    def reconnected(self) -> float:
        """From the notice of the loss to the accepted connection (t3 - t2), in seconds."""
        return self.opened_at - self.lost_at


class Setback:
    """Follows one outage at a time."""

    __slots__ = (
        "_lost_at",
        "_reason",
        "_silent_since",
    )

    def __init__(self) -> None:
        self._reason: Reason | None = None
        self._silent_since = self._lost_at = 0.0

    def lost(self, reason: Reason, *, silent_since: float | None, now: float) -> None:
        """Take note of a failure; the first one counts.  *silent_since* is `None` before the first connection."""
        if self._reason is None:
            self._reason, self._lost_at = reason, now
            self._silent_since = now if silent_since is None else silent_since

    def forget(self) -> None:
        """Take note that the outage ended without a new event, or that another begins."""
        self._reason = None

    def recovered(self, *, attempts: int, opened_at: float, now: float) -> Recovery | None:
        """Take note of a new event; return the recovery, if this ends an outage."""
        reason, self._reason = self._reason, None
        if reason is None:
            return None
        return Recovery(
            reason=reason,
            attempts=max(attempts, 1),
            silent_since=self._silent_since,
            lost_at=self._lost_at,
            opened_at=opened_at,
            recovered_at=now,
        )
