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
    """What the gauge *metric* shows."""

    metric: Metric


@dataclass(frozen=True, slots=True)
class Rise:
    """By how much the counter *metric* has risen in the last *window* seconds."""

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of what the histogram *metric* has seen in the last *window* seconds."""

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of the same, as the buckets tell it: with a *share* of 0.95 the value that 5 % exceed."""

    metric: Metric
    window: float
    share: float


@dataclass(frozen=True, slots=True)
class Share:
    """
    The rise of the counter *part* per rise of *whole*, in percent; nothing if that has not risen.

    What the gauge *standing* showed when the *window* began counts as part of the whole, and what it showed for
    the *affected* values of its own label counts above the line, too.
    """

    part: Metric
    whole: Metric
    window: float
    standing: Metric | None = None
    affected: tuple[str, ...] = ()


Measure: TypeAlias = Value | Rise | Mean | Quantile | Share


def window_of(measure: Measure) -> float:
    """Return over how many seconds *measure* looks back; 0 for one that does not."""
    return 0.0 if isinstance(measure, Value) else measure.window
