"""
Writes the claims of the README from the last report of the production scenarios (R227).

`resilient-sse report --json > docs/lab/last-report.json` makes a new one, and `--write` puts its figures
into the README, between the markers.  A claim that is worse than its gate is not written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilient_sse.testing.report import GATES, Gate

__all__ = ["CLAIMS", "REPORT", "Claim", "table", "updated"]

README = Path(__file__).parents[1] / "README.md"
REPORT = Path(__file__).parent / "lab" / "last-report.json"
START, END = "<!-- claims: docs/claims.py writes this table -->\n", "<!-- end of claims -->\n"

TOGETHER = "aggregate"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A sentence with a figure.

    Attributes:
        about: What it is about.
        scenario: The scenario whose figure it is, or all together.
        figure: The figure's name in the report.
        form: How it is said.
    """

    about: str
    scenario: str
    figure: str
    form: str

    @property
    def gates(self) -> list[Gate]:
        """Return what the figure has to be, in every form that it is measured in."""
        return [gate for gate in GATES if (gate.scenario, gate.figure) == (self.scenario, self.figure)]

    def value(self, report: dict[str, Any]) -> Any:  # noqa: ANN401 - a figure of any kind
        """Look the figure up."""
        if self.scenario == TOGETHER:
            return report["aggregate_metrics"][self.figure]
        return report["scenarios"][self.scenario][self.figure]

    def said(self, report: dict[str, Any]) -> str:
        """
        Say it.

        Raises:
            ValueError: The figure is worse than its gate.
        """
        value = self.value(report)
        if not self.gates or not all(gate.passes(value) for gate in self.gates):
            raise ValueError(f"{self.figure} is {value}, which fails its gate")
        if isinstance(value, list):
            return self.form.format(", ".join(str(each) for each in value))
        return self.form.format(value)


S1, S2, S5 = "scenario_1_slow_3g", "scenario_2_stall_detection", "scenario_5_rapid_reconnects"

CLAIMS = (
    Claim("Reliability", TOGETHER, "mean_completion_rate_percent", "{:.1f} % of the events arrived"),
    Claim("", TOGETHER, "total_message_loss", "{} lost"),
    Claim("", TOGETHER, "total_duplicates", "{} delivered twice"),
    Claim("Speed", S2, "stall_recovery_ms", "a dead connection was replaced within {:,.0f} ms of being noticed"),
    Claim("", TOGETHER, "p99_reconnect_time_ms", "99 of 100 outages were over within {:,.0f} ms"),
    Claim("Resilience", S5, "backoff_sequence", "a lost server was asked again after {} ms"),
    Claim("", S5, "jitter_diversity_percent", "{:.0f} of 100 clients each at another moment"),
    Claim("Transparency", "scenario_6_user_experience", "silent_failures", "{} of 200 faults went unreported"),
    Claim("Performance", S1, "duration_ms", "50 messages of 100 bytes took {:,.0f} ms over a line of 100 kbit/s"),
)  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """
    Write the table.

    Raises:
        ValueError: The report does not say YES, or a claim is worse than its gate.
    """
    if report["production_readiness"] != "YES":
        raise ValueError("the report does not say that all is well")
    lines: list[list[str]] = []
    for claim in CLAIMS:
        if claim.about:
            lines.append([claim.about])
        lines[-1].append(claim.said(report))
    rows = [f"| {about} | {', '.join(said)} |" for about, *said in lines]
    return "\n".join(["| claim | measured |", "| --- | --- |", *rows, ""])


def updated(readme: str, report: dict[str, Any]) -> str:
    """Return the README with the table written anew."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table(report)}\n{END}{after}"


def main() -> None:
    """Print the table, or write it into the README."""
    parser = argparse.ArgumentParser(description="Write the claims of the README from the last report.")
    parser.add_argument("--write", action="store_true", help="write the README instead of printing the table")
    given = parser.parse_args()
    report = json.loads(REPORT.read_text("utf-8"))
    if given.write:
        README.write_text(updated(README.read_text("utf-8"), report), encoding="utf-8")
    else:
        sys.stdout.write(table(report))


if __name__ == "__main__":
    main()
