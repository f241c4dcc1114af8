"""What one stream of a load run did: in memory that does not grow with the number of its events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import StateChange, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse._core.events import Gap, ServerSentEvent
    from resilient_sse._core.ports import Fact

__all__ = ["END", "Tally"]

END = "done"
"""The type of the event that completes a stream; its data tells how many messages were sent."""

# A server that skips most numbers must not make us keep them all; what is beyond is missing for good.
_MOST_HOLES = 10_000


class Tally:
    """
    Counts one stream's messages and times its connections.

    Messages are numbered from 1 by their ids, so that it is enough to remember the highest number and the holes
    below it: a run of half an hour must not grow by what it is measured with.

    Args:
        started: When the stream was started, on the event loop's clock.
        numbered: Whether ids are numbers from 1 without a hole; otherwise every message counts as another.
        first_opened: Called when the first connection is open.

    Attributes:
        unique: Different messages received.
        duplicates: Messages received again.
        disorder: Messages that came behind a later one.
        declared: How many messages the server says it has sent, at the end.
        complete: Whether the end was received.
        gaps: Gaps that the client reported.
        recoveries: Seconds from the notice of each loss to the first new event after it (t4 - t2).  A loss that
            was never made good counts with the time it lasted.
        reopenings: Seconds from the same notice to the connection that brought that event (t3 - t2).
        silences: Seconds from the last byte before the loss to that event (t4 - t1).
        attempts: Seconds that each attempt took, its delay included, whether it succeeded or not.
        connections: Connections opened.
        opened_after: Seconds from the start to the first open connection, or `None`.
        failure: What ended the stream before its time, as text.
    """

    def __init__(
        self, *, started: float, numbered: bool = True, first_opened: Callable[[], None] | None = None
    ) -> None:
        self.unique: int = 0
        self.duplicates: int = 0
        self.disorder: int = 0
        self.declared: int | None = None
        self.complete: bool = False
        self.gaps: int = 0
        self.recoveries: list[float] = []
        self.reopenings: list[float] = []
        self.silences: list[float] = []
        self.attempts: list[float] = []
        self.connections: int = 0
        self.opened_after: float | None = None
        self.failure: str | None = None
        self._started = started
        self._numbered = numbered
        self._first_opened = first_opened
        self._ended: float | None = None
        self._highest = 0
        self._holes: set[int] = set()
        self._open_since: float | None = None
        self._open_for = 0.0
        self._lost_at: float | None = None
        self._attempt_since: float | None = None

    @property
    def open(self) -> bool:
        """Whether a connection is open."""
        return self._open_since is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended is not None

    @property
    def reconnecting(self) -> bool:
        """Whether a connection was lost and none is open yet."""
        return self._ended is None and self.connections > 0 and self._open_since is None

    @property
    def connected(self) -> float:
        """For how many seconds a connection was open; after the end."""
        return self._open_for

    @property
    def lifetime(self) -> float:
        """
        For how many seconds a connection should have been open; after the end.

        It counts from the first connection: what comes before is the opening, and has figures of its own.  A
        stream that never got a connection should have had one all the time.
        """
        end = self._started if self._ended is None else self._ended
        return end - self._started - (self.opened_after or 0.0)

    def event(self, event: ServerSentEvent) -> None:
        """Take note of a delivered event."""
        if event.event == END:
            self.complete = True
            self.declared = _declared(event.data)
        else:
            self._number(event.id)

    def fact(self, fact: Fact) -> None:
        """Take note of a recovery; other facts come as events and changes."""
        # One from before the first connection belongs to the opening.
        if isinstance(fact, Recovery) and self._lost_at is not None:
            self.recoveries.append(fact.recovery)
            self.reopenings.append(fact.reconnected)
            self.silences.append(fact.silence)
            self._lost_at = None

    def change(self, change: StateChange) -> None:
        """Take note of a change of state."""
        if change.new is StreamState.WAITING:
            return  # it is a notice; what is open is open, and an attempt goes on
        now = change.at
        if self._attempt_since is not None:
            self.attempts.append(now - self._attempt_since)
            self._attempt_since = None
        if change.is_up:
            if self._open_since is None:
                self._opened(now)
            return
        if self._open_since is not None:
            self._open_for += now - self._open_since
            self._open_since = None
        if change.new is StreamState.RECONNECTING:
            self._attempt_since = now
            if self._lost_at is None and self.connections:
                self._lost_at = now
        elif change.new in (StreamState.CLOSED, StreamState.ERROR):
            self.end(now)

    def gap(self, gap: Gap) -> None:
        """Take note of a loss that the client reports; a server that has forgotten everything numbers anew."""
        self.gaps += 1
        if gap.kind == "reset":
            self._highest = 0
            self._holes.clear()

    def end(self, now: float) -> None:
        """Take note that nothing more will come; the first time counts."""
        if self._ended is not None:
            return
        self._ended = now
        if self._open_since is not None:
            self._open_for += now - self._open_since
            self._open_since = None
        if self._lost_at is not None and not self.complete:
            self.recoveries.append(now - self._lost_at)
        self._lost_at = None

    def _opened(self, now: float) -> None:
        self._open_since = now
        self.connections += 1
        if self.opened_after is None:
            self.opened_after = now - self._started
            if self._first_opened is not None:
                self._first_opened()

    def _number(self, event_id: str | None) -> None:
        if not self._numbered:
            self.unique += 1
            return
        if event_id is None or not event_id.isdigit():
            return  # a notice of the server's, such as that history is gone; the client reports the gap itself
        number = int(event_id)
        if number > self._highest:
            if len(self._holes) < _MOST_HOLES:
                self._holes.update(range(self._highest + 1, min(number, self._highest + 1 + _MOST_HOLES)))
            self._highest = number
            self.unique += 1
        elif number in self._holes:
            self._holes.remove(number)
            self.disorder += 1
            self.unique += 1
        else:
            self.duplicates += 1


def _declared(data: str) -> int | None:
    """Read the number of messages out of the data of the last event."""
    try:
        told: Any = json.loads(data)
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    total: Any = cast("dict[str, Any]", told).get("total")
    return total if isinstance(total, int) else None
