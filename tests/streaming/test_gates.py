"""The gates are no looser than the demands: each limit against the demand's figure, written down again here."""

import pytest

from resilient_sse.testing.report import GATES
from resilient_sse.testing.report.gates import ALL, TOGETHER
from resilient_sse.testing.scenarios import SCENARIOS

S1, S2, S3, S4, S5, S6 = (scenario.key for scenario in SCENARIOS.values())
EVERYWHERE = ("virtual", "real")
EXACT = ("virtual",)
SOCKETS = ("real",)

# The demands, the figure, values at the edge that they allow, values just beyond it, and the forms they are for.
# Of a demand on a single event ("each", "always", "exactly") zero or the one value is the edge.
DEMANDS = [
    ("R5 R13 R34 R43 R58", ALL, "completion_rate_percent", [100.0], [98.0, 99.9], EVERYWHERE),
    ("R14 R63 R91", ALL, "duplicates", [0], [1], EVERYWHERE),
    ("R16 R25 R57 R91", ALL, "message_loss", [0], [1], EVERYWHERE),
    ("R16 R36", ALL, "gaps", [0], [1], EVERYWHERE),
    ("R35", ALL, "order_breaks", [0], [1], EVERYWHERE),
    ("R89", ALL, "unreconciled", [0], [1], EVERYWHERE),
    ("R149", ALL, "max_live_connections", [1], [2], EVERYWHERE),
    ("R6", ALL, "unrecovered", [0], [1], EVERYWHERE),
    ("R12, over four lines", S1, "total_events", [200], [199, 201], EVERYWHERE),
    ("R12", S1, "smallest_message_bytes", [100], [99], EVERYWHERE),
    ("R12", S1, "largest_message_bytes", [100], [101], EVERYWHERE),
    ("R15", S1, "duration_ms", [500.0, 2000.0], [499.0, 2001.0], EVERYWHERE),
    ("R164", S1, "slowdown", [3.0, 5.0], [2.9, 5.1], EXACT),
    ("R18", S1, "announcements", [0], [1], EVERYWHERE),
    ("R19", S1, "drops", [0], [1], EVERYWHERE),
    ("R89", S1, "duplicate_rate_percent", [0.0], [0.1], EVERYWHERE),
    ("R30", S2, "earliest_notice_s", [25.0, 25.5], [24.9, 25.6], EXACT),
    ("R30", S2, "latest_notice_s", [25.0, 25.5], [24.9, 25.6], EVERYWHERE),
    ("R20 R21", S2, "earliest_detection_s", [30.0, 30.5], [29.9, 30.6], EXACT),
    ("R101: 30 s +- 0.5", S2, "earliest_detection_s", [29.5], [29.4], SOCKETS),
    ("R20 R21 R101", S2, "latest_detection_s", [30.5], [30.6], EVERYWHERE),
    ("R22", S2, "ui_feedback", ["Visible"], ["Missing"], EVERYWHERE),
    ("R7 R23", S2, "stall_recovery_ms", [4999.0], [5000.0], EVERYWHERE),
    ("R23", S2, "median_stall_recovery_ms", [2500.0], [2501.0], EVERYWHERE),
    ("R24", S2, "auto_reconnect", [True], [False], EVERYWHERE),
    ("R106", S2, "stalls_missed", [0], [1], EVERYWHERE),
    ("R208", S2, "shortest_silence_s", [30.9], [30.8], EXACT),
    ("R208", S2, "longest_silence_s", [33.0], [33.1], EVERYWHERE),
    ("R165", S2, "offline_resume_ms", [4999.0], [5000.0], EVERYWHERE),
    ("R20 R30", S2, "late_reconnects", [0], [1], EVERYWHERE),
    ("R26 R174", S2, "heartbeat_false_alarms", [0], [1], EVERYWHERE),
    ("R26", S2, "heartbeat_interval_s", [9.5, 10.5], [9.4, 10.6], EVERYWHERE),
    ("R32", S3, "withheld", [5], [4, 6], EVERYWHERE),
    ("R33: 42 to 48 of 50", S3, "initial_delivery_percent", [84.0, 96.0], [82.0, 98.0], EVERYWHERE),
    ("R34 R166", S3, "completion_after_replay_percent", [100.0], [98.0], EVERYWHERE),
    ("R34", S3, "replays", [1], [0, 2], EVERYWHERE),
    ("R37 R38", S3, "resume_mismatches", [0], [1], EVERYWHERE),
    ("R32", S3, "delayed_segments", [1], [0], EVERYWHERE),
    ("R32", S3, "delayed_reconnects", [0], [1], EVERYWHERE),
    ("R43", S4, "total_events", [50], [49], EVERYWHERE),
    ("R43", S4, "received_events", [50], [49], EVERYWHERE),
    ("R43", S4, "received_before", [20], [19, 21], EVERYWHERE),
    ("R43", S4, "received_after", [30], [29, 31], EVERYWHERE),
    ("R47", S4, "url_cursor", ["19"], ["18", "20", None], EVERYWHERE),
    ("R47", S4, "header_cursor", ["19"], ["18", "20", None], EVERYWHERE),
    ("R47", S4, "parameters_kept", [True], [False], EVERYWHERE),
    ("R48", S4, "first_resumed_id", [20], [19, 21], EVERYWHERE),
    ("R48", S4, "error", ["none"], ["ConnectionLostError"], EVERYWHERE),
    ("R49", S4, "recovery_ms", [4999.0], [5000.0], EVERYWHERE),
    ("R51 R52", S5, "reconnect_attempts", [3], [2, 4], EVERYWHERE),
    ("R52", S5, "reconnects", [3], [2, 4], EVERYWHERE),
    ("R53", S5, "backoff_sequence", [[1000, 2000, 4000]], [[1000, 2000, 5000], [1000, 2000]], EVERYWHERE),
    ("R53", S5, "earliest_attempt_ms", [0.0], [-0.1, 0.1], EXACT),
    ("R53", S5, "latest_attempt_ms", [0.0], [-0.1, 0.1], EXACT),
    ("R63", S5, "suppressed", [15], [14, 16], EVERYWHERE),
    ("R59", S5, "herd_clients", [100], [99], EVERYWHERE),
    ("R59", S5, "jitter_diversity_percent", [80.1], [80.0], EVERYWHERE),
    ("R54 R56", S5, "herd_out_of_band", [0], [1], EVERYWHERE),
    ("R83", S5, "herd_wrong_budget", [0], [1], EVERYWHERE),
    ("R58 R62", S5, "final_completion_percent", [100.0], [98.0], EVERYWHERE),
    ("R64", S6, "faults_injected", [200], [199], EVERYWHERE),
    ("R6", S6, "faults_recovered", [200], [199], EVERYWHERE),
    ("R6", S6, "slowest_recovery_ms", [4999.0], [5000.0], EVERYWHERE),
    ("R8 R65", S6, "silent_failures", [0], [1], EVERYWHERE),
    ("R64", S6, "visible_errors", ["All"], ["199 of 200"], EVERYWHERE),
    ("R66", S6, "retry_indicator", ["Shown"], ["Missing at 1 of 200"], EVERYWHERE),
    ("R69-R75", S6, "texts_missing", [0], [1], EVERYWHERE),
    ("R67 R70-R75", S6, "texts_wrong", [0], [1], EVERYWHERE),
    ("R68", S6, "without_an_end", [0], [1], EVERYWHERE),
    ("R84", TOGETHER, "mean_completion_rate_percent", [99.5], [99.4], EVERYWHERE),
    ("R85", TOGETHER, "mean_reconnect_time_ms", [2500.0], [2501.0], EVERYWHERE),
    ("R86", TOGETHER, "p95_reconnect_time_ms", [4199.0], [4200.0], EVERYWHERE),
    ("R87", TOGETHER, "p99_reconnect_time_ms", [4799.0], [4800.0], EVERYWHERE),
    ("R88", TOGETHER, "max_reconnect_time_ms", [4999.0], [5000.0], EVERYWHERE),
    ("R86", TOGETHER, "reconnects_measured", [200], [199], EVERYWHERE),
    ("R6", TOGETHER, "reconnects_never", [0], [1], EVERYWHERE),
    ("R91", TOGETHER, "total_message_loss", [0], [1], EVERYWHERE),
    ("R91", TOGETHER, "total_duplicates", [0], [1], EVERYWHERE),
]

# What is granted to clocks and machines that are not virtual, and no more.
ROOM = [
    ("R22 R30", S2, "earliest_notice_s", [24.5], [24.4], SOCKETS),
    ("R208", S2, "shortest_silence_s", [30.4], [30.3], SOCKETS),
    ("R164", S1, "slowdown", [2.0, 6.0], [1.9, 6.1], SOCKETS),
    ("R53", S5, "earliest_attempt_ms", [-5.0], [-5.1], SOCKETS),
    ("R53", S5, "latest_attempt_ms", [500.0], [501.0], SOCKETS),
]

# What the demands only imply.
OTHERS = {
    *((ALL, figure) for figure in ("in_time", "altered")),
    (S1, "suppressed"),
    (S2, "late_notices"),
    (S4, "outages"),
    (S5, "last_attempt"),
}


@pytest.mark.parametrize("row", [*DEMANDS, *ROOM], ids=lambda row: f"{row[1]}-{row[2]}-{'-'.join(row[5])}")
def test_a_gate_is_as_strict_as_its_demand(row):
    """P45, R217: what the demand just allows passes, and what lies just beyond it, or is not known, does not."""
    demand, scenario, figure, allowed, refused, forms = row
    for form in forms:
        gates = [
            gate
            for gate in GATES
            if (gate.scenario, gate.figure) == (scenario, figure) and (not gate.forms or form in gate.forms)
        ]
        assert gates, f"no gate judges {figure} in {form}"
        assert all(gate.passes(value) for gate in gates for value in allowed), (demand, form)
        assert not any(all(gate.passes(value) for gate in gates) for value in [*refused, None]), (
            demand,
            form,
        )


def test_every_gate_is_compared():
    """A gate that is added is written down here, too."""
    assert {(gate.scenario, gate.figure) for gate in GATES} == {row[1:3] for row in DEMANDS} | OTHERS
