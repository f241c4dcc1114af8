"""The report: what was run, what came of it, and whether that is enough."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from itertools import pairwise
from statistics import fmean
from types import MappingProxyType
from typing import Any

from resilient_sse.monitoring.alerts import conditions
from resilient_sse.testing.scenarios import SCENARIOS, Entry
from resilient_sse.testing.scenarios.gates import (
    Figures,
    Gate,
    GateResult,
    judge,
    milliseconds,
    percent,
    percentile,
)
from resilient_sse.testing.scenarios.log import Run, Stream, runs_of
from resilient_sse.testing.scenarios.play import Scenario

ALL = "*"
"""A gate of every scenario."""

TOGETHER = "aggregate"
"""A gate of the figures over all scenarios."""

PROMPT_ATTEMPTS = 2
"""An outage that takes more attempts is no measure of the client (X7): the server was away for longer."""

ALL_GATES: Sequence[Gate] = (
    Gate(ALL, "in_time", "==", True, "R4"),
    Gate(ALL, "completion_rate_percent", "==", 100.0, "R5 R13 R34 R43 R58, X1"),
    Gate(ALL, "duplicates", "==", 0, "R14 R63 R91"),
    Gate(ALL, "message_loss", "==", 0, "R16 R25 R57 R91"),
    Gate(ALL, "gaps", "==", 0, "R16 R36"),
    Gate(ALL, "order_breaks", "==", 0, "R35"),
    Gate(ALL, "altered", "==", 0, "R1"),
    Gate(ALL, "unreconciled", "==", 0, "R89"),
    Gate(ALL, "max_live_connections", "==", 1, "R149"),
    Gate(ALL, "unrecovered", "==", 0, "R6"),
)

TOGETHER_GATES: Sequence[Gate] = (
    Gate(TOGETHER, "mean_completion_rate_percent", ">=", 99.5, "R84"),
    Gate(TOGETHER, "mean_reconnect_time_ms", "<=", 2500.0, "R85"),
    Gate(TOGETHER, "p95_reconnect_time_ms", "<", 4200.0, "R86"),
    Gate(TOGETHER, "p99_reconnect_time_ms", "<", 4800.0, "R87"),
    Gate(TOGETHER, "max_reconnect_time_ms", "<", 5000.0, "R88"),
    Gate(TOGETHER, "reconnects_measured", ">=", 200, "R86"),
    Gate(TOGETHER, "reconnects_never", "==", 0, "R6"),
    Gate(TOGETHER, "total_message_loss", "==", 0, "R91"),
    Gate(TOGETHER, "total_duplicates", "==", 0, "R91"),
)

GATES: Sequence[Gate] = (
    *ALL_GATES,
    *(gate for scenario in SCENARIOS.values() for gate in scenario.gates),
    *TOGETHER_GATES,
)


def common(run: Run) -> Figures:
    """Return the figures that every scenario has."""
    streams = run.streams
    unique, total = run.delivery
    received = sum(len(stream.received) for stream in streams)
    known = sum(number in stream.published for stream in streams for number in stream.ids)
    stats = [stream.all("stats")[0].facts for stream in streams if stream.all("stats")]
    return {
        "total_events": total,
        "received_events": unique,
        "completion_rate_percent": percent(unique, total),
        "duplicates": known - unique,
        "duplicate_rate_percent": percent(received - unique, received) or 0.0,
        "message_loss": total - unique,
        "gaps": sum(len(stream.all("gap")) for stream in streams),
        "order_breaks": sum(b <= a for stream in streams for a, b in pairwise(stream.ids)),
        # Messages that nobody published, or that were published with another content.
        "altered": sum(
            number not in stream.published or stream.published[number].facts["sum"] != entry.facts["sum"]
            for stream in streams
            for number, entry in zip(stream.ids, stream.received, strict=True)
        ),
        "unreconciled": sum(not _reconciles(stream) for stream in streams),
        "in_time": run.in_time,
        "max_live_connections": max(run.network("max_live"), default=0),
        "suppressed": sum(one["duplicates"] for one in stats),
        "announcements": sum(len(stream.announcements) for stream in streams),
        "unrecovered": sum(recovery.t4 is None for recovery in run.recoveries()),
    }


def aggregate(judged: Sequence[Judged]) -> Figures:
    """Return the figures over several runs; times are of prompt outages only."""
    recoveries = [recovery for one in judged for recovery in one.run.recoveries()]
    # Those that measure the client: with a prompt end, and something to send.
    times = [
        recovery.reconnect
        for recovery in recoveries
        if recovery.reconnect is not None and recovery.attempts <= PROMPT_ATTEMPTS and not recovery.idle
    ]
    rates = [rate for one in judged if (rate := percent(*one.run.delivery)) is not None]
    loss, duplicates = (
        sum(int(str(one.figures[name])) for one in judged) for name in ("message_loss", "duplicates")
    )
    return {
        "mean_completion_rate_percent": round(fmean(rates), 2) if rates else None,
        "mean_reconnect_time_ms": milliseconds(fmean(times)) if times else None,
        "p95_reconnect_time_ms": milliseconds(percentile(times, 95)),
        "p99_reconnect_time_ms": milliseconds(percentile(times, 99)),
        "total_message_loss": loss,
        "total_duplicates": duplicates,
        "max_reconnect_time_ms": milliseconds(percentile(times, 100)),
        "reconnects_measured": len(times),
        "reconnects_never": sum(recovery.t4 is None for recovery in recoveries),
    }


def _reconciles(stream: Stream) -> bool:
    """Return whether the client's own count adds up and agrees with what was seen of it."""
    for entry in stream.all("stats"):
        stats = entry.facts
        parts = stats["delivered"] + stats["duplicates"] + stats["heartbeats"] + stats["filtered"]
        seen = stats["delivered"] == len(stream.all("received"))
        return bool(stats["received"] == parts and seen and stats["callback_errors"] == 0)
    return False


# --- The report

AGGREGATES = (
    "mean_completion_rate_percent",
    "mean_reconnect_time_ms",
    "p95_reconnect_time_ms",
    "p99_reconnect_time_ms",
    "total_message_loss",
    "total_duplicates",
)
"""What the report says of all scenarios together."""

FORMS = MappingProxyType({"real": "real sockets", "virtual": "virtual time"})
"""The forms in words; of several, the figures of the report are those of the first."""

_LATE = 0.1
"""Seconds; from here on times say something about the machine as well."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One run of a scenario with its figures, and the verdicts of its gates."""

    run: Run
    scenario: Scenario
    figures: Figures
    verdicts: Sequence[GateResult]

    @classmethod
    def of(cls, run: Run, scenario: Scenario) -> Judged:
        """Judge a run by the figures and gates of all scenarios, and those of its own."""
        figures = {**common(run), **scenario.figures(run)}
        verdicts = judge(scenario.named(run.form), run.form, figures, [*ALL_GATES, *scenario.gates])
        return cls(run, scenario, figures, verdicts)

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(verdict.passed for verdict in self.verdicts)


class Report:
    """
    The report on a log that was made on a *day*.

    `ValueError`: the log is empty, of a scenario that is not one of the six, or that of a run is not whole.
    """

    def __init__(self, entries: Iterable[Entry], *, day: date) -> None:
        self.day = day
        by_key = {scenario.key: scenario for scenario in SCENARIOS.values()}
        runs = runs_of(entries)
        if not runs:
            raise ValueError("the log is empty")
        for run in runs:
            if run.scenario not in by_key:
                raise ValueError(
                    f"the log is of {run.scenario!r}, which is none of the scenarios of a report"
                )
        runs.sort(key=lambda run: [*by_key].index(run.scenario))
        self.judged: list[Judged] = [Judged.of(run, by_key[run.scenario]) for run in runs]
        self.form: str = next(form for form in FORMS if any(run.form == form for run in runs))
        self.shown: Mapping[str, Judged] = {x.run.scenario: x for x in self.judged if x.run.form == self.form}
        self.figures: Figures = aggregate([*self.shown.values()])
        self.together: Sequence[GateResult] = (
            judge(TOGETHER, self.form, self.figures, TOGETHER_GATES) if self.complete else ()
        )
        self.verdicts: list[GateResult] = [verdict for judged in self.judged for verdict in judged.verdicts]
        self.verdicts += self.together

    @property
    def complete(self) -> bool:
        """Whether all six scenarios were run."""
        return len(self.shown) == len(SCENARIOS)

    @property
    def kept(self) -> bool:
        """Whether every gate of what was run was passed."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def reasons(self) -> list[str]:
        """Why the answer is NO; nothing if it is YES."""
        missing = [f"{x.name}: not run" for x in SCENARIOS.values() if x.key not in self.shown]
        failed = [str(verdict) for verdict in self.verdicts if not verdict.passed]
        late = [
            f"{x.scenario.named(x.run.form)}: this machine itself was up to {x.run.late:.1f} s late,"
            " which may be why"
            for x in self.judged
            if not x.passed and x.run.late > _LATE
        ]
        return missing + failed + late

    @property
    def ready(self) -> bool:
        """Whether the answer is YES."""
        return not self.reasons

    def status(self, scenario: str) -> str:
        """Return `PASS`, `FAIL`, or `NOT RUN`; a scenario passes if it does so in every form."""
        if scenario not in self.shown:
            return "NOT RUN"
        return "PASS" if all(x.passed for x in self.judged if x.run.scenario == scenario) else "FAIL"

    def to_dict(self) -> dict[str, Any]:
        """Return it as the schema says."""
        passed = sum(verdict.passed for verdict in self.verdicts)
        figures = {key: judged.figures for key, judged in self.shown.items()}
        document: dict[str, Any] = {
            "test_date": self.day.isoformat(),
            "total_tests": len(self.verdicts),
            "tests_passed": passed,
            "tests_failed": len(self.verdicts) - passed,
            "scenarios": {
                x.key: {"status": self.status(x.key), **{y: figures.get(x.key, {}).get(y) for y in x.fields}}
                for x in SCENARIOS.values()
            },
            "aggregate_metrics": {name: self.figures[name] for name in AGGREGATES},
            "production_readiness": "YES" if self.ready else "NO",
            "alerts_configured": conditions(),
        }
        return document if self.ready else {**document, "readiness_reasons": self.reasons}


def report_schema() -> dict[str, Any]:
    """
    Return the JSON Schema (draft 2020-12) of reports, for a validator such as `jsonschema`.

    A report that says NO has one key more than one that says YES, `readiness_reasons`.
    """
    shipped = files("resilient_sse.testing.report").joinpath("report.schema.json")
    schema: dict[str, Any] = json.loads(shipped.read_text(encoding="utf-8"))
    return schema
