"""The report: what was run, what came of it, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from resilient_sse.monitoring.alerts import conditions
from resilient_sse.testing.report.figures import Figures, aggregate, figures_of
from resilient_sse.testing.report.gates import TOGETHER, Verdict, judge
from resilient_sse.testing.report.runs import Run, runs_of
from resilient_sse.testing.scenarios.log import Entry

__all__ = ["AGGREGATES", "FIELDS", "FORMS", "Judged", "Report"]

FIELDS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "scenario_1_slow_3g": ("completion_rate_percent", "duplicates", "message_loss", "duration_ms"),
        "scenario_2_stall_detection": ("stall_recovery_ms", "ui_feedback", "auto_reconnect"),
        "scenario_3_packet_loss": ("initial_delivery_percent", "completion_after_replay_percent", "gaps"),
        "scenario_4_network_handoff": ("total_events", "received_events", "recovery_ms"),
        "scenario_5_rapid_reconnects": (
            "reconnect_attempts",
            "backoff_sequence",
            "jitter_diversity_percent",
            "final_completion_percent",
        ),
        "scenario_6_user_experience": ("silent_failures", "visible_errors", "retry_indicator"),
    }
)
"""What the report says of each scenario, besides its status."""

AGGREGATES = (
    "mean_completion_rate_percent",
    "mean_reconnect_time_ms",
    "p95_reconnect_time_ms",
    "p99_reconnect_time_ms",
    "total_message_loss",
    "total_duplicates",
)
"""What it says of all together."""

FORMS = ("real", "virtual")
"""The forms, the closest to the world first: of several, the figures of the report are those of the first."""


_LATE = 0.1
"""Seconds; from here on times say something about the machine as well."""


@dataclass(frozen=True, slots=True)
class Judged:
    """
    One run with its figures and what they are worth.

    Attributes:
        run: The run.
        figures: Its figures.
        verdicts: Those of its gates.
    """

    run: Run
    figures: Figures
    verdicts: Sequence[Verdict]

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(verdict.passed for verdict in self.verdicts)


class Report:
    """
    The report on a log.

    Attributes:
        judged: Every run.
        form: The form whose figures it shows.
        figures: Those over all scenarios in that form.
        verdicts: Those of every gate.

    Args:
        entries: The log.
        day: When it was run.

    Raises:
        ValueError: The log is empty, or the log of a run is not whole.
    """

    def __init__(self, entries: Iterable[Entry], *, day: date) -> None:
        self.day = day
        self.judged: list[Judged] = [_judged(run) for run in runs_of(entries)]
        if not self.judged:
            raise ValueError("the log is empty")
        played = {judged.run.form for judged in self.judged}
        self.form: str = next(form for form in FORMS if form in played)
        self.shown: dict[str, Judged] = {
            judged.run.scenario: judged for judged in self.judged if judged.run.form == self.form
        }
        self.figures: Figures = aggregate((judged.run, judged.figures) for judged in self.shown.values())
        together = judge(TOGETHER, TOGETHER, self.form, self.figures) if self.complete else ()
        self.verdicts: list[Verdict] = [
            *(verdict for judged in self.judged for verdict in judged.verdicts),
            *together,
        ]

    @property
    def complete(self) -> bool:
        """Whether all six scenarios were run."""
        return self.shown.keys() == FIELDS.keys()

    @property
    def kept(self) -> bool:
        """Whether every gate of what was run was passed."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def reasons(self) -> list[str]:
        """Why the answer is NO; nothing if it is YES."""
        missing = [f"{key}: not run" for key in FIELDS if key not in self.shown]
        failed = [str(verdict) for verdict in self.verdicts if not verdict.passed]
        late = [
            f"{judged.run.name}: this machine itself was up to {judged.run.late:.1f} s late, which may be why"
            for judged in self.judged
            if not judged.passed and judged.run.late > _LATE
        ]
        return missing + failed + late

    @property
    def ready(self) -> bool:
        """Whether the answer is YES."""
        return not self.reasons

    def status(self, scenario: str) -> str:
        """Return `PASS`, `FAIL`, or `NOT RUN`; a scenario passes if it does so in every form."""
        mine = [judged for judged in self.judged if judged.run.scenario == scenario]
        if scenario not in self.shown:
            return "NOT RUN"
        return "PASS" if all(judged.passed for judged in mine) else "FAIL"

    def to_dict(self) -> dict[str, Any]:
        """Return it as the schema says."""
        passed = sum(verdict.passed for verdict in self.verdicts)
        document: dict[str, Any] = {
            "test_date": self.day.isoformat(),
            "total_tests": len(self.verdicts),
            "tests_passed": passed,
            "tests_failed": len(self.verdicts) - passed,
            "scenarios": {key: self._scenario(key) for key in FIELDS},
            "aggregate_metrics": {name: self.figures[name] for name in AGGREGATES},
            "production_readiness": "YES" if self.ready else "NO",
            "alerts_configured": conditions(),
        }
        return document if self.ready else {**document, "readiness_reasons": self.reasons}

    def _scenario(self, key: str) -> dict[str, Any]:
        figures = self.shown[key].figures if key in self.shown else {}
        return {"status": self.status(key), **{name: figures.get(name) for name in FIELDS[key]}}


def _judged(run: Run) -> Judged:
    figures = figures_of(run)
    return Judged(run, figures, judge(run.name, run.scenario, run.form, figures))
