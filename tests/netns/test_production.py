"""All six production scenarios in network namespaces, judged as the report judges them (R217, R222)."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from resilient_sse.testing.report import Report, check
from resilient_sse.testing.report.gates import ALL, GATES, TOGETHER
from resilient_sse.testing.scenarios import SCENARIOS, play_at_once
from tests.netns.driver import NetnsDriver
from tests.netns.naming import DIRECTORY
from tests.netns.stage import need_kernel

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

S1, S3 = SCENARIOS["slow-3g"].key, SCENARIOS["packet-loss"].key

ROOT = Path(__file__).parents[2]

NOT_HERE = {
    # A namespace has no latency to offer,
    (S1, "duration_ms"),
    (S1, "slowdown"),
    (S3, "withheld"),
    (S3, "initial_delivery_percent"),
    # drops the packet by which a server would hear of a lost connection,
    (ALL, "max_live_connections"),
    # and a connection that is asked for in the dark is asked for again after 1, 3 and 7 s, by TCP.
    (TOGETHER, "max_reconnect_time_ms"),
}
"""The gates of real sockets that mean nothing here, by scenario and figure."""

STALL = """
import anyio
from resilient_sse.testing.scenarios import SCENARIOS, play_at_once
from tests.netns.driver import NetnsDriver

anyio.run(play_at_once, [SCENARIOS["stall"]], NetnsDriver(7))
"""


def test_every_gate_is_passed_in_network_namespaces():
    """Packets are really lost and links really cut; what the log says is what the report says (R4, R216, R217)."""
    need_kernel()
    logs = anyio.run(play_at_once, SCENARIOS.values(), NetnsDriver(7))
    entries = [entry for log in logs for entry in log.ordered()]
    report = Report(entries, day=datetime.now(UTC).date())
    judged = [x for x in report.verdicts if (x.gate.scenario, x.gate.figure) not in NOT_HERE]
    assert [str(verdict) for verdict in judged if not verdict.passed] == [], report.reasons
    assert report.complete
    assert len(report.verdicts) - len(judged) == len(NOT_HERE) - 1 + len(SCENARIOS)
    assert check(report.to_dict(), [json.loads(entry.to_json()) for entry in entries]) == []


def test_what_is_left_out_exists():
    """A gate that is renamed or goes is taken off the list."""
    assert {(gate.scenario, gate.figure) for gate in GATES} >= NOT_HERE


def namespaces_of(process):
    """List the network namespaces that a process has made."""
    return [path.name for path in DIRECTORY.glob(f"resilient-sse-{process.pid}-*")]


def test_namespaces_go_with_their_process():
    """Bad input: a process that is interrupted while it plays leaves no network namespace behind."""
    need_kernel()
    process = subprocess.Popen([sys.executable, "-c", STALL], stderr=subprocess.PIPE, cwd=ROOT)
    deadline = time.monotonic() + 30
    while len(namespaces_of(process)) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    made = namespaces_of(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert len(made) == 8
    assert process.returncode == -signal.SIGINT, said.decode()
    assert namespaces_of(process) == []
