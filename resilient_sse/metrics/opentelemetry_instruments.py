"""
The figures as instruments of OpenTelemetry.

Theory of operation.  Counters and gauges are observable: OpenTelemetry asks for them when it collects, one
instrument after the other.  All of them are answered from one reading of the figures, so that they agree with each
other.  A collection is seen to be a new one by an instrument that asks again; collections may run in several
threads at once, so each thread has a reading of its own.  Durations are recorded as they come.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import Observation

from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import METRICS, Kind
from resilient_sse.metrics.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.metrics.figures import Sums
    from resilient_sse.metrics.labels import Labels

__all__ = ["EXPORTED", "Instruments", "instrument_name"]

_UNIT_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}

EXPORTED: Final = tuple(metric for metric in METRICS if metric is not catalogue.RECONNECT_TIME_MS)
"""Everything but one: OpenTelemetry counts in base units, and `sse.client.recovery` has the same in seconds."""


def instrument_name(metric: Metric) -> str:
    """
    Return the name of *metric* in OpenTelemetry.

    There a name has neither unit nor kind in it.  Exporters to Prometheus add both, which leads back to the name
    in the catalogue for all but the contract's.
    """
    stem = metric.name.removeprefix("sse_").removeprefix("client_").removesuffix("_total")
    return "sse.client." + stem.removesuffix(_UNIT_SUFFIXES.get(metric.unit, ""))


class Instruments:
    """
    Makes all instruments, and answers for them.

    Args:
        labels: The program's labels.
    """

    def __init__(self, labels: Labels) -> None:
        self._names = labels.names
        self.figures: Figures = Figures(self._record, known=labels.known)
        """Where streams are attached."""
        self._records: dict[Metric, Callable[[float, dict[str, str]], None]] = {}
        self._reading = threading.local()

    def register(self, meter: Meter) -> None:
        """
        Make the instruments.

        Raises:
            Exception: Whatever *meter* has against it.
        """
        for metric in EXPORTED:
            name, callbacks = instrument_name(metric), [self._callback(metric)]
            if metric.kind is Kind.HISTOGRAM:
                histogram = meter.create_histogram(
                    name,
                    unit=metric.unit,
                    description=metric.help,
                    explicit_bucket_boundaries_advisory=metric.buckets,
                )
                self._records[metric] = histogram.record
            elif metric.kind is Kind.COUNTER:
                meter.create_observable_counter(name, callbacks, metric.unit, metric.help)
            elif metric.unit == "%":
                meter.create_observable_gauge(name, callbacks, metric.unit, metric.help)
            else:  # what adds up over processes
                meter.create_observable_up_down_counter(name, callbacks, metric.unit, metric.help)

    def _callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> list[Observation]:
            return [
                Observation(value, self._attributes(labels) | dict(zip(metric.labels, own, strict=True)))
                for labels, known in self._sums(metric).items()
                for (of, own), value in known.items()
                if of is metric
            ]

        return observe

    def _sums(self, metric: Metric) -> Sums:
        reading = self._reading
        if metric in getattr(reading, "shown", (metric,)):
            reading.shown = set[object]()
            reading.sums = self.figures.sums()
        reading.shown.add(metric)
        sums: Sums = reading.sums
        return sums

    def _record(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        record = self._records.get(metric)
        if record is not None:
            record(value, self._attributes(labels))

    def _attributes(self, labels: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self._names, labels, strict=True))
