"""
What sends the figures to DogStatsD.

Theory of operation.  Clients of DogStatsD may look up a host, or wait for a socket, so no event loop calls them: a
thread does, every so often, and sends all increments since the last time in a few packets.  Durations, which are
rare, wait for it in a queue of bounded length.  The thread lives as long as there are streams, keeps the sender
alive while it does, and belongs to one process: after a fork the child starts afresh.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from resilient_sse._client.log import logger
from resilient_sse.metrics.catalogue import Kind
from resilient_sse.metrics.faults import Faulty
from resilient_sse.metrics.figures import Figures, Increments

if TYPE_CHECKING:
    from resilient_sse._core.ports import Observer
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.metrics.datadog import StatsD
    from resilient_sse.metrics.labels import Labels

__all__ = ["EXIT_SECONDS", "MAX_WAITING", "Sender"]

MAX_WAITING: Final = 10_000
"""How many durations may wait to be sent."""
_MANY: Final = 1000  # waiting durations that are worth a sending before its time
EXIT_SECONDS: Final = 2.0
"""How long the end of a process waits for the last sending, all clients together."""


class Sender:
    """
    Sends the figures of many streams to one client.

    Args:
        statsd: The client.
        labels: The program's labels.
        interval: Seconds between two sendings.
    """

    def __init__(self, statsd: StatsD, labels: Labels, interval: float) -> None:
        self._statsd = statsd
        self._names = labels.names
        self._interval = interval
        self.figures: Figures = Figures(self._observe, known=labels.known)
        """Where streams are attached."""
        self.failures: int = 0
        """How many sendings have failed."""
        self.dropped: int = 0
        """How many durations there was no room for."""
        self._start_over()
        _all.add(self)

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._sending = threading.Lock()
        self._increments = Increments()
        self._waiting: deque[tuple[Metric, tuple[str, ...], float]] = deque()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = False
        self._failing = False

    def attach(self, stats: StreamStats, labels: tuple[str, ...]) -> Observer:
        """Return the observer of a new stream, and have its figures sent from now on."""
        self._own()
        observer = self.figures.attach(stats, labels)
        try:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="resilient_sse datadog", daemon=True)
                    thread.start()
                    self._thread = thread
        except RuntimeError as exc:  # no more threads: the stream goes on
            return Faulty("DatadogMetrics", exc, observer)
        return observer

    def flush(self) -> None:
        """
        Send what has changed; what the client did not take is sent the next time.

        Raises:
            Exception: What the client raises.
        """
        self._own()
        with self._sending:
            self._statsd.open_buffer()
            try:
                self._send()
            finally:
                self._statsd.close_buffer()

    def finish(self) -> threading.Thread | None:
        """Have everything sent for the last time; return the thread that does it, if it runs."""
        if self._pid != os.getpid():
            return None
        self._ending = True
        self._wake.set()
        return self._thread

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._start_over()

    def _send(self) -> None:
        sums = self.figures.sums()
        for metric, own, labels, increment in self._increments.of(sums):
            self._statsd.count(metric.name, int(increment), self._tags(metric, own, labels))
        for labels, known in sums.items():
            for (metric, own), value in known.items():
                if metric.kind is Kind.GAUGE:
                    self._statsd.gauge(metric.name, value, self._tags(metric, own, labels))
        while self._waiting:
            metric, labels, value = self._waiting[0]
            self._statsd.distribution(metric.name, value, self._tags(metric, (), labels))
            self._waiting.popleft()

    def _tags(self, metric: Metric, own: tuple[str, ...], labels: tuple[str, ...]) -> list[str] | None:
        names, values = (*metric.labels, *self._names), (*own, *labels)
        return [f"{name}:{value}" for name, value in zip(names, values, strict=True)] or None

    def _observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((metric, labels, value))
            if len(self._waiting) == _MANY:
                self._wake.set()
            return
        self.dropped += 1
        if self.dropped == 1:
            logger.error(
                "durations are dropped: the client of DogStatsD has not taken %d of them", MAX_WAITING
            )

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval)
            self._wake.clear()
            last = self._ending  # before the sending, so that nothing is left out
            self._try_to_send()
            with self._starting:
                if last or not self.figures.attached:
                    self._thread = None
                    return

    def _try_to_send(self) -> None:
        try:
            self.flush()
        except Exception:  # noqa: BLE001 - whatever ails the client, the streams go on
            self.failures += 1
            if not self._failing:
                logger.exception("figures cannot be sent to Datadog")
            self._failing = True
        else:
            self._failing = False


_all: WeakSet[Sender] = WeakSet()


@atexit.register
def _finish() -> None:
    """Give the threads a moment to send what is left; they die with the process."""
    deadline = time.monotonic() + EXIT_SECONDS
    threads = [sender.finish() for sender in list(_all)]
    for thread in threads:
        if thread is not None:
            thread.join(max(deadline - time.monotonic(), 0.0))
