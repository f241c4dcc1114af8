"""A run of a log as columns: what the checker counts from.  Nothing here is shared with the report itself."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Columns", "Line", "Outage", "percentile_of"]

Line: TypeAlias = Mapping[str, Any]
"""One line of a log, parsed."""

_UP = frozenset({"connected", "waiting"})

_PROMPT = 2
"""Attempts: an outage that took more of them says how long the server was away (X7)."""


@dataclass(frozen=True, slots=True)
class Outage:
    """
    One outage.

    Attributes:
        stream: Whose.
        last: When the last event before it came, or `None`.
        lost: When the loss was noticed.
        back: When the first event after it came, or `None`.
        counts: Whether it measures the client: it was prompt, and the server had something to say at once.
    """

    stream: str
    last: float | None
    lost: float
    back: float | None
    counts: bool


class Columns:
    """
    The lines of one run, by kind, part and stream.

    Args:
        lines: The lines, in any order.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines: list[Line] = sorted(lines, key=lambda line: float(line["at"]))
        self.parts: dict[str, str] = {x["stream"]: "" for x in self.lines if "stream" in x}
        self.parts |= {x["stream"]: x["part"] for x in self.lines if x["kind"] == "stream"}
        self._order = {id(line): number for number, line in enumerate(self.lines)}
        self._kinds: dict[str, list[Line]] = {}
        self._streams: dict[tuple[str, object], list[Line]] = {}
        for line in self.lines:
            self._kinds.setdefault(line["kind"], []).append(line)
            self._streams.setdefault((line["kind"], line.get("stream")), []).append(line)

    def one(self, kind: str) -> Line:
        """Return the first line of a kind; an empty one if there is none."""
        empty: Line = {}
        return next(iter(self._kinds.get(kind, ())), empty)

    def of(self, kind: str, part: str | None = None, **wanted: object) -> list[Line]:
        """Return the lines of a kind, of one part or of all, with the wanted values."""
        known = (
            self._streams.get((kind, wanted["stream"]), ())
            if "stream" in wanted
            else self._kinds.get(kind, ())
        )
        return [
            line
            for line in known
            if (part is None or self.parts.get(line.get("stream", ""), line.get("part")) == part)
            and all(line.get(name) == value for name, value in wanted.items())
        ]

    def names(self, part: str | None = None) -> list[str]:
        """Return the streams of one part, or of all."""
        return [name for name, mine in self.parts.items() if part in (None, mine)]

    def times(self, kind: str, stream: str, **wanted: object) -> list[float]:
        """Return when a stream's lines of a kind were."""
        return [line["at"] for line in self.of(kind, None, stream=stream, **wanted)]

    def after(self, line: Line) -> list[Line]:
        """Return what came after a line."""
        return self.lines[self._order[id(line)] + 1 :]

    def outages(self) -> Iterator[Outage]:
        """Yield the outages of all streams."""
        for name in self.names():
            heard = [(self._order[id(x)], x) for x in self.of("received", stream=name)]
            places = [place for place, _ in heard]
            told = self.of("state", stream=name)
            until = -1
            for line in told:
                place = self._order[id(line)]
                if line["new"] != "reconnecting" or line["old"] not in _UP or place < until:
                    continue
                following = bisect_left(places, place)
                before = heard[following - 1][1] if following else None
                after = heard[following][1] if following < len(heard) else None
                until = places[following] if following < len(heard) else len(self.lines)
                yield Outage(
                    stream=name,
                    last=None if before is None else before["at"],
                    lost=line["at"],
                    back=None if after is None else after["at"],
                    counts=self._counts(name, place, until, after),
                )

    def _counts(self, name: str, place: int, until: int, after: Line | None) -> bool:
        """Whether an outage between two places of the log measures the client."""
        between = [x for x in self.lines[place:until] if x.get("stream") == name]
        if sum(x["kind"] == "attempt" for x in between) > _PROMPT:
            return False
        backs = [
            x["at"]
            for x in between
            if x["kind"] == "state" and x["new"] == "connected" and x["old"] not in _UP
        ]
        made = self.times("published", name, id=after["id"]) if after is not None else []
        return not (backs and made and made[0] > backs[-1])


def percentile_of(values: Sequence[float], share: float) -> float | None:
    """
    Return the smallest value that a *share* of all does not exceed.

    It is written again on purpose, and found in another way: the report's own percentile is what this checks.
    """
    ranked = sorted(values)
    enough = (v for v in ranked if bisect_right(ranked, v) >= share * len(ranked) - 1e-9)
    return next(enough, None)
