"""
Figures on their way to something that has to be fed.

Theory of operation.  What is fed may block, as disks and clients do, so no event loop feeds it: a thread does,
every so often, for as long as there are streams, and once more when the process ends.  It keeps its feeder alive
meanwhile, and belongs to one process: after a fork the child starts afresh.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, TypeVar
from weakref import WeakSet

from resilient_sse._client.log import logger
from resilient_sse._core.ports import Observer
from resilient_sse._core.stats import StreamStats
from resilient_sse.metrics.catalogue import Kind, Metric
from resilient_sse.metrics.figures import Exporter, Figures, Key, Sums, Values
from resilient_sse.metrics.labels import Labels

EXIT_SECONDS: Final = 2.0
"""How long the end of a process waits for the last feeding, all feeders together."""


class Feeder(Figures):
    """Feeds what has changed, every *interval* seconds; with `None` no thread does, but who calls `flush`."""

    def __init__(self, name: str, labels: Labels, interval: float | None) -> None:
        self._name = name
        self._interval = interval
        self.failures: int = 0
        """How many feedings of the thread have failed; what was not taken is tried again."""
        super().__init__(labels)
        _all.add(self)

    def _start_over(self) -> None:
        super()._start_over()
        self._feeding = threading.Lock()
        self._told: defaultdict[tuple[Values, Key], float] = defaultdict(float)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = self._failing = False

    @abstractmethod
    def _feed(self, sums: Sums) -> None:
        """Feed what has changed."""

    def attach(self, stats: StreamStats, labels: Values) -> Observer:
        """Return the observer of a new stream, whose figures are fed from now on."""
        observer = super().attach(stats, labels)
        with self._starting:
            if self._thread is None and self._interval is not None:
                thread = threading.Thread(target=self._run, name=f"resilient_sse {self._name}", daemon=True)
                try:
                    thread.start()
                    self._thread = thread
                except RuntimeError:  # no more threads: the stream goes on, and the next one tries again
                    logger.exception("%s cannot hand over the figures", self._name)
        return observer

    def flush(self) -> None:
        """Feed what has changed, in the calling thread; what was not taken is fed the next time."""
        self._own()
        with self._feeding:
            self._feed(self.sums())

    def _rises(self, sums: Sums) -> Iterator[tuple[Metric, Values, Values, float]]:
        """Yield each counter that has risen: the metric, the values of its own labels, the program's, the rise."""
        for labels, known in sums.items():
            for key, value in known.items():
                metric, own = key
                if metric.kind is Kind.COUNTER and value > self._told[labels, key]:
                    yield metric, own, labels, value - self._told[labels, key]
                    self._told[labels, key] = value  # not if the caller's loop has failed over it

    def finish(self) -> threading.Thread | None:
        """Have everything fed for the last time; return the thread that does it, if it runs."""
        if self._pid != os.getpid():
            return None  # a child that has had no streams has nothing to feed
        self._ending = True
        self._wake.set()
        return self._thread

    def _run(self) -> None:
        over = False
        while not over:
            self._wake.wait(self._interval)
            self._wake.clear()
            over = self._ending  # before the feeding, so that nothing is left out
            try:
                self.flush()
                self._failing = False
            except Exception:  # noqa: BLE001 - whatever ails what is fed, the streams go on
                self.failures += 1
                if not self._failing:
                    logger.exception("%s cannot hand over the figures", self._name)
                self._failing = True
            with self._starting:
                over = over or not self.attached
                if over:
                    self._thread = None


FeederT = TypeVar("FeederT", bound=Feeder)


class FedExporter(Exporter[FeederT]):
    """An instrument whose figures are fed."""

    @property
    def failures(self) -> int:
        """How many times the figures could not be handed over; what was not taken is tried again."""
        return self._figures.failures

    def flush(self) -> None:
        """
        Hand over the figures now, in the calling thread, however long that takes.

        Raises:
            Exception: What takes them raises.
        """
        self._figures.flush()


_all: Final[WeakSet[Feeder]] = WeakSet()


@atexit.register
def _finish() -> None:
    """Give the threads a moment; they die with the process."""
    deadline = time.monotonic() + EXIT_SECONDS
    for thread in [feeder.finish() for feeder in list(_all)]:
        if thread is not None:
            thread.join(max(deadline - time.monotonic(), 0.0))
