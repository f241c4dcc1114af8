"""Does a report say what its log says?"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from resilient_sse.testing.report.checking import delivery, outages
from resilient_sse.testing.report.checking.columns import Columns, Line, percentile_of
from resilient_sse.testing.report.gates import GATES, Gate

__all__ = ["check", "check_files"]

_SPECIAL: Mapping[str, Callable[[Columns], dict[str, object]]] = {
    "scenario_1_slow_3g": delivery.slow_3g,
    "scenario_2_stall_detection": delivery.stall,
    "scenario_3_packet_loss": delivery.packet_loss,
    "scenario_4_network_handoff": outages.handoff,
    "scenario_5_rapid_reconnects": outages.rapid_reconnects,
    "scenario_6_user_experience": outages.user_experience,
}

_CLOSEST_FIRST = ("real", "virtual")

_CONDITIONS = ("completion_rate < 99.5%", "mean_reconnect > 5s", "duplicate_rate > 1%", "message_loss > 0")
"""What R218 wants at the least."""

_TOLERANCE = 0.1001
"""Times in a log have a microsecond, those in a report a tenth of a millisecond."""

_Figures = dict[str, object]


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
    Count every figure of a report anew and return the differences, one line each; nothing if there is none.

    Args:
        document: The report, parsed.
        lines: The lines of its log, parsed.
    """
    runs: dict[str, list[Line]] = {}
    for line in lines:
        runs.setdefault(line["run"], []).append(line)
    counted = {name: Columns(mine) for name, mine in runs.items()}
    figures = {name: _figures(run) for name, run in counted.items()}
    forms = {run.one("start")["form"] for run in counted.values()}
    form = next((form for form in _CLOSEST_FIRST if form in forms), "")
    shown = {
        run.one("start")["scenario"]: name
        for name, run in counted.items()
        if run.one("start")["form"] == form
    }
    together = _together(
        [counted[name] for name in shown.values()], [figures[name] for name in shown.values()]
    )
    failures = _failures(counted, figures, together, whole=shown.keys() == _SPECIAL.keys())
    found = [*_scenarios(document, counted, figures, shown, failures)]
    wanted = {name: together.get(name) for name in document["aggregate_metrics"]}
    found += _compare("aggregate_metrics", document["aggregate_metrics"], wanted)
    found += _verdict(document, failures, whole=shown.keys() == _SPECIAL.keys())
    found += [
        f"alerts_configured: {x!r} is missing" for x in _CONDITIONS if x not in document["alerts_configured"]
    ]
    return found


def _figures(run: Columns) -> _Figures:
    return {**delivery.common(run), **_SPECIAL[run.one("start")["scenario"]](run)}


def _together(runs: list[Columns], figures: list[_Figures]) -> _Figures:
    outages = [outage for run in runs for outage in run.outages()]
    times = [1000 * (x.back - x.lost) for x in outages if x.back is not None and x.counts]
    rates = [rate for rate in (x["completion_rate_percent"] for x in figures) if isinstance(rate, float)]
    return {
        "mean_completion_rate_percent": statistics.mean(rates) if rates else None,
        "mean_reconnect_time_ms": statistics.mean(times) if times else None,
        "p95_reconnect_time_ms": percentile_of(times, 0.95),
        "p99_reconnect_time_ms": percentile_of(times, 0.99),
        "max_reconnect_time_ms": max(times, default=None),
        "reconnects_measured": len(times),
        "reconnects_never": sum(x.back is None for x in outages),
        "total_message_loss": sum(x["message_loss"] for x in figures if isinstance(x["message_loss"], int)),
        "total_duplicates": sum(x["duplicates"] for x in figures if isinstance(x["duplicates"], int)),
    }


def _failures(
    runs: Mapping[str, Columns], figures: Mapping[str, _Figures], together: _Figures, *, whole: bool
) -> dict[str, list[bool]]:
    """Return for each run, and for all together, which gates it fails."""
    found: dict[str, list[bool]] = {}
    for name, run in runs.items():
        start = run.one("start")
        mine = [
            gate
            for gate in GATES
            if gate.scenario in ("*", start["scenario"]) and (gate.forms == () or start["form"] in gate.forms)
        ]
        found[name] = [_fails(gate, figures[name].get(gate.figure)) for gate in mine]
    if whole:
        played = {run.one("start")["form"] for run in runs.values()}
        closest = next(form for form in _CLOSEST_FIRST if form in played)
        gates = [g for g in GATES if g.scenario == "aggregate" and (not g.forms or closest in g.forms)]
        found["aggregate"] = [_fails(gate, together[gate.figure]) for gate in gates]
    return found


def _fails(gate: Gate, value: Any) -> bool:  # noqa: ANN401 - a figure of any kind
    if value is None:
        return True
    limit: Any = gate.limit
    wanted: object = [*limit] if isinstance(limit, tuple) else limit  # pyright: ignore[reportUnknownVariableType]
    if gate.relation == "within":
        return not limit[0] <= value <= limit[1]
    if gate.relation == "==":
        return bool(value != wanted)
    smaller, equal = value < limit, value == limit
    return not {"<": smaller, "<=": smaller or equal, ">": not (smaller or equal), ">=": not smaller}[
        gate.relation
    ]


def _scenarios(
    document: Mapping[str, Any],
    runs: Mapping[str, Columns],
    figures: Mapping[str, _Figures],
    shown: Mapping[str, str],
    failures: Mapping[str, list[bool]],
) -> Iterable[str]:
    for key, said in document["scenarios"].items():
        mine = [name for name, run in runs.items() if run.one("start")["scenario"] == key]
        status = "PASS" if mine and not any(any(failures[name]) for name in mine) else "FAIL"
        wanted: _Figures = {"status": status if key in shown else "NOT RUN"}
        known = figures[shown[key]] if key in shown else {}
        wanted |= {name: known.get(name) for name in said if name != "status"}
        yield from _compare(key, said, wanted)
    yield from (f"scenarios: {key} is missing" for key in _SPECIAL if key not in document["scenarios"])


def _verdict(
    document: Mapping[str, Any], failures: Mapping[str, list[bool]], *, whole: bool
) -> Iterable[str]:
    every = [failed for mine in failures.values() for failed in mine]
    wanted: _Figures = {
        "total_tests": len(every),
        "tests_passed": len(every) - sum(every),
        "tests_failed": sum(every),
        "production_readiness": "YES" if whole and not any(every) else "NO",
    }
    yield from _compare("report", document, wanted)


def _compare(where: str, said: Mapping[str, Any], counted: Mapping[str, Any]) -> Iterable[str]:
    for name, value in counted.items():
        if not _same(said.get(name), value):
            yield f"{where}: {name} is reported as {said.get(name)!r}, the log says {value!r}"


def _same(said: Any, counted: Any) -> bool:  # noqa: ANN401 - figures of any kind
    if isinstance(said, bool) or isinstance(counted, bool):
        return said is counted
    if isinstance(said, int | float) and isinstance(counted, int | float):
        return abs(said - counted) <= (_TOLERANCE if isinstance(counted, float) else 0)
    return bool(said == counted)
