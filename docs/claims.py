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

from resilient_sse.testing.report import GATES
from resilient_sse.testing.scenarios import Gate

__all__ = ["PROMISES", "REPORT", "TESTS", "Claim", "Promise", "table", "updated"]

README = Path(__file__).parents[1] / "README.md"
REPORT = Path(__file__).parent / "lab" / "last-report.json"
START, END = "<!-- claims: docs/claims.py writes this table -->\n", "<!-- end of claims -->\n"

TOGETHER = "aggregate"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A sentence with a figure.

    Attributes:
        scenario: The scenario whose figure it is, or all together.
        figure: The figure's name in the report.
        form: How it is said.
    """

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


S1, S2 = "scenario_1_slow_3g", "scenario_2_stall_detection"
S5, S6 = "scenario_5_rapid_reconnects", "scenario_6_user_experience"


@dataclass(frozen=True, slots=True)
class Promise:
    """
    What a user gets, with the figures that show it.

    Attributes:
        about: What it is about.
        means: What it means to somebody who has not used the package yet.
        claims: What was measured.
        test: The test that fails if it is broken, below `TESTS`.
    """

    about: str
    means: str
    claims: tuple[Claim, ...]
    test: str


TESTS = "tests/streaming/test_sse_production.py"

PROMISES = (
    Promise(
        "Reliability",
        "every event arrives, and arrives once, whatever breaks on the way",
        (
            Claim(TOGETHER, "mean_completion_rate_percent", "{:.1f} % of the events arrived"),
            Claim(TOGETHER, "total_message_loss", "{} lost"),
            Claim(TOGETHER, "total_duplicates", "{} delivered twice"),
        ),
        "TestTogether::test_every_gate_is_passed",
    ),
    Promise(
        "Speed",
        "after a failure the stream is back in seconds",
        (
            Claim(S2, "stall_recovery_ms", "a connection that was found dead was replaced within {:,.0f} ms"),
            Claim(TOGETHER, "p99_reconnect_time_ms", "99 of 100 outages were over within {:,.0f} ms"),
        ),
        "TestStall::test_every_stall_is_recovered_from",
    ),
    Promise(
        "Resilience",
        "a server that is down is asked again with growing waits, and not by all clients at once",
        (
            Claim(S5, "backoff_sequence", "attempts after {} ms"),
            Claim(S5, "jitter_diversity_percent", "100 clients at {:.0f} different moments"),
        ),
        "TestExactly::test_three_delays_to_the_microsecond",
    ),
    Promise(
        "Transparency",
        "whatever goes wrong is told, to the program and in words for people",
        (Claim(S6, "silent_failures", "{} of 200 faults went unreported"),),
        "TestTogether::test_every_gate_is_passed",
    ),
    Promise(
        "Performance",
        "a slow line costs time, and no events",
        (Claim(S1, "duration_ms", "50 messages of 100 bytes took {:,.0f} ms over a line of 100 kbit/s"),),
        "TestTogether::test_every_gate_is_passed",
    ),
)


def table(report: dict[str, Any]) -> str:
    """
    Write the table.

    Raises:
        ValueError: The report does not say YES, or a claim is worse than its gate.
    """
    if report["production_readiness"] != "YES":
        raise ValueError("the report does not say that all is well")
    rows = [
        f"| **{promise.about}**: {promise.means} "
        f"| {', '.join(claim.said(report) for claim in promise.claims)} "
        f"| [`{promise.test.partition('::')[2]}`]({TESTS}) |"
        for promise in PROMISES
    ]
    return "\n".join(["| what you get | measured | shown by |", "| --- | --- | --- |", *rows, ""])


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
