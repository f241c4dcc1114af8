"""
The six figures over all scenarios, counted again from the raw log by other code (R216).

Nothing here is shared with the report: it reads the parsed lines of the log, and finds outages and percentiles in
another way.
"""

from __future__ import annotations

import json
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from resilient_sse.testing.report.document import Report
from resilient_sse.testing.scenarios.log import Entry

Line: TypeAlias = Mapping[str, Any]
"""One line of a log, parsed."""

_UP = ("connected", "waiting")

_TOLERANCE = 0.1001
"""Times in a log have a microsecond, those in a report a tenth of a millisecond."""


def check_files(report: Path, log: Path) -> list[str]:
    """
    Compare the report in a file with the log in another; see `check`.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file does not hold what it should.
    """
    document: Any = json.loads(report.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{report.name} holds no report")  # noqa: TRY004 - it is the file that is wrong
    parsed: dict[str, Any] = document  # pyright: ignore[reportUnknownVariableType]
    with log.open(encoding="utf-8") as lines:
        try:
            return check(parsed, [json.loads(line) for line in lines])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{report.name} and {log.name} are no report and its log: {error!r}") from error


def check(document: Mapping[str, Any], lines: Iterable[Line]) -> list[str]:
    """
    Return how a report differs from its log, one line for each difference; nothing if there is none.

    The figures over all scenarios are counted again by other code, everything else is computed anew.

    Args:
        document: The report, parsed.
        lines: The lines of its log, parsed.

    Raises:
        ValueError: The log is empty, or that of a run is not whole.
    """
    log = list(lines)
    anew = Report(map(Entry.of, log), day=date.fromisoformat(document["test_date"])).to_dict()
    figures = {"aggregate_metrics": recount(log)}
    figures |= {key: anew["scenarios"][key] for key in anew["scenarios"]}
    figures["report"] = {key: anew[key] for key in anew if not isinstance(anew[key], dict | list)}
    said = {"report": document, "aggregate_metrics": document["aggregate_metrics"], **document["scenarios"]}
    return [
        f"{where}: {name} is reported as {said.get(where, {}).get(name)!r}, the log says {value!r}"
        for where, counted in figures.items()
        for name, value in counted.items()
        if not _same(said.get(where, {}).get(name), value)
    ] + [
        f"alerts_configured: {condition!r} is missing"
        for condition in anew["alerts_configured"]
        if condition not in document["alerts_configured"]
    ]


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
        if until == len(lines) or sum(x["kind"] == "attempt" for x in between) > 2:  # noqa: PLR2004 - X7
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


def _same(said: Any, counted: Any) -> bool:  # noqa: ANN401 - figures of any kind
    if isinstance(said, bool) or isinstance(counted, bool):
        return said is counted
    if isinstance(said, int | float) and isinstance(counted, int | float):
        return abs(said - counted) <= (_TOLERANCE if isinstance(counted, float) else 0)
    return bool(said == counted)
