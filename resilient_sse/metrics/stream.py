"""The figures of one stream: its own counters, and what only the facts tell."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.outage import reason_of
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import Category, Reason, StateChange, StreamState
from resilient_sse.metrics import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse._core.ports import Fact
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.catalogue import Metric

__all__ = ["COLUMNS", "Observe", "StreamFigures"]

_SILENT: Final = (Reason.STALL, Reason.EVENT_TIMEOUT)

# The order is that in which the client counts, so that a read from another thread never sees an effect without
# its cause.
_COUNTED: Final[dict[str, tuple[Metric, tuple[str, ...]]]] = {
    "delivered": (catalogue.EVENTS_DELIVERED, ()),
    "duplicates": (catalogue.DUPLICATE_EVENTS, ()),
    "filtered": (catalogue.EVENTS_FILTERED, ()),
    "heartbeats": (catalogue.HEARTBEATS, ()),
    "connection_errors": (catalogue.USER_VISIBLE_ERRORS, (Category.CONNECTION_LOST.value,)),
    "server_errors": (catalogue.USER_VISIBLE_ERRORS, (Category.SERVER_ERROR.value,)),
    "retries_exhausted": (catalogue.USER_VISIBLE_ERRORS, (Category.MAX_RETRIES.value,)),
    "stalls": (catalogue.STALLS, ()),
    "lost": (catalogue.MESSAGE_LOSS, ()),
    "unknown_losses": (catalogue.UNKNOWN_LOSSES, ()),
    "id_conflicts": (catalogue.ID_CONFLICTS, ()),
    "unusable_ids": (catalogue.UNUSABLE_IDS, ()),
    "partial": (catalogue.PARTIAL_EVENTS, ()),
    "connections": (catalogue.CONNECTIONS, ()),
    "failed_attempts": (catalogue.FAILED_ATTEMPTS, ()),
    "callback_errors": (catalogue.CALLBACK_ERRORS, ()),
    "bytes_received": (catalogue.RECEIVED_BYTES, ()),
}
_read: Final[Callable[[object], tuple[int, ...]]] = attrgetter(*_COUNTED)

_KINDS: Final = catalogue.GAPS.labels["kind"]
_REASONS: Final = catalogue.RECONNECTS.labels["reason"]

COLUMNS: Final[tuple[tuple[Metric, tuple[str, ...]], ...]] = (
    *_COUNTED.values(),
    (catalogue.TOTAL_EVENTS_RECEIVED, ()),
    (catalogue.EVENTS_RECEIVED, ()),
    (catalogue.STREAMS_STARTED, ()),
    (catalogue.STREAMS_WITH_ERRORS, ()),
    (catalogue.OUTAGES, ()),
    (catalogue.REPEATED_STALLS, ()),
    (catalogue.EXPECTED_EVENTS, ()),
    (catalogue.EXPECTED_EVENTS_RECEIVED, ()),
    *((catalogue.GAPS, (kind,)) for kind in _KINDS),
    *((catalogue.RECONNECTS, (reason,)) for reason in _REASONS),
)
"""What each column of a row is: a counter, and the values of its own labels."""


class Observe(Protocol):
    """Takes the durations."""

    def __call__(self, metric: Metric, labels: tuple[str, ...], value: float, /) -> None:
        """Add *value*, in the unit of *metric*, under the program's *labels*."""
        ...


class StreamFigures:
    """
    What is known of one stream; it knows nothing of the stream itself, and does not keep it alive.

    Args:
        stats: The stream's counters, as they go on.
        labels: The values of the program's labels.
        observe: Takes the durations.
        clock: Seconds that never go back.
    """

    def __init__(
        self, stats: StreamStats, labels: tuple[str, ...], observe: Observe, clock: Callable[[], float]
    ) -> None:
        self.stats = stats
        """The stream's counters."""
        self.labels = labels
        self._observe = observe
        self._clock = clock
        self.begun: bool = False
        """Whether the first event was seen."""
        self.state: StreamState = StreamState.CONNECTING
        """Where the stream stands."""
        self.ended_at: float | None = None
        """When it was closed."""
        self._opened_at: float | None = None
        self._openings = 0
        self._reason: str | None = None
        self._outages = 0
        self._out = False  # whether the present outage was shown
        self._gaps = dict.fromkeys(_KINDS, 0)
        self._reconnects = dict.fromkeys(_REASONS, 0)
        self._frozen = self._shown = (0, 0)

    @property
    def open(self) -> bool:
        """Whether it was iterated, and is not closed."""
        return self.stats.started_at is not None and self.ended_at is None

    def take(self, fact: Fact) -> None:
        """Take note of *fact*."""
        match fact:
            case StateChange():
                self._changed(fact)
            case Recovery():
                self._recovered(fact)
            case Gap():
                self._gaps[fact.kind] += 1
                if fact.missing is None and self.stats.unknown_losses == 1:
                    self._frozen = _contiguous(self.stats)
            case ServerSentEvent():
                self.begun = True
                if self.stats.time_to_first_event is not None:
                    self._tell(catalogue.TIME_TO_FIRST_EVENT, self.stats.time_to_first_event)
            case _:
                pass

    def row(self) -> tuple[int, ...]:
        """
        Return the counters as `COLUMNS` names them.

        What was received is the sum of its parts, so that it agrees with them in the midst of an event, too.
        """
        stats = self.stats
        counted = _read(stats)
        delivered, duplicates, filtered, heartbeats, *errors, stalls = counted[:8]
        data = delivered + duplicates + filtered
        known = self.known()
        # A counter must not fall when a stream's completion becomes unknown: what was known stays.
        sent, arrived = map(max, known, self._frozen, self._shown)
        self._shown = sent, arrived
        return (
            *counted,
            data,
            data + heartbeats,
            int(stats.started_at is not None),
            int(any(errors)),
            self._outages,
            max(stalls - 1, 0),
            *self._shown,
            *self._gaps.values(),
            *self._reconnects.values(),
        )

    def known(self) -> tuple[int, int]:
        """Return how many events were sent and how many of them arrived; zeros where nobody can know."""
        stats = self.stats
        total = stats.declared_total
        if total is not None:  # the event that declared it is not part of it
            return total, max(min(stats.delivered + stats.filtered - 1, total), 0)
        if stats.unknown_losses:
            return 0, 0
        return _contiguous(stats)

    def _changed(self, change: StateChange) -> None:
        was_up, is_up = change.was_up, change.is_up
        self.state = change.new
        if change.new is StreamState.CLOSED:
            self.ended_at = self._clock()
        if is_up and not was_up:
            self._opened(change)
        elif was_up and not is_up and self._opened_at is not None:
            self._tell(catalogue.CONNECTION_LIFETIME, change.at - self._opened_at)
            self._opened_at = None
        if change.new in (StreamState.RECONNECTING, StreamState.ERROR) and self._reason is None:
            self._reason = _reason(change)
        # An outage that the program wanted, by a restart, is shown if the attempts after it fail.
        if change.category is not None and not self._out:
            self._outages += 1
            self._out = True

    def _opened(self, change: StateChange) -> None:
        self._opened_at = change.at
        self._openings += 1
        if self._openings > 1 and self._reason in self._reconnects:
            self._reconnects[self._reason] += 1
        self._reason = None
        self._out = False

    def _recovered(self, recovery: Recovery) -> None:
        self._tell(catalogue.RECONNECT_TIME_MS, recovery.recovery * 1000)
        self._tell(catalogue.RECOVERY, recovery.recovery)
        self._tell(catalogue.SILENCE, recovery.silence)
        self._tell(catalogue.REOPENING, recovery.reconnected)
        if recovery.reason in _SILENT:
            self._tell(catalogue.STALL_RECOVERY, recovery.recovery)

    def _tell(self, metric: Metric, value: float) -> None:
        self._observe(metric, self.labels, value)


def _contiguous(stats: StreamStats) -> tuple[int, int]:
    """Return what ids without a break show: how many numbered events were sent, and how many arrived."""
    arrived = stats.numbered
    return arrived + stats.lost, arrived


def _reason(change: StateChange) -> str:
    """Tell why a connection was lost, even if that was the last straw."""
    cause = change.error.__cause__ if change.error is not None else None
    if change.reason is Reason.RETRIES and isinstance(cause, ResilientSSEError):
        return reason_of(cause).value
    return change.reason.value
