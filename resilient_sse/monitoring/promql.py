"""
Measures as PromQL.

Every expression names the metrics of the catalogue and nothing else, and has no value where nothing was measured:
a division by what has not risen is left out, and quantiles of empty histograms are not a number, which is on
neither side of any threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resilient_sse.monitoring.measures import Mean, Measure, Quantile, Rise, Share, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.metrics.catalogue import Metric

__all__ = ["Scope", "duration", "promql"]

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration(seconds: float) -> str:
    """
    Return a duration as Prometheus writes it: `5m`, `90s`.

    Raises:
        ValueError: *seconds* is less than a millisecond.
    """
    milliseconds = round(seconds * 1000)
    if milliseconds < 1:
        raise ValueError(
            f"Prometheus knows no duration below 1 ms, such as {seconds!r} s; use a smaller scale"
        )
    for unit, size in _UNITS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    raise AssertionError("every number is a multiple of one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    Which series are read, and what is summed up.

    Attributes:
        selector: Matchers for every series, such as `{job="api"}`.
        window: The window of rates as Prometheus writes it.
        pause: For how long Prometheus may not have seen a process and still knows its counters.
        across: Labels to sum over.
        total: Whether to sum over all labels.
    """

    selector: str = ""
    window: str
    pause: str = ""
    across: Sequence[str] = ()
    total: bool = False

    def rise(self, metric: Metric) -> str:
        """Return by how much a counter has risen in the window, its own labels summed up."""
        return self._summed(metric, f"increase({metric.name}{self.selector}[{self.window}])")

    def rate(self, metric: Metric, part: str) -> str:
        """Return the rate of a part of a histogram."""
        rate = f"rate({metric.name}_{part}{self.selector}[{self.window}])"
        if self.total and part == "bucket":
            return f"sum by (le) ({rate})"
        return self._summed(metric, rate)

    def before(self, metric: Metric, values: Sequence[str] = ()) -> str:
        """Return what a metric last showed before the window, summed up over its own labels, or *values* of it."""
        series = f"{metric.name}{self._matching(metric, values)}"
        return self._summed(metric, f"last_over_time({series}[{self.pause}] offset {self.window})")

    def counted(self, metric: Metric, standing: Metric, values: Sequence[str] = ()) -> str:
        """
        Return what a counter has counted in the window, and what a gauge showed when the window began.

        Both are read from the same samples: `increase` begins with the first sample within the window, so what
        happened between it and the one before would for a moment be part of neither.

        There may be nothing from before: a process is younger than the window, has begun to count anew, or was
        not watched.  Then all that the counter shows is taken for the whole; for a part it is what it has risen
        by since it was first seen, or what the gauge shows now if that is more.
        """
        now = self.now(metric)
        risen = f"({now} - {self.before(metric)} >= 0)"
        known = f"{risen}\n  + {self.before(standing, values)}\n  or\n  "
        if not values:
            return f"(\n  {known}{now}\n)"
        shown = self.now(standing, values)
        seen = self._summed(metric, f"min_over_time({metric.name}{self.selector}[{self.window}])")
        return f"(\n  {known}({now} - {seen} >= {shown})\n  or\n  {shown}\n)"

    def new(self, metric: Metric) -> str:
        """
        Return what a counter shows that was not there when the window began.

        After a pause of Prometheus nothing was there; what still shows its last value is known all the same.
        """
        series = f"{metric.name}{self.selector}"
        known = f"{series} == last_over_time({series}[{self.pause}] offset {self.window})"
        return self._summed(metric, f"{series} unless {series} offset {self.window}\nunless {known}")

    def now(self, metric: Metric, values: Sequence[str] = ()) -> str:
        """Return what a metric shows, summed up over its own labels, or *values* of it."""
        return self._summed(metric, f"{metric.name}{self._matching(metric, values)}")

    def _matching(self, metric: Metric, values: Sequence[str]) -> str:
        if not values:
            return self.selector
        (label,) = metric.labels
        return "{" + ", ".join(filter(None, (self.selector[1:-1], f'{label}=~"{"|".join(values)}"'))) + "}"

    def _summed(self, metric: Metric, expression: str) -> str:
        labels = ", ".join((*metric.labels, *self.across))
        if self.total:
            return f"sum({expression})"
        if labels:
            return f"sum without ({labels}) ({expression})"
        return f"({expression})" if " unless " in expression else expression


def promql(measure: Measure, scope: Scope) -> str:
    """Return *measure* as an expression, several lines long if need be."""
    match measure:
        case Value():
            return scope.now(measure.metric)
        case Rise():
            # What a series shows the first time that it is seen is no rise to Prometheus, but it is one to us:
            # the first event of a process' life may be the one that is lost.
            return f"{scope.rise(measure.metric)} > 0\nor\n{scope.new(measure.metric)}"
        case Mean():
            count = scope.rate(measure.metric, "count")
            return f"{scope.rate(measure.metric, 'sum')}\n/\n({count} > 0)"
        case Quantile():
            return f"histogram_quantile({measure.share}, {scope.rate(measure.metric, 'bucket')})"
        case Share():
            part, whole = _part_and_whole(measure, scope)
            return f"100 * {part}\n/\n({whole} > 0)"


def _part_and_whole(share: Share, scope: Scope) -> tuple[str, str]:
    if share.standing is None:
        return scope.rise(share.part), scope.rise(share.whole)
    affected = scope.counted(share.part, share.standing, share.affected)
    return affected, scope.counted(share.whole, share.standing)
