"""
Figures for Datadog: `ResilientStream(url, observers=[DatadogMetrics()])`.

It needs the extra `datadog`: `pip install 'resilient-sse[datadog]'`.
"""

from __future__ import annotations

import threading
from math import isfinite
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from resilient_sse.metrics.labels import Labels

try:
    from datadog.dogstatsd.base import statsd as default_statsd
except ModuleNotFoundError as _exc:
    _text = f"metrics for Datadog need {_exc.name}: pip install 'resilient-sse[datadog]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

from resilient_sse.metrics.datadog_sender import Sender

if TYPE_CHECKING:
    from resilient_sse._core.ports import Instrument, Observer
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.labels import LabelValues

__all__ = ["DatadogMetrics", "StatsD"]


class StatsD(Protocol):
    """What is asked of a client of DogStatsD; `datadog.DogStatsd` has it."""

    def count(self, metric: str, value: float, tags: list[str] | None = None) -> object:
        """Send an increment."""
        ...

    def gauge(self, metric: str, value: float, tags: list[str] | None = None) -> object:
        """Send a value."""
        ...

    def distribution(self, metric: str, value: float, tags: list[str] | None = None) -> object:
        """Send one value of a distribution."""
        ...

    def open_buffer(self) -> object:
        """Begin to pack what is sent."""
        ...

    def close_buffer(self) -> object:
        """Send what was packed."""
        ...


class DatadogMetrics:
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
        self, statsd: StatsD | None = None, *, labels: LabelValues | None = None, interval: float = 10.0
    ) -> None:
        _check_client(statsd)
        if isinstance(interval, bool) or not isinstance(interval, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"interval must be a positive number of seconds, not {interval!r}")
        if not (isfinite(interval) and interval > 0):
            raise ValueError(f"interval must be a positive number of seconds, not {interval!r}")
        self._labels = Labels(labels)
        self._sender = _sender_of(default_statsd if statsd is None else statsd, self._labels, interval)

    @property
    def failures(self) -> int:
        """How many times sending has failed; what could not be sent is tried again."""
        return self._sender.failures

    @property
    def dropped(self) -> int:
        """How many durations were dropped because too many were waiting to be sent."""
        return self._sender.dropped

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream; the labels, if there are any, are `other`."""
        return self._sender.attach(stats, self._labels.unset)

    def labelled(self, **values: str) -> Instrument:
        """
        Return the instrument for streams with these values.

        Args:
            values: By the names of the labels; a value that was not declared becomes `other`.

        Raises:
            ValueError: A name was not declared.
        """
        return _Labelled(self._sender, self._labels.chosen(values))

    def flush(self) -> None:
        """
        Send what has changed now, in the calling thread, however long the client takes.

        Raises:
            Exception: What the client raises.
        """
        self._sender.flush()


def _check_client(statsd: object) -> None:
    asked = [name for name in vars(StatsD) if not name.startswith("_")]
    lacks = isinstance(statsd, type) or not all(callable(getattr(statsd, name, None)) for name in asked)
    if statsd is not None and lacks:
        raise TypeError(
            "statsd must be a client such as datadog.DogStatsd('127.0.0.1', 8125), or None for datadog.statsd, "
            f"not {statsd!r}"
        )


class _Labelled:
    """An instrument whose streams have certain labels."""

    def __init__(self, sender: Sender, labels: tuple[str, ...]) -> None:
        self._sender = sender
        self._labels = labels

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream."""
        return self._sender.attach(stats, self._labels)


# A sender keeps its client alive, so the id of the client stays its own.
_senders: WeakValueDictionary[tuple[int, Labels, float], Sender] = WeakValueDictionary()
_making = threading.Lock()


def _sender_of(statsd: StatsD, labels: Labels, interval: float) -> Sender:
    with _making:
        key = id(statsd), labels, interval
        sender = _senders.get(key)
        if sender is None:
            sender = _senders[key] = Sender(statsd, labels, interval)
        return sender
