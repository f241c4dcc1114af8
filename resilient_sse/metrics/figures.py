"""
The figures of many streams, summed up: what every exporter exports.

Theory of operation.  A stream counts for itself, in `StreamStats`; an exporter reads those counters when it is
asked, so an event costs it next to nothing.  What no counter tells, such as reasons and durations, an observer
takes from the facts, which are rare.

Streams are held weakly: `Figures` keeps the counters of each stream, and learns from a weak reference to its
observer that the stream is gone; then the counters are added to the totals of the dead.  Weak references call
back at any moment, even in the midst of a sum, so the call only leaves a note.  Streams may live in many threads;
nothing that is called from their event loops waits for a lock that a sum holds.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from copy import copy
from itertools import product
from operator import attrgetter
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from resilient_sse._client.locks import free_in_forks
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.outage import reason_of
from resilient_sse._core.ports import Fact, Observer
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import Category, Reason, StateChange, StreamState
from resilient_sse._core.stats import StreamStats, known_events
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import Kind, Metric
from resilient_sse.metrics.labels import Labels, LabelValues

Values: TypeAlias = tuple[str, ...]
"""The values of labels, in the order of their names."""
Key: TypeAlias = tuple[Metric, Values]
"""A metric, and the values of its own labels."""
Sums: TypeAlias = Mapping[Values, dict[Key, float]]
"""For each combination of the program's labels, the value of every counter and gauge that is known."""

RECENT: Final = 300.0
"""For how many seconds a stream that has ended counts in `sse_stream_completion_rate`."""
_STEP: Final = 10.0  # ended streams are forgotten in steps of so many seconds

# The order is that in which the client counts, so that a read from another thread never sees an effect without
# its cause.
_COUNTED: Final[dict[str, Key]] = {
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

_SENT: Final[Key] = (catalogue.RECENT_EXPECTED_EVENTS, ())
_ARRIVED: Final[Key] = (catalogue.RECENT_EXPECTED_EVENTS_RECEIVED, ())

_ZERO: Final[dict[Key, float]] = {
    (metric, own): 0
    for metric in catalogue.METRICS
    if metric.kind is not Kind.HISTOGRAM and metric is not catalogue.STREAM_COMPLETION_RATE
    for own in product(*metric.labels.values())
}
"""What is shown of no streams."""


class _StreamFigures:
    """What is known of one stream; it knows nothing of the stream itself, and does not keep it alive."""

    def __init__(self, stats: StreamStats, labels: Values, owner: Figures) -> None:
        self.stats = stats
        self.labels = labels
        self._owner = owner
        self.begun = False  # whether the first event was seen
        self.state = StreamState.CONNECTING
        self.held_back = False  # by a circuit breaker
        self.ended_at: float | None = None  # when it was closed
        self._opened_at: float | None = None
        self._openings = 0
        self._reason: str | None = None
        self._out = False  # whether the present outage was shown
        self._told: defaultdict[Key, float] = defaultdict(int)  # what no counter of the stream's tells
        # How many events were sent and arrived, the last time that it was known.
        self._known: tuple[int, ...] = (0, 0)

    def take(self, fact: Fact) -> None:
        """Record *fact*."""
        match fact:
            case StateChange():
                self._changed(fact)
            case Recovery():
                self._tell(catalogue.RECONNECT_TIME_MS, fact.recovery * 1000)
                self._tell(catalogue.RECOVERY, fact.recovery)
                self._tell(catalogue.SILENCE, fact.silence)
                self._tell(catalogue.REOPENING, fact.reconnected)
                if fact.reason in (Reason.STALL, Reason.EVENT_TIMEOUT):
                    self._tell(catalogue.STALL_RECOVERY, fact.recovery)
            case Gap():
                self._told[catalogue.GAPS, (fact.kind,)] += 1
                if fact.missing is None and self.stats.unknown_losses == 1:
                    self._known = self.stats.numbered + self.stats.lost, self.stats.numbered
            case ServerSentEvent():
                self.begun = True
                if self.stats.time_to_first_event is not None:
                    self._tell(catalogue.TIME_TO_FIRST_EVENT, self.stats.time_to_first_event)
            case _:
                pass

    def counters(self) -> list[tuple[Key, float]]:
        """
        Return the counters.

        What was received is the sum of its parts, so that it agrees with them in the midst of an event, too.
        """
        stats = self.stats
        counted = _read(stats)
        delivered, duplicates, filtered, heartbeats, *errors, stalls = counted[:8]
        data = delivered + duplicates + filtered
        # A counter must not fall when a stream's completion becomes unknown: what was known stays.
        sent, arrived = self._known = tuple(map(max, known_events(stats), self._known))
        return [
            *zip(_COUNTED.values(), counted, strict=True),
            ((catalogue.TOTAL_EVENTS_RECEIVED, ()), data),
            ((catalogue.EVENTS_RECEIVED, ()), data + heartbeats),
            ((catalogue.STREAMS_STARTED, ()), int(stats.started_at is not None)),
            ((catalogue.STREAMS_WITH_ERRORS, ()), int(any(errors))),
            ((catalogue.REPEATED_STALLS, ()), max(stalls - 1, 0)),
            ((catalogue.EXPECTED_EVENTS, ()), sent),
            ((catalogue.EXPECTED_EVENTS_RECEIVED, ()), arrived),
            *self._told.copy().items(),  # of its own, for the event loop may be in another thread
        ]

    def recent(self) -> Iterable[tuple[Key, float]]:
        """Return what makes up the completion rate: how many events were sent, and how many of them arrived."""
        return zip((_SENT, _ARRIVED), known_events(self.stats), strict=True)

    def _changed(self, change: StateChange) -> None:
        was_up, is_up = change.was_up, change.is_up
        self.state = change.new
        self.held_back = change.reason is Reason.CIRCUIT
        if change.new is StreamState.CLOSED:
            self.ended_at = time.monotonic()
        if is_up and not was_up:
            self._opened_at = change.at
            self._openings += 1
            if self._openings > 1 and self._reason in catalogue.RECONNECTS.labels["reason"]:
                self._told[catalogue.RECONNECTS, (self._reason,)] += 1
            self._reason = None
            self._out = False
        elif was_up and not is_up and self._opened_at is not None:
            self._tell(catalogue.CONNECTION_LIFETIME, change.at - self._opened_at)
            self._opened_at = None
        if change.new in (StreamState.RECONNECTING, StreamState.ERROR) and self._reason is None:
            self._reason = lost_by(change).value
        # An outage that the program wanted, by a restart, is shown if the attempts after it fail.
        if change.category is not None and not self._out:
            self._told[catalogue.OUTAGES, ()] += 1
            self._out = True

    def _tell(self, metric: Metric, value: float) -> None:
        self._owner.observe(metric, self.labels, value)


def lost_by(change: StateChange) -> Reason:
    """Return why a connection or an attempt was lost, even if that was the last straw."""
    cause = change.error.__cause__ if change.error is not None else None
    if change.reason is Reason.RETRIES and isinstance(cause, ResilientSSEError):
        return reason_of(cause)
    return change.reason


class Figures(ABC):
    """The sums over all streams that were attached; *labels* are the program's."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # By the identity of their counters, which are kept as long as the entry.
        self._live: dict[int, tuple[_StreamFigures, weakref.ref[Observer]]] = {}
        self._gone: deque[int] = deque()
        self._dead: defaultdict[Values, dict[Key, float]] = defaultdict(_ZERO.copy)
        # By the time and the program's labels; nobody may ever ask for sums, so it is kept short without.
        self._ended: defaultdict[float, defaultdict[Values, dict[Key, float]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(int))
        )
        if not self.labels.names:  # else nobody knows yet which values there will be
            self._dead[()] = _ZERO.copy()

    @abstractmethod
    def observe(self, metric: Metric, labels: Values, value: float) -> None:
        """Take a duration, in an event loop: the histogram, the program's labels, and the value in its unit."""

    @property
    def attached(self) -> int:
        """How many streams there are."""
        return len(self._live)

    def attach(self, stats: StreamStats, labels: Values) -> Observer:
        """Return the observer of a new stream; a second one of the same stream ignores what it is told."""
        self._own()
        if id(stats) in self._live:
            return ignore  # told twice of one stream, an exporter would count everything twice
        figures = _StreamFigures(stats, labels, self)

        def observer(fact: Fact, /) -> None:
            # Of an event, the first of its stream aside, there is nothing to record.
            if fact.__class__ is not ServerSentEvent or not figures.begun:
                figures.take(fact)

        key, gone = id(stats), self._gone
        self._live[key] = (figures, weakref.ref(observer, lambda _: gone.append(key)))
        if self._lock.acquire(blocking=False):  # else someone is summing up, and does it
            try:
                self._bury()
            finally:
                self._lock.release()
        return observer

    def sums(self) -> Sums:
        """Return what all counters and gauges show now; a gauge that is not known is left out."""
        self._own()
        oldest = time.monotonic() - RECENT
        with self._lock:
            self._bury()
            sums = defaultdict(_ZERO.copy, {labels: total.copy() for labels, total in self._dead.items()})
            for figures, _ in list(self._live.values()):
                shown = sums[figures.labels]
                _add(shown, figures.counters())
                shown[catalogue.STREAMS_HELD_BACK, ()] += figures.held_back
                state = figures.state  # read once: another thread may close the stream meanwhile
                if figures.stats.started_at is not None and state is not StreamState.CLOSED:
                    shown[catalogue.STREAMS, (state.value,)] += 1
                if figures.ended_at is None or figures.ended_at >= oldest:
                    _add(shown, figures.recent())
            for ended in self._ended.values():
                for labels, known in ended.items():
                    _add(sums[labels], known.items())
        for shown in sums.values():
            if shown[_SENT]:
                shown[catalogue.STREAM_COMPLETION_RATE, ()] = shown[_ARRIVED] / shown[_SENT] * 100
        return sums

    def _own(self) -> None:
        """Start over after a fork: the streams are the parent's, which counts them, and so may be the lock."""
        if os.getpid() != self._pid:
            self._start_over()

    def _bury(self) -> None:
        """Move streams that are gone to the totals, and forget what ended long ago; the caller holds the lock."""
        for _ in range(len(self._gone)):  # and no more: streams may come and go as fast as they are moved
            figures, _ = self._live.pop(self._gone.popleft())
            _add(self._dead[figures.labels], figures.counters())
            ended = time.monotonic() if figures.ended_at is None else figures.ended_at
            _add(self._ended[ended // _STEP][figures.labels], figures.recent())
        oldest = time.monotonic() - RECENT
        for step in [step for step in self._ended if (step + 1) * _STEP < oldest]:
            del self._ended[step]


def ignore(_fact: Fact, /) -> None:
    """Record nothing."""


def _add(some: dict[Key, float], more: Iterable[tuple[Key, float]]) -> None:
    for key, value in more:
        if value:
            some[key] += value


FiguresT = TypeVar("FiguresT", bound=Figures)
_sharing: Final = free_in_forks()


class Exporter(Generic[FiguresT]):
    """An instrument whose streams have labels, and which shares its figures with all others of one *key*."""

    def __init__(
        self,
        declared: LabelValues | None,
        shared: MutableMapping[Any, FiguresT],
        key: Callable[[Labels], object],
        make: Callable[[Labels], FiguresT],
    ) -> None:
        self._labels = labels = Labels.of(declared)
        self._values = labels.chosen({})
        with _sharing:
            figures = shared.get(key(labels)) or make(labels)
            shared[key(labels)] = figures
        if figures.labels != labels:
            there = {name: sorted(values) for name, values in figures.labels.declared}
            raise ValueError(
                f"there are metrics of streams with the labels {there} already: make one "
                f"{type(self).__name__} and share it, or give another registry or provider"
            )
        self._figures: FiguresT = figures

    def labelled(self, **values: str) -> Self:
        """
        Return the instrument for streams with these values.

        Args:
            values: By the names of the labels; a value that was not declared becomes `other`.

        Raises:
            ValueError: A name was not declared.
        """
        chosen = copy(self)
        chosen._values = self._labels.chosen(values)  # noqa: SLF001 - a copy of ours
        return chosen

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream; labels that were not set are `other`."""
        return self._figures.attach(stats, self._values)
