"""What can be measured over the metrics of the catalogue, said without the words of any monitoring system."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from resilient_sse.metrics.catalogue import Metric

__all__ = ["Mean", "Measure", "Quantile", "Rise", "Share", "Unit", "Value", "window_of"]


class Unit(Enum):
    """What a measure is counted in: what follows the number, and how many decimals the number is given."""

    PERCENT = ("%", 2)
    MILLISECONDS = (" ms", 0)
    SECONDS = (" s", 2)
    COUNT = ("", 0)

    @property
    def suffix(self) -> str:
        """What follows the number."""
        return self.value[0]

    @property
    def decimals(self) -> int:
        """How many decimals tell something."""
        return self.value[1]

    def show(self, value: float) -> str:
        """Return *value* as people read it."""
        return f"{value:.{self.decimals}f}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Value:
    """
    What a gauge shows.

    Attributes:
        metric: The gauge.
    """

    metric: Metric


@dataclass(frozen=True, slots=True)
class Rise:
    """
    By how much a counter has risen lately.

    Attributes:
        metric: The counter.
        window: Over how many seconds.
    """

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Mean:
    """
    The mean of what a histogram has seen lately.

    Attributes:
        metric: The histogram.
        window: Over how many seconds.
    """

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Quantile:
    """
    A quantile of what a histogram has seen lately, as its buckets tell it.

    Attributes:
        metric: The histogram.
        window: Over how many seconds.
        share: Which one: 0.95 is the value that 5 % exceed.
    """

    metric: Metric
    window: float
    share: float


@dataclass(frozen=True, slots=True)
class Share:
    """
    The rise of one counter per rise of another, in percent; nothing if the other has not risen.

    Attributes:
        part: The counter above the line.
        whole: The counter below it.
        window: Over how many seconds.
        standing: A gauge: what it showed when the window began counts as part of the whole.
        affected: The values of the gauge's own label of which that counts above the line, too.
    """

    part: Metric
    whole: Metric
    window: float
    standing: Metric | None = None
    affected: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All that it reads."""
        return (self.part, self.whole) if self.standing is None else (self.part, self.whole, self.standing)


Measure: TypeAlias = Value | Rise | Mean | Quantile | Share


def window_of(measure: Measure) -> float:
    """Return over how many seconds *measure* looks back; 0 for one that does not."""
    return 0.0 if isinstance(measure, Value) else measure.window
