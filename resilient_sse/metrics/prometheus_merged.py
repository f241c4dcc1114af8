"""One registry for the figures of all processes of prometheus-client's multi-process mode."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from resilient_sse.metrics import catalogue

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric as Family

    from resilient_sse.metrics.catalogue import Metric

__all__ = ["merged_registry"]

_Values: TypeAlias = dict[tuple[tuple[str, str], ...], float]

_DATA: Final = (catalogue.EVENTS_DELIVERED, catalogue.DUPLICATE_EVENTS, catalogue.EVENTS_FILTERED)
_PARTS: Final = {
    catalogue.TOTAL_EVENTS_RECEIVED: _DATA,
    catalogue.EVENTS_RECEIVED: (*_DATA, catalogue.HEARTBEATS),
}
"""What is a sum by definition.  The files are read while they are being written: the sum is made here anew."""


def merged_registry(path: str | None = None) -> CollectorRegistry:
    """
    Return a registry that shows the figures of all processes of multi-process mode, added up.

    It shows whatever else is in the directory, too, as `MultiProcessCollector` does.  What that one cannot do is
    divide: this registry has `sse_stream_completion_rate`, over all processes that live.

    Args:
        path: The directory, by default `PROMETHEUS_MULTIPROC_DIR`.

    Raises:
        ValueError: It is no directory.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(MultiProcessCollector(None, path)))  # type: ignore[no-untyped-call]
    return registry


class _Merged(Collector):
    """Adds up, and divides."""

    def __init__(self, processes: Collector) -> None:
        self._processes = processes

    def describe(self) -> Iterable[Family]:
        """Name nothing: what the directory holds is known at each scrape only."""
        return []

    @override
    def collect(self) -> Iterable[Family]:
        """Read all files."""
        families = {family.name: family for family in self._processes.collect()}
        known = {metric: _values(metric, families) for metric in catalogue.METRICS}
        for metric, parts in _PARTS.items():
            for sample, labels in _samples(metric, families):
                whole = sum(known[part].get(labels, 0.0) for part in parts)
                family = families[_family_name(metric)]
                family.samples[family.samples.index(sample)] = sample._replace(value=whole)
        rate = _rate(known)
        return [*families.values(), *([rate] if rate.samples else [])]


def _family_name(metric: Metric) -> str:
    return metric.name.removesuffix("_total")


def _samples(metric: Metric, families: dict[str, Family]) -> list[tuple[Sample, tuple[tuple[str, str], ...]]]:
    family = families.get(_family_name(metric))
    samples = [] if family is None else family.samples
    return [
        (sample, tuple(sorted(sample.labels.items()))) for sample in samples if sample.name == metric.name
    ]


def _values(metric: Metric, families: dict[str, Family]) -> _Values:
    return {labels: sample.value for sample, labels in _samples(metric, families)}


def _rate(known: dict[Metric, _Values]) -> GaugeMetricFamily:
    metric = catalogue.STREAM_COMPLETION_RATE
    rate = GaugeMetricFamily(metric.name, metric.help)
    unique = known[catalogue.RECENT_EXPECTED_EVENTS_RECEIVED]
    for labels, sent in known[catalogue.RECENT_EXPECTED_EVENTS].items():
        if sent:
            share = min(unique.get(labels, 0.0) / sent, 1.0) * 100
            rate.samples.append(Sample(metric.name, dict(labels), share))
    return rate
