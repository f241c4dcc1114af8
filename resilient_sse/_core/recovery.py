"""What becomes of an outage: how long it lasted, and whether the server could resume from the id it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_sse._core.errors import HandshakeError
from resilient_sse._core.events import Gap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_sse._core.states import Reason

_GONE = 410

# The event before the first one that is sent.  Mercure says so, by the first name since its draft 8.
_ANSWERS = ("mercure-last-event-id", "last-event-id")

# So many short connections in a row without an event, although an id was sent: the server cannot resume from it.
# One that holds for a while is a quiet stream behind a proxy with a limit on idle connections.
_EMPTY_CONNECTIONS = 3


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


@dataclass(slots=True)
class Resumption:
    """
    Watches what becomes of the id that connections are asked to resume after.

    The cursor is never dropped quietly to make a connection work: each sign that the server cannot honour it
    is a `Gap`, one for each id, and what to do about it is the consumer's decision.
    """

    _sent: str | None = None
    _empty: int = 0
    _fruitless: int = 0
    _reported: str | None = None

    def opened(
        self, cursor: str | None, headers: Mapping[str, str], *, left: str | None = None
    ) -> Gap | None:
        """
        Record a connection that was asked to resume after *cursor*, and the *headers* of its answer.

        *left* is the id in force that it was not asked to resume after; `""` if events are lost without one.
        """
        if cursor != self._sent:
            self._empty = 0  # the row is about one id
        self._sent = cursor
        if left is not None:
            return Gap(kind="unresumable", after_id=left or None)  # each time something may have been missed
        answered = next((headers[name] for name in _ANSWERS if name in headers), None)
        if cursor is None or answered is None or answered == cursor:
            return None
        return self._gap(cursor, before_id=answered or None)

    def refused(self, cursor: str | None, error: Exception) -> Gap | None:
        if cursor is None or not isinstance(error, HandshakeError) or error.status != _GONE:
            return None
        return self._gap(cursor)

    def ended(self, *, dispatched: bool, settled: bool) -> Gap | None:
        """Record the end of a connection: whether an event came over it, and whether it held for a while."""
        self._fruitless = 0 if dispatched else self._fruitless + 1
        eventless = not (dispatched or settled)
        self._empty = self._empty + 1 if eventless and self._sent is not None else 0
        if self._sent is None or self._empty != _EMPTY_CONNECTIONS:
            return None
        return self._gap(self._sent)

    @property
    def has_replayed(self) -> bool:
        """Whether the server has shown what it replays: by an event, or by sending none over and over."""
        return self._fruitless == 0 or self._fruitless >= _EMPTY_CONNECTIONS

    def _gap(self, cursor: str, before_id: str | None = None) -> Gap | None:
        if cursor == self._reported:
            return None
        self._reported = cursor
        return Gap(kind="unresumable", after_id=cursor, before_id=before_id)
