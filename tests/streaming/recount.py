"""
The six figures over all scenarios, counted again from the raw log by other code (R216).

Nothing here is shared with the report: it reads the parsed lines of the log, and finds outages and percentiles in
another way.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest

Line: TypeAlias = Mapping[str, Any]
"""One line of a log, parsed."""

_UP = ("connected", "waiting")


def assert_recounted(document: Mapping[str, Any], log: Sequence[Line]) -> None:
    """Check that a report says what its log says; a log has microseconds, a report tenths of a millisecond."""
    assert document["aggregate_metrics"] == pytest.approx(recount(log), abs=0.1001)


def recount(log: Sequence[Line]) -> dict[str, float | int | None]:
    """Return the six figures over all scenarios, in the form that is closest to the world."""
    forms = {line["run"]: line["form"] for line in log if line["kind"] == "start"}
    form = "real" if "real" in forms.values() else "virtual"
    mine = sorted((line for line in log if forms[line["run"]] == form), key=lambda line: float(line["at"]))
    streams: dict[tuple[str, str], list[Line]] = {}
    for line in mine:
        if "stream" in line:
            streams.setdefault((line["run"], line["stream"]), []).append(line)
    sent: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    twice = 0
    times: list[float] = []
    for (run, _), lines in streams.items():
        made = {line["id"] for line in lines if line["kind"] == "published" and line["type"] == "message"}
        got = Counter(x["id"] for x in lines if x["kind"] == "received" and x["type"] == "message")
        sent[run] += len(made)
        arrived[run] += len(made & got.keys())
        twice += sum(got[number] - 1 for number in made & got.keys())
        times += _reconnects(lines)
    rates = [100 * arrived[run] / sent[run] for run in sent if sent[run]]
    return {
        "mean_completion_rate_percent": statistics.mean(rates) if rates else None,
        "mean_reconnect_time_ms": statistics.mean(times) if times else None,
        "p95_reconnect_time_ms": _percentile(times, 0.95),
        "p99_reconnect_time_ms": _percentile(times, 0.99),
        "total_message_loss": sent.total() - arrived.total(),
        "total_duplicates": twice,
    }


def _reconnects(lines: Sequence[Line]) -> Iterable[float]:
    """Yield the milliseconds from each loss to the event after it, where they measure the client."""
    events = [place for place, line in enumerate(lines) if line["kind"] == "received"]
    until = -1
    for place, line in enumerate(lines):
        lost = line["kind"] == "state" and line["new"] == "reconnecting" and line["old"] in _UP
        if not lost or place < until:
            continue
        until = next((event for event in events if event > place), len(lines))
        between = lines[place:until]
        changes = [x for x in between if x["kind"] == "state"]
        back = [x["at"] for x in changes if x["new"] == "connected" and x["old"] not in _UP]
        if until == len(lines) or sum(x["kind"] == "attempt" for x in between) > 2:
            continue
        number = lines[until]["id"]
        made = next((x["at"] for x in lines if x["kind"] == "published" and x["id"] == number), 0.0)
        if not back or made <= back[-1]:
            yield 1000 * (lines[until]["at"] - line["at"])


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that a *share* of all does not exceed."""
    ranked = sorted(values)
    enough = (v for v in ranked if bisect_right(ranked, v) >= share * len(ranked) - 1e-9)
    return next(enough, None)
