"""
Figures for Datadog: `ResilientStream(url, observers=[DatadogMetrics()])`.

It needs the extra `datadog`: `pip install 'resilient-sse[datadog]'`.

Theory of operation.  The client packs and sends; what it is given are increments since the last time, values of
gauges, and durations, which are rare and wait in a queue.  It is the program's own, so it is used as it is set up:
one that looks up a host, or waits for a socket, does so in the thread of the feeder.
"""

from __future__ import annotations

from collections import deque
from math import isfinite
from types import NoneType
from typing import Final
from weakref import WeakValueDictionary

from resilient_sse._client.log import logger
from resilient_sse._core.checks import check
from resilient_sse.metrics.catalogue import RECOVERY, Kind, Metric
from resilient_sse.metrics.feeding import FedExporter, Feeder
from resilient_sse.metrics.figures import Sums, Values
from resilient_sse.metrics.labels import Labels, LabelValues

try:
    from datadog.dogstatsd.base import DogStatsd
    from datadog.dogstatsd.base import statsd as default_statsd
except ModuleNotFoundError as _exc:
    _text = f"metrics for Datadog need {_exc.name}: pip install 'resilient-sse[datadog]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

__all__ = ["DatadogMetrics"]

MAX_WAITING: Final = 100_000
"""How many durations may wait to be sent: those of a fleet that reconnects, and ten megabytes."""


class _Sender(Feeder):
    """The figures of many streams on their way to one client."""

    def __init__(self, statsd: DogStatsd, labels: Labels, interval: float) -> None:
        super().__init__("DatadogMetrics", labels, interval)
        self._statsd = statsd
        self.dropped: int = 0
        """How many durations there was no room for."""

    def _start_over(self) -> None:
        super()._start_over()
        self._waiting: deque[tuple[Metric, Values, float]] = deque()

    def observe(self, metric: Metric, labels: Values, value: float) -> None:
        if metric is RECOVERY:  # the same as `sse_reconnect_time_ms`; each metric has its price
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((metric, labels, value))
            return
        self.dropped += 1
        if self.dropped == 1:
            logger.error(
                "durations are dropped: the client of DogStatsD has not taken %d of them", MAX_WAITING
            )

    def _feed(self, sums: Sums) -> None:
        with self._statsd:  # packs what is sent
            for metric, own, labels, rise in self._rises(sums):
                self._statsd.count(metric.name, int(rise), self._tags(metric, own, labels))
            for labels, known in sums.items():
                for (metric, own), value in known.items():
                    if metric.kind is Kind.GAUGE:
                        self._statsd.gauge(metric.name, value, self._tags(metric, own, labels))
            while self._waiting:
                metric, labels, value = self._waiting[0]
                self._statsd.distribution(metric.name, value, self._tags(metric, (), labels))
                self._waiting.popleft()

    def _tags(self, metric: Metric, own: Values, labels: Values) -> list[str] | None:
        names = (*metric.labels, *self.labels.names) if own else self.labels.names
        return [f"{name}:{value}" for name, value in zip(names, (*own, *labels), strict=True)] or None


# A sender keeps its client alive, so the id of the client stays its own.
_senders: WeakValueDictionary[tuple[int, Labels, float], _Sender] = WeakValueDictionary()


class DatadogMetrics(FedExporter[_Sender]):
    """
    An instrument for `observers=`: sends the figures of its streams to the agent of Datadog, by DogStatsD.

    One object serves any number of streams, in any threads and event loops; it may as well be made anew for each.
    A thread sends what has changed, every *interval* seconds and when the process ends; it lives as long as there
    are streams.  No stream ever waits for the agent, and what is sent while there is none is lost.

    Args:
        statsd: The client; by default that of the package, which `datadog.initialize` configures.
        labels: At most three labels of your own with the values they may take, such as
            `{"network": ["4g", "wifi"]}`, sent as tags.  They are set by `labelled`; what is not declared is
            `other`.
        interval: Seconds between two sendings.

    Raises:
        TypeError: *statsd* is no client, *interval* no number, or *labels* is not a mapping of strings to
            collections of strings.
        ValueError: There are too many labels or values, one of them is not allowed, or *interval* is not positive.
    """

    def __init__(
        self, statsd: DogStatsd | None = None, *, labels: LabelValues | None = None, interval: float = 10.0
    ) -> None:
        wanted = "a client such as datadog.DogStatsd('127.0.0.1', 8125), or None for datadog.statsd"
        check("statsd", statsd, (DogStatsd, NoneType), wanted)
        positive = "a positive number of seconds"
        check("interval", interval, (int, float), positive, lambda seconds: isfinite(seconds) and seconds > 0)
        client = default_statsd if statsd is None else statsd
        super().__init__(
            labels,
            _senders,
            lambda made: (id(client), made, interval),
            lambda made: _Sender(client, made, interval),
        )

    @property
    def dropped(self) -> int:
        """How many durations were dropped because too many were waiting to be sent."""
        return self._figures.dropped
