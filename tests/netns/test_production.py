"""All six production scenarios in network namespaces, judged as the report judges them (R217, R222)."""

import json
from datetime import UTC, datetime

import anyio
import pytest

from resilient_sse.testing.report import Report
from resilient_sse.testing.scenarios import SCENARIOS, play_at_once
from tests.netns.driver import Driver
from tests.netns.network import need_kernel
from tests.streaming.recount import assert_recounted

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

NOT_HERE = {
    # A namespace has no latency to offer,
    *("duration_ms", "slowdown", "withheld", "initial_delivery_percent"),
    # drops the packet by which a server would hear of a lost connection,
    "max_live_connections",
    # and a connection that is asked for in the dark is asked for again after 1, 3 and 7 s, by TCP.
    "max_reconnect_time_ms",
}
"""The figures whose gates mean nothing here."""


def test_every_gate_is_passed_in_network_namespaces():
    """Packets are really lost and links really cut; what the log says is what the report says (R4, R216, R217)."""
    need_kernel()
    logs = anyio.run(play_at_once, SCENARIOS.values(), Driver(7))
    entries = [entry for log in logs for entry in log.ordered()]
    report = Report(entries, day=datetime.now(UTC).date())
    judged = [verdict for verdict in report.verdicts if verdict.gate.figure not in NOT_HERE]
    assert [str(verdict) for verdict in judged if not verdict.passed] == [], report.reasons
    assert report.complete
    assert {verdict.gate.figure for verdict in report.verdicts} >= NOT_HERE
    assert_recounted(report.to_dict(), [json.loads(entry.to_json()) for entry in entries])
