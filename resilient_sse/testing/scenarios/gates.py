"""What a figure has to be: gates, and the arithmetic that all figures share."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Figure: TypeAlias = "float | str | bool | list[float] | None"
Figures: TypeAlias = dict[str, Figure]
Relation: TypeAlias = Literal["==", "<=", "<", ">=", ">", "within"]
Limit: TypeAlias = "float | str | bool | tuple[float, ...]"

VIRTUAL, REAL = ("virtual",), ("real",)

_UNITS = {"_ms": " ms", "_s": " s", "_percent": " %", "_bytes": " bytes"}

_COMPARED: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "<": (operator.lt, "under "),
    "<=": (operator.le, "at most "),
    ">": (operator.gt, "over "),
    ">=": (operator.ge, "at least "),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A demand on one figure."""

    scenario: str  # the scenario's key, "*" for all of them, "aggregate" for the figures over all
    figure: str
    relation: Relation  # `within` includes both ends
    limit: Limit
    demand: str  # why; those of this package have the numbers of its demands
    forms: tuple[str, ...] = ()  # those that it is for; empty for all

    def passes(self, value: object) -> bool:
        """Return whether *value* is what it must be; a figure that is missing never is."""
        if self.relation == "==":
            wanted = list(self.limit) if isinstance(self.limit, tuple) else self.limit
            return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(self.limit, tuple):
            return self.limit[0] <= value <= self.limit[1]
        assert isinstance(self.limit, int | float)  # noqa: S101 - so the tables say, and a test reads them
        return _COMPARED[self.relation][0](value, self.limit)

    @property
    def wanted(self) -> str:
        """What it asks for, with its unit."""
        if self.relation == "within" and isinstance(self.limit, tuple):
            low, high = (f"{limit:,g}" for limit in self.limit)
            return (low if low == high else f"{low} to {high}") + split(self.figure)[1]
        words = "" if self.relation == "==" else _COMPARED[self.relation][1]
        return words + written(self.figure, self.limit)


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether a gate was passed, by a *value* of a *run*, or of all together: "aggregate"."""

    gate: Gate
    run: str
    value: object
    passed: bool

    def __str__(self) -> str:
        figure = self.gate.figure
        return f"{self.run}: {figure} is {written(figure, self.value)}, not {self.gate.wanted}"


def judge(run: str, form: str, figures: Mapping[str, object], gates: Iterable[Gate]) -> Sequence[GateResult]:
    """Return the verdicts of those *gates* that are for *form*."""
    return [
        GateResult(gate, run, figures.get(gate.figure), gate.passes(figures.get(gate.figure)))
        for gate in gates
        if not gate.forms or form in gate.forms
    ]


def split(figure: str) -> tuple[str, str]:
    """Split the name of a figure from its unit."""
    ending = next((ending for ending in _UNITS if figure.endswith(ending)), "")
    return figure.removesuffix(ending), _UNITS.get(ending, "")


def written(figure: str, value: object) -> str:
    """Return the value of a figure with its unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    # Without a sign before zero.
    return (f"{value + 0.0:,.10g}" if isinstance(value, int | float) else f"{value}") + split(figure)[1]


def milliseconds(value: float | None) -> float | None:
    """Return seconds as milliseconds, to a tenth."""
    return None if value is None else round(value * 1000, 1)


def seconds(value: float | None) -> float | None:
    """Return seconds to a thousandth."""
    return None if value is None else round(value, 3)


def percent(part: int, whole: int) -> float | None:
    """Return a share in percent, to a hundredth; `None` of nothing."""
    return round(100 * part / whole, 2) if whole else None


def percentile(values: Iterable[float], percent: float) -> float | None:
    """
    Return the smallest value that *percent* of all values do not exceed, or `None` if there are none.

    Nearest rank, and not interpolation, because a gate on a latency must name a latency that happened.
    """
    ordered = sorted(values)
    # Exactly, in integers where possible: 99 % of 200 is the 198th, and 0.99 * 200 is a little more than that.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1] if ordered else None
