"""
What each figure has to be: one table, which whoever judges reads, the report and its checker alike.

A gate names a figure of one scenario, or of all together, and what it must be.  Where virtual time allows more
than real time does, there is a gate for each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["ALL", "GATES", "TOGETHER", "Gate", "Limit", "Relation", "Verdict", "judge"]

Relation: TypeAlias = Literal["==", "<=", "<", ">=", ">", "within"]
Limit: TypeAlias = "float | str | bool | tuple[float, ...]"

ALL = "*"
"""A gate of every scenario."""

TOGETHER = "aggregate"
"""A gate of the figures over all scenarios."""

S1, S2, S3 = "scenario_1_slow_3g", "scenario_2_stall_detection", "scenario_3_packet_loss"
S4, S5, S6 = "scenario_4_network_handoff", "scenario_5_rapid_reconnects", "scenario_6_user_experience"

_VIRTUAL, _REAL = ("virtual",), ("real",)

_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """
    A demand on one figure.

    Attributes:
        scenario: The scenario's key, `ALL` or `TOGETHER`.
        figure: The figure's name.
        relation: How it must stand to the limit; `within` takes both ends in.
        limit: The limit.
        demand: The numbers of the demands it stands for.
        forms: The forms it is for; empty for all.
    """

    scenario: str
    figure: str
    relation: Relation
    limit: Limit
    demand: str
    forms: tuple[str, ...] = ()

    def concerns(self, scenario: str, form: str) -> bool:
        """Whether it is for a run of *scenario* in *form*."""
        mine = self.scenario == scenario or (self.scenario == ALL and scenario != TOGETHER)
        return mine and (not self.forms or form in self.forms)

    def passes(self, value: object) -> bool:
        """Whether *value* is what it must be; a figure that there is not never is."""
        if self.relation == "==":
            wanted = list(self.limit) if isinstance(self.limit, tuple) else self.limit
            return (
                value is not None and isinstance(value, bool) == isinstance(wanted, bool) and value == wanted
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(self.limit, tuple):
            return self.limit[0] <= value <= self.limit[1]
        assert isinstance(self.limit, int | float)  # noqa: S101 - so the table says, and a test reads it
        return _COMPARED[self.relation](value, self.limit)


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    How a gate was passed, or not.

    Attributes:
        gate: The gate.
        run: The run's name, or `TOGETHER`.
        value: The figure.
        passed: Whether it passed.
    """

    gate: Gate
    run: str
    value: object
    passed: bool

    def __str__(self) -> str:
        """Say it in a line."""
        limit = self.gate.limit
        wanted = (
            f"{limit[0]:g} to {limit[1]:g}"
            if self.gate.relation == "within" and isinstance(limit, tuple)
            else limit
        )
        relation = "" if self.gate.relation in ("==", "within") else f"{self.gate.relation} "
        return f"{self.run}: {self.gate.figure} is {self.value}, not {relation}{wanted} ({self.gate.demand})"


def judge(run: str, scenario: str, form: str, figures: Mapping[str, object]) -> Sequence[Verdict]:
    """Judge the figures of one run, or of all together."""
    return [
        Verdict(gate, run, figures.get(gate.figure), gate.passes(figures.get(gate.figure)))
        for gate in GATES
        if gate.concerns(scenario, form)
    ]


GATES: Sequence[Gate] = (
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
    # Scenario 1
    Gate(S1, "total_events", "==", 200, "R12: fifty over each of four lines"),
    Gate(S1, "smallest_message_bytes", "==", 100, "R12"),
    Gate(S1, "largest_message_bytes", "==", 100, "R12"),
    Gate(S1, "duration_ms", "within", (500.0, 2000.0), "R15"),
    Gate(S1, "slowdown", "within", (3.0, 5.0), "R164", forms=_VIRTUAL),
    Gate(S1, "slowdown", "within", (2.0, 6.0), "R164, with room for a busy machine", forms=_REAL),
    Gate(S1, "announcements", "==", 0, "R18"),
    Gate(S1, "suppressed", "==", 0, "R14"),
    Gate(S1, "drops", "==", 0, "R19"),
    Gate(S1, "duplicate_rate_percent", "==", 0.0, "R89"),
    # Scenario 2
    Gate(S2, "earliest_notice_s", "within", (25.0, 25.5), "R22 R30, X2", forms=_VIRTUAL),
    Gate(S2, "latest_notice_s", "within", (25.0, 25.5), "R22 R30, X2"),
    Gate(
        S2,
        "earliest_notice_s",
        ">=",
        24.5,
        "R22 R30: on two clocks, the event's way between them",
        forms=_REAL,
    ),
    Gate(S2, "earliest_detection_s", "within", (30.0, 30.5), "R20 R21 R101", forms=_VIRTUAL),
    Gate(S2, "earliest_detection_s", ">=", 29.5, "R20 R21 R101", forms=_REAL),
    Gate(S2, "latest_detection_s", "<=", 30.5, "R20 R21 R101"),
    Gate(S2, "ui_feedback", "==", "Visible", "R22"),
    Gate(S2, "stall_recovery_ms", "<", 5000.0, "R7 R23"),
    Gate(S2, "median_stall_recovery_ms", "<=", 2500.0, "R23"),
    Gate(S2, "auto_reconnect", "==", True, "R24"),
    Gate(S2, "stalls_missed", "==", 0, "R106"),
    Gate(S2, "shortest_silence_s", ">=", 30.4, "R208", forms=_REAL),
    Gate(S2, "shortest_silence_s", ">=", 30.9, "R208", forms=_VIRTUAL),
    Gate(S2, "longest_silence_s", "<=", 33.0, "R208"),
    Gate(S2, "offline_resume_ms", "<", 5000.0, "R165"),
    Gate(S2, "late_reconnects", "==", 0, "R20 R30"),
    Gate(S2, "late_notices", "==", 1, "R30"),
    Gate(S2, "heartbeat_false_alarms", "==", 0, "R26 R174"),
    Gate(S2, "heartbeat_interval_s", "within", (9.5, 10.5), "R26"),
    # Scenario 3
    Gate(S3, "withheld", "==", 5, "R32"),
    Gate(S3, "initial_delivery_percent", "within", (84.0, 96.0), "R33"),
    Gate(S3, "completion_after_replay_percent", "==", 100.0, "R34 R166"),
    Gate(S3, "replays", "==", 1, "R34"),
    Gate(S3, "resume_mismatches", "==", 0, "R37 R38"),
    Gate(S3, "delayed_segments", ">=", 1, "R32, X18"),
    Gate(S3, "delayed_reconnects", "==", 0, "R32, X18"),
    # Scenario 4
    Gate(S4, "total_events", "==", 50, "R43"),
    Gate(S4, "received_events", "==", 50, "R43"),
    Gate(S4, "received_before", "==", 20, "R43"),
    Gate(S4, "received_after", "==", 30, "R43"),
    Gate(S4, "url_cursor", "==", "19", "R47"),
    Gate(S4, "header_cursor", "==", "19", "R47"),
    Gate(S4, "parameters_kept", "==", True, "R47"),
    Gate(S4, "first_resumed_id", "==", 20, "R48"),
    Gate(S4, "error", "==", "none", "R42 R48"),
    Gate(S4, "outages", "==", 1, "R42"),
    Gate(S4, "recovery_ms", "<", 5000.0, "R49"),
    # Scenario 5
    Gate(S5, "reconnect_attempts", "==", 3, "R51 R52"),
    Gate(S5, "last_attempt", "==", 3, "R52"),
    Gate(S5, "reconnects", "==", 3, "R52"),
    Gate(S5, "backoff_sequence", "==", (1000, 2000, 4000), "R53"),
    Gate(S5, "earliest_attempt_ms", "within", (0.0, 0.0), "R53", forms=_VIRTUAL),
    Gate(S5, "latest_attempt_ms", "within", (0.0, 0.0), "R53", forms=_VIRTUAL),
    Gate(S5, "earliest_attempt_ms", ">=", -5.0, "R53: timers may be a clock tick early", forms=_REAL),
    Gate(S5, "latest_attempt_ms", "<=", 500.0, "R53, with room for a busy machine", forms=_REAL),
    Gate(S5, "suppressed", "==", 15, "R63"),
    Gate(S5, "herd_clients", "==", 100, "R59"),
    Gate(S5, "jitter_diversity_percent", ">", 80.0, "R59 R61"),
    Gate(S5, "herd_out_of_band", "==", 0, "R54 R56"),
    Gate(S5, "herd_wrong_budget", "==", 0, "R83"),
    Gate(S5, "final_completion_percent", "==", 100.0, "R58 R62"),
    # Scenario 6
    Gate(S6, "faults_injected", "==", 200, "R64"),
    Gate(S6, "faults_recovered", "==", 200, "R6"),
    Gate(S6, "slowest_recovery_ms", "<", 5000.0, "R6"),
    Gate(S6, "silent_failures", "==", 0, "R8 R65"),
    Gate(S6, "visible_errors", "==", "All", "R64"),
    Gate(S6, "retry_indicator", "==", "Shown", "R66"),
    Gate(S6, "texts_missing", "==", 0, "R69-R75"),
    Gate(S6, "texts_wrong", "==", 0, "R67 R70-R75"),
    Gate(S6, "without_an_end", "==", 0, "R68"),
    # All together
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
