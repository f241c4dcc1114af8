"""
The six production scenarios: what the report we started from claims, shown of this client (R3, R4, R222).

Each test reads figures of runs that were played once: in virtual time, exact to the millisecond, on asyncio and on
trio; and over real sockets in real time, marked `e2e` and `proof`.  A scenario's module holds what each figure
must be, and the demands that it stands for: one test judges all of them.  The others look at the runs themselves.
"""

from __future__ import annotations

from datetime import date

import pytest

from resilient_sse.testing import run_in_virtual_time
from resilient_sse.testing.report import GATES, GateResult, Report
from resilient_sse.testing.scenarios import SCENARIOS, Play, Run, RunLog, VirtualDriver, play
from resilient_sse.testing.scenarios.user_experience import inject
from tests.streaming.tolerance import LATE, passed

RESTORED = "Connection restored - resuming stream..."


def states(stream):
    """List a stream's states with the times at which they began."""
    return [(round(entry.at, 3), entry.facts["new"]) for entry in stream.all("state")]


class TestSlow3G:
    """Scenario 1: fifty messages of 100 bytes over 100 kbps."""

    def test_all_fifty_messages_arrive(self, scenario):
        """Completion is 100 %, and each message has 100 bytes and its own content (R12, R13, X1)."""
        run = scenario("slow-3g")
        (slow,) = run.run.part("slow")
        assert [entry.facts["id"] for entry in slow.received] == list(range(1, 51))

    def test_the_clients_own_count_agrees(self, scenario):
        """`stream.stats` says 50 messages and the completion event, all unique, none repeated (R89)."""
        (slow,) = scenario("slow-3g").run.part("slow")
        (stats,) = slow.all("stats")
        assert (stats.facts["received"], stats.facts["delivered"], stats.facts["duplicates"]) == (51, 51, 0)


class TestStall:
    """Scenario 2: silence, with the real limits of 25 and 30 s."""

    def test_every_stall_is_recovered_from(self, scenario):
        """t4 - t2 is under 5 s for each, 2.5 s in the median, and nobody has to do anything (R7, R23, R24)."""
        run = scenario("stall")
        assert len(run.run.part("stall")) == (10 if run.run.form == "real" else 50)

    def test_the_four_points_of_a_recovery(self, scenario):
        """Each recovery has t1 <= t2 <= t3 <= t4, and the first attempt was 0.9 to 1.1 s after t2 (R27, R101)."""
        run = scenario("stall").run
        for stream in run.part("stall"):
            (recovery,) = stream.recoveries
            assert recovery.t1 < recovery.t2 < recovery.t3 <= recovery.t4
            assert 0.89 < recovery.t3 - recovery.t2 < (1.6 if run.form == "real" else 1.1001)

    def test_what_was_sent_meanwhile_arrives(self, scenario):
        """All 50 messages of each stream are received, ten of them published into the silence (R25)."""
        run = scenario("stall")
        assert {len(stream.received) for stream in run.run.part("stall")} == {50}

    def test_a_late_event_is_no_stall(self, scenario):
        """A silence of almost 30 s brings a notice, and ends in CONNECTED without a reconnect (R20, R30)."""
        run = scenario("stall")
        (late,) = run.run.part("late")
        assert [state for _, state in states(late)] == ["connected", "waiting", "connected", "closed"]

    def test_offline_for_36_seconds(self, scenario):
        """Offline for longer than a stall: shown, and resumed under 5 s after the link is back (R165)."""
        run = scenario("stall")
        (offline,) = run.run.part("offline")
        order = [state for _, state in states(offline)]
        assert order[:3] == ["connected", "waiting", "reconnecting"]
        assert order[-2:] == ["connected", "closed"]


class TestPacketLoss:
    """Scenario 3: one tenth is lost."""

    def test_the_server_drops_five_of_fifty(self, scenario):
        """Before the replay 45 of 50 were sent: 90 % (R32, R33)."""
        run = scenario("packet-loss")
        assert run.figures["initial_delivery_percent"] == 90.0

    def test_order_holds_and_no_gap_stays(self, scenario):
        """Delivered ids rise by one from 1 to 50, though the holes were seen late (R35, R36)."""
        run = scenario("packet-loss")
        for stream in run.run.streams:
            assert [entry.facts["id"] for entry in stream.received] == list(range(1, 51))


class TestHandoff:
    """Scenario 4: from Wi-Fi to 4G."""

    def test_the_reconnect_url(self, scenario):
        """It holds one last_event_id=19 and the other parameters unchanged, and the header says 19 (R47, X15)."""
        run = scenario("handoff")
        (stream,) = run.run.streams
        _, resumed = stream.all("request")
        assert resumed.facts["query"] == ["19"]
        assert resumed.facts["params"] == [["user_id", "handoff"], ["device", "phone"], ["lang", "en"]]


class TestUserExperience:
    """Scenario 6: what people see."""

    def test_every_recovery_is_shown_once(self, scenario):
        """RECONNECTING -> CONNECTED bears the text of recovery, and nothing else does (R67, R73)."""
        run = scenario("user-experience").run
        for stream in run.streams:
            changes = [entry.facts for entry in stream.all("state")]
            restored = [change for change in changes if change["message"] == RESTORED]
            back = [x for x in changes if (x["old"], x["new"]) == ("reconnecting", "connected")]
            assert restored == back


class TestTogether:
    """All six."""

    @pytest.mark.parametrize(
        "gate", GATES, ids=lambda gate: "-".join((gate.scenario, gate.figure, *gate.forms))
    )
    def test_every_gate_is_passed(self, report, judge, gate):
        """All six scenarios and what they come to, in every form (R5, R20, R217, and those of the gate)."""
        assert report.complete
        verdicts = [verdict for verdict in report.verdicts if verdict.gate is gate]
        assert bool(verdicts) is (not gate.forms or report.form in gate.forms)
        assert [str(verdict) for verdict in verdicts if not judge(verdict)] == []

    def test_virtual_time_says_yes(self, virtual_report):
        """Where no machine can be too slow, the answer is YES (R20, R217)."""
        assert virtual_report.ready
        assert virtual_report.reasons == []

    @pytest.mark.parametrize(
        "figure,late,value,granted",
        [
            ("stall_recovery_ms", 0.0, 5000.0, False),
            ("stall_recovery_ms", LATE, 5000.0, False),
            ("stall_recovery_ms", 0.3, 5000.0, True),
            ("stall_recovery_ms", 0.3, 10_001.0, False),
            ("slowdown", 0.0, 2.9, False),
            ("slowdown", 0.3, 1.61, True),
            ("slowdown", 0.3, 1.4, False),
        ],
    )
    def test_only_a_late_machine_is_granted_more(self, figure, late, value, granted):
        """A time that is missed counts as missed where the run's own clock was kept (R7, R164)."""
        gate = next(gate for gate in GATES if gate.figure == figure)
        assert passed(GateResult(gate, "a run", value, gate.passes(value)), late) is granted


class TestExactly:
    """What virtual time allows: equality."""

    def test_a_stall_to_the_millisecond(self, virtual_report):
        """Notice at 25.000 s and detection at 30.000 s after the last event, on every stream (R20, R30)."""
        figures = virtual_report.shown["scenario_2_stall_detection"].figures
        assert (figures["earliest_notice_s"], figures["latest_notice_s"]) == (25.0, 25.0)
        assert (figures["earliest_detection_s"], figures["latest_detection_s"]) == (30.0, 30.0)
        assert figures["heartbeat_interval_s"] == 10.0

    def test_offline_to_the_state(self, virtual_report):
        """Attempts in the dark are refused; the one after the link's return succeeds (R165)."""
        (offline,) = virtual_report.shown["scenario_2_stall_detection"].run.part("offline")
        attempts = [entry.facts["attempt"] for entry in offline.announcements]
        assert attempts == [1, 2, 3]

    def test_a_handoff_to_the_millisecond(self, virtual_report):
        """1 s, refused, 2 s, accepted, and 4G's way there and back: the same on both backends (R49)."""
        run = virtual_report.shown["scenario_4_network_handoff"]
        (recovery,) = run.run.streams[0].recoveries
        assert recovery.t3 - recovery.t2 == pytest.approx(1.0, abs=1e-9)
        assert run.figures["recovery_ms"] == 3051.2

    def test_three_delays_to_the_microsecond(self, virtual_report):
        """From each announcement to the request that follows: 1.0, 2.0, 4.0 s (R53)."""
        (flap,) = virtual_report.shown["scenario_5_rapid_reconnects"].run.part("flap")
        announced = [entry.at for entry in flap.announcements]
        asked = [entry.at for entry in flap.all("request")[1:]]
        waits = [then - now for now, then in zip(announced, asked, strict=True)]
        assert waits == pytest.approx([1.0, 2.0, 4.0], abs=1e-9)

    def test_the_slow_line_is_the_same_on_both_backends(self):
        """One seed is one log: jitter, losses and where faults strike come out of it (R11)."""
        assert logged("slow-3g", "asyncio") == logged("slow-3g", "trio")

    @pytest.mark.parametrize("name", SCENARIOS)
    @pytest.mark.proof
    def test_a_seed_decides_everything(self, name):
        """The client's jitter, too: played twice, the logs are equal to the last figure (R11)."""
        assert logged(name, "asyncio") == logged(name, "asyncio")

    def test_another_seed_is_another_log(self):
        """The seed decides: here, which events the server drops (R11, R32)."""
        drops = [
            {entry.facts["id"] for entry in played("packet-loss", seed=seed).entries if entry.kind == "fault"}
            for seed in (1, 2)
        ]
        assert drops[0] != drops[1]


def played(name, backend="asyncio", seed=7):
    """Play one scenario in virtual time."""
    return run_in_virtual_time(play, SCENARIOS[name], VirtualDriver(seed), backend=backend)


def logged(name, backend):
    """List the lines of its log."""
    return [entry.to_json() for entry in played(name, backend).ordered()]


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.proof
def test_each_scenario_can_be_played_alone(name):
    """One alone passes its gates, and the report on it says that the others are missing (R4)."""
    report = Report(played(name).entries, day=date(2026, 1, 2))
    assert report.kept
    assert len(report.reasons) == 5


def test_two_hundred_drops_and_fifty_stalls(virtual_report):
    """200 faults and 50 stalls are recovered from, each in under 5 s (R6, R7)."""
    faults = virtual_report.shown["scenario_6_user_experience"].run.part("faults")
    stalls = virtual_report.shown["scenario_2_stall_detection"].run.part("stall")
    times = [x.reconnect for stream in [*faults, *stalls] for x in stream.recoveries]
    assert len(times) == 250
    assert max(times) < 5.0


@pytest.mark.proof
def test_a_thousand_streams_lose_nothing():
    """1,000 streams of 50 messages with ten faults of five kinds each: 50,000 of 50,000, in order, once (R5)."""
    log = RunLog("scenario_6_user_experience", "virtual", seed=1, now=lambda: 0.0)

    async def run():
        await inject(Play(VirtualDriver(1), log), streams=1000, rounds=10)

    run_in_virtual_time(run)
    streams = Run(log.name, log.entries).streams
    assert len(streams) == 1000
    for stream in streams:
        assert [entry.facts["id"] for entry in stream.received] == list(range(1, 51))
    assert sum(len(stream.all("fault")) for stream in streams) == 10_000
