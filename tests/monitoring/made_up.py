"""Series made up so that a measure has a certain value, in the notation of `promtool test rules`."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resilient_sse.monitoring.alerts import Mean, Measure, Quantile, Rise, Share, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.monitoring.prometheus_rules import Plain

__all__ = ["Phase", "series"]

_MANY: Final = 100_000
"""How much happens between two samples: enough for shares that differ by a thousandth of a percent."""


@dataclass(frozen=True, slots=True)
class Phase:
    """
    A time in which nothing changes.

    Attributes:
        ticks: How many samples it lasts.
        level: The value of the measure; `None` stands for no traffic.
    """

    ticks: int
    level: float | None


def series(measure: Measure, labels: Mapping[str, str], phases: Sequence[Phase]) -> list[Plain]:
    """Return series with *labels* of which *measure* makes the level of each phase, one after the other."""
    if isinstance(measure, Value):
        return [_series(measure.metric.name, labels, _gauge(phases))]
    rises = [_rises(measure, phase.level) for phase in phases]
    made: list[Plain] = []
    for name, own in rises[0]:
        values, total = ["0"], 0.0
        for phase, rise in zip(phases, rises, strict=True):
            step = rise[name, own]
            values.append(f"{total + step:.12g}+{step:.12g}x{phase.ticks - 1}")
            total += step * phase.ticks
        made.append(_series(name, {**labels, **dict(own)}, " ".join(values)))
    return made


_Series = tuple[str, tuple[tuple[str, str], ...]]


def _series(name: str, labels: Mapping[str, str], values: str) -> Plain:
    inner = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{inner}}}", "values": values}


def _gauge(phases: Sequence[Phase]) -> str:
    first, *others = phases
    ticks = [first.ticks, *(phase.ticks - 1 for phase in others)]  # the first sample is taken at 0
    return " ".join(
        f"_x{many + 1}" if phase.level is None else f"{phase.level:.12g}+0x{many}"
        for phase, many in zip(phases, ticks, strict=True)
    )


def _rises(measure: Measure, level: float | None) -> dict[_Series, float]:
    """Return by how much each series rises from one sample to the next."""
    match measure:
        case Rise():
            return _split(measure.metric, level or 0)
        case Share():
            many = 0 if level is None else _MANY
            made = {**_split(measure.part, many * (level or 0) / 100), **_split(measure.whole, many)}
            return {**made, **_none(measure.standing)}
        case Mean():
            many = 0 if level is None else _MANY
            name = measure.metric.name
            return {(f"{name}_sum", ()): many * (level or 0), (f"{name}_count", ()): many}
        case Quantile():
            return _buckets(measure, level)
        case Value():
            raise TypeError("a gauge does not rise")


def _split(metric: Metric, rise: float) -> dict[_Series, float]:
    """Share a rise out among two values of the metric's own label, so that neither tells all."""
    if not metric.labels:
        return {(metric.name, ()): rise}
    ((label, values),) = metric.labels.items()
    return {(metric.name, ((label, value),)): rise / 2 for value in values[:2]}


def _none(gauge: Metric | None) -> dict[_Series, float]:
    """Have a gauge show that there is nothing, for each value of its own label."""
    if gauge is None:
        return {}
    return {(gauge.name, ((label, value),)): 0 for label, values in gauge.labels.items() for value in values}


def _buckets(measure: Quantile, level: float | None) -> dict[_Series, float]:
    """Fill the bucket of *level* and one of its neighbours so that interpolation finds *level*."""
    bounds = measure.metric.buckets
    counts = [0] * (len(bounds) + 1)
    at = 0 if level is None else bisect_left(bounds, level)
    if level is not None and at == 0:
        counts[0] = _MANY
    elif level is not None:
        lower = bounds[at - 1]
        part = (level - lower) / (bounds[at] - lower)
        if part <= measure.share:
            below = round(_MANY * (measure.share - part) / (1 - part))
            counts[at], counts[at - 1] = _MANY - below, below
        else:
            counts[at] = round(_MANY * measure.share / part)
            counts[-1] = _MANY - counts[at]
    rises: dict[_Series, float] = {}
    total = 0
    for bound, count in zip([*map(repr, bounds), "+Inf"], counts, strict=True):
        total += count
        rises[f"{measure.metric.name}_bucket", (("le", bound),)] = total
    return rises
