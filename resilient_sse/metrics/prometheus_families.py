"""The figures in the form that prometheus-client asks for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from resilient_sse.metrics.catalogue import METRICS, Kind

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric as Family

    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.metrics.figures import Figures, Sums
    from resilient_sse.metrics.histograms import Histograms

__all__ = ["FiguresCollector", "is_plain_counter"]


def is_plain_counter(metric: Metric) -> bool:
    """Whether prometheus-client can show *metric* as a counter: it adds `_total` to the name of every one."""
    return metric.kind is Kind.COUNTER and metric.name.endswith("_total")


class FiguresCollector(Collector):
    """
    A collector: asked at each scrape.

    Args:
        figures: The counters and gauges.
        histograms: The histograms.
        names: The names of the program's labels.
    """

    def __init__(self, figures: Figures, histograms: Histograms, names: tuple[str, ...]) -> None:
        self._figures = figures
        self._histograms = histograms
        self._names = names

    def describe(self) -> Iterable[Family]:
        """Name the metrics, for the registry to see whether the names are free."""
        return list(self._families({}))

    @override
    def collect(self) -> Iterable[Family]:
        """Read everything."""
        return [family for family in self._families(self._figures.sums()) if family.samples]

    def _families(self, sums: Sums) -> Iterator[Family]:
        for metric in METRICS:
            yield (
                self._histogram(metric, sums) if metric.kind is Kind.HISTOGRAM else self._values(metric, sums)
            )

    def _values(self, metric: Metric, sums: Sums) -> Family:
        names = (*metric.labels, *self._names)
        make = CounterMetricFamily if is_plain_counter(metric) else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=names)
        for labels, known in sums.items():
            for (of, own), value in known.items():
                if of is metric:
                    family.add_metric((*own, *labels), float(value))
        return family

    def _histogram(self, metric: Metric, sums: Sums) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=self._names)
        bounds = [*map(repr, metric.buckets), "+Inf"]
        for labels in sums:
            counts, total = self._histograms.cumulated(metric, labels)
            family.add_metric(labels, list(zip(bounds, map(float, counts), strict=True)), total)
        return family
