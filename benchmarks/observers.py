"""
What an observer or an exporter costs per event, beside none.

    python benchmarks/observers.py

The same events are told to a stream's observers, with one exporter after the other; they take turns, and the
median of the turns is printed.  Read the differences; the absolute figures are the machine's.  The exporters take
most figures from the counters that a stream keeps anyway, so the cost of collecting them is shown, too: one
scrape, or one reading, of a thousand streams.

P28 (an exporter costs less than 2 microseconds per event) is judged at the end; the exit status tells.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from resilient_sse import ServerSentEvent
from resilient_sse._client.callbacks import Callbacks
from resilient_sse._core.stats import StreamStats

EVENTS = 50_000
TURNS = 9
URL = "https://host/stream"
STREAMS = 1000
LIMIT = 2.0
EVENT = ServerSentEvent(data='{"text": "word"}', id="1", last_event_id="1")

Exporter = tuple[list[Any], Callable[[], object]]
"""The observers of a stream, and what collects the figures of all of them."""


def nothing() -> Exporter:
    return [], lambda: None


def function() -> Exporter:
    return [lambda _fact: None], lambda: None


def prometheus() -> Exporter:
    from prometheus_client import CollectorRegistry, generate_latest

    from resilient_sse.metrics.prometheus import PrometheusMetrics

    registry = CollectorRegistry()
    return [PrometheusMetrics(registry)], lambda: generate_latest(registry)


def opentelemetry() -> Exporter:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    from resilient_sse.metrics.opentelemetry import OpenTelemetryMetrics

    reader = InMemoryMetricReader()
    return [OpenTelemetryMetrics(MeterProvider([reader]), TracerProvider())], reader.get_metrics_data


def datadog() -> Exporter:
    from datadog.dogstatsd.base import DogStatsd

    from resilient_sse.metrics.datadog import DatadogMetrics

    # Nobody need listen there; the thread stays out of the way of the measurement.
    metrics = DatadogMetrics(DogStatsd("127.0.0.1", 9, disable_telemetry=True), interval=3600)
    return [metrics], metrics.flush


EXPORTERS: dict[str, Callable[[], Exporter]] = {
    "no observer": nothing,
    "a function that does nothing": function,
    "PrometheusMetrics": prometheus,
    "OpenTelemetryMetrics": opentelemetry,
    "DatadogMetrics": datadog,
}


def microseconds(observers: list[Any]) -> float:
    """Count and tell events as a stream does; return the time for one."""
    stats = StreamStats(started_at=0.0)
    callbacks = Callbacks(observers, stats, where=URL)
    begin = time.perf_counter()
    for _ in range(EVENTS):
        stats.received += 1
        stats.delivered += 1
        callbacks.observe(EVENT)
    return (time.perf_counter() - begin) / EVENTS * 1e6


def collecting(observers: list[Any], collect: Callable[[], object]) -> float:
    """Return the milliseconds that it takes to collect the figures of many streams."""
    streams = [
        Callbacks(observers, StreamStats(started_at=0.0, received=9, delivered=9), where=URL)
        for _ in range(STREAMS)
    ]
    begin = time.perf_counter()
    collect()
    took = time.perf_counter() - begin
    del streams
    return took * 1e3


def available() -> dict[str, Exporter]:
    """Make every exporter whose extra is installed."""
    found: dict[str, Exporter] = {}
    for name, make in EXPORTERS.items():
        try:
            found[name] = make()
        except ModuleNotFoundError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return found


def main() -> int:
    exporters = available()
    turns: dict[str, list[float]] = {name: [] for name in exporters}
    for _ in range(TURNS):
        for name, (observers, _) in exporters.items():
            turns[name].append(microseconds(observers))
    costs = {name: statistics.median(times) for name, times in turns.items()}
    print(f"{'exporter':30} {'us/event':>9} {'more':>7} {f'collecting {STREAMS} streams':>26}")
    none = costs["no observer"]
    for name, cost in costs.items():
        observers, collect = exporters[name]
        print(f"{name:30} {cost:9.3f} {cost - none:+7.3f} {collecting(observers, collect):23.1f} ms")
    worst = max(cost - none for cost in costs.values())
    print(f"P28: at most {worst:.3f} us more per event; the limit is {LIMIT} us")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
