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
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.states import StreamState
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import Kind, Metric
from resilient_sse.metrics.stream import COLUMNS, Observe, StreamFigures

if TYPE_CHECKING:
    from resilient_sse._core.ports import Fact, Observer
    from resilient_sse._core.stats import StreamStats

__all__ = ["RECENT", "Figures", "Increments", "Key", "Sums", "Values"]

Values: TypeAlias = tuple[str, ...]
"""The values of labels, in the order of their names."""
Key: TypeAlias = tuple[Metric, Values]
"""A metric, and the values of its own labels."""
Sums: TypeAlias = dict[Values, dict[Key, float]]
"""For each combination of the program's labels, the value of every counter and gauge that is known."""

RECENT: Final = 300.0
"""For how many seconds a stream that has ended counts in `sse_stream_completion_rate`."""
_STEP: Final = 10.0  # ended streams are forgotten in steps of so many seconds

_STATES: Final = catalogue.STREAMS.labels["state"]


class StreamObserver:
    """
    The observer of one stream.

    Args:
        figures: Where its facts are noted.
    """

    __slots__ = ("__weakref__", "_figures")

    def __init__(self, figures: StreamFigures) -> None:
        self._figures = figures

    def __call__(self, fact: Fact, /) -> None:
        """Take note of *fact*; of an event, the first of its stream aside, there is nothing to note."""
        if fact.__class__ is ServerSentEvent and self._figures.begun:
            return
        self._figures.take(fact)


class Figures:
    """
    The sums over all streams that were attached.

    Args:
        observe: Is given each duration: the metric, the values of the program's labels, and the duration.
        known: Combinations of the program's labels that are shown before a stream has them.
        clock: Seconds that never go back, the same in every thread.
    """

    def __init__(
        self,
        observe: Observe,
        *,
        known: Collection[Values] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observe = observe
        self._clock = clock
        self._known = known
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._keys = count()
        self._live: dict[int, tuple[StreamFigures, weakref.ref[StreamObserver]]] = {}
        self._gone: deque[int] = deque()
        self._attached: set[int] = set()  # ids of counters that are kept in `_live`
        self._dead: dict[Values, tuple[int, ...]] = dict.fromkeys(self._known, (0,) * len(COLUMNS))
        self._ended: dict[tuple[float, Values], tuple[int, int]] = {}

    @property
    def attached(self) -> int:
        """How many streams there are."""
        return len(self._live)

    def attach(self, stats: StreamStats, labels: Values = ()) -> Observer:
        """Return the observer of a new stream."""
        self._own()
        if id(stats) in self._attached:
            return _deaf  # told twice of one stream, an exporter would count everything twice
        self._attached.add(id(stats))
        figures = StreamFigures(stats, labels, self._observe, self._clock)
        observer = StreamObserver(figures)
        key, gone = next(self._keys), self._gone
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
        with self._lock:
            self._bury()
            streams = [figures for figures, _ in list(self._live.values())]
            rows: defaultdict[Values, list[tuple[int, ...]]] = defaultdict(list)
            for labels, row in self._dead.items():
                rows[labels].append(row)
            for figures in streams:
                rows[figures.labels].append(figures.row())
            recent = self._recent(streams)
        sums: Sums = {labels: dict(zip(COLUMNS, _added(some), strict=True)) for labels, some in rows.items()}
        states = Counter((figures.labels, figures.state) for figures in streams if figures.open)
        for labels, known in sums.items():
            for state in _STATES:
                known[catalogue.STREAMS, (state,)] = states[labels, StreamState(state)]
            known.update(_completion(*recent.get(labels, (0, 0))))
        return sums

    def _own(self) -> None:
        """Start over after a fork: the streams are the parent's, which counts them, and so may be the lock."""
        if os.getpid() != self._pid:
            self._start_over()

    def _bury(self) -> None:
        """Move streams that are gone to the totals; the caller holds the lock."""
        while self._gone:
            figures, _ = self._live.pop(self._gone.popleft())
            labels, row = figures.labels, figures.row()
            self._attached.discard(id(figures.stats))
            self._dead[labels] = _added([self._dead[labels], row]) if labels in self._dead else row
            ended = self._clock() if figures.ended_at is None else figures.ended_at
            step = ended // _STEP, labels
            self._ended[step] = _both(self._ended.get(step), figures.known())

    def _recent(self, streams: list[StreamFigures]) -> dict[Values, tuple[int, int]]:
        """Add up what was sent and what arrived, over the streams that are open or ended lately."""
        oldest = self._clock() - RECENT
        for step, labels in list(self._ended):
            if (step + 1) * _STEP < oldest:
                del self._ended[step, labels]
        recent: dict[Values, tuple[int, int]] = {}
        for (_, labels), known in self._ended.items():
            recent[labels] = _both(recent.get(labels), known)
        for figures in streams:
            if figures.ended_at is None or figures.ended_at >= oldest:
                recent[figures.labels] = _both(recent.get(figures.labels), figures.known())
        return recent


class Increments:
    """Turns sums into increments, for exporters that push: each part of a counter is told once."""

    def __init__(self) -> None:
        self._told: defaultdict[tuple[Values, Key], float] = defaultdict(float)

    def of(self, sums: Sums) -> Iterator[tuple[Metric, Values, Values, float]]:
        """Yield each counter that has risen: the metric, the values of its own labels, the program's, the rise."""
        for labels, known in sums.items():
            for key, value in known.items():
                metric, own = key
                if metric.kind is Kind.COUNTER and value > self._told[labels, key]:
                    increment = value - self._told[labels, key]
                    yield metric, own, labels, increment
                    self._told[labels, key] = value  # not if the caller's loop has failed over it


def _deaf(_fact: Fact, /) -> None:
    """Take note of nothing."""


def _added(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def _both(some: tuple[int, int] | None, more: tuple[int, int]) -> tuple[int, int]:
    return more if some is None else (some[0] + more[0], some[1] + more[1])


def _completion(sent: int, unique: int) -> dict[Key, float]:
    shown: dict[Key, float] = {
        (catalogue.RECENT_EXPECTED_EVENTS, ()): sent,
        (catalogue.RECENT_EXPECTED_EVENTS_RECEIVED, ()): unique,
    }
    if sent:
        shown[catalogue.STREAM_COMPLETION_RATE, ()] = unique / sent * 100
    return shown
