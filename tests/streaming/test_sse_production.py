"""
The six production scenarios: what the report we started from claims, shown of this client (R3, R4, R222).

Each test reads figures of runs that were played once: in virtual time, exact to the millisecond, on asyncio and on
trio; and over real sockets in real time, marked `e2e` and `proof`.  A scenario's module holds what each figure
must be, so a test names figures and the gates judge them; where virtual time allows more, a test says the number.
"""

from __future__ import annotations

from datetime import date

import pytest

from resilient_sse.testing import run_in_virtual_time
from resilient_sse.testing.report import GATES, Report, Verdict
from resilient_sse.testing.scenarios import SCENARIOS, Play, Run, RunLog, VirtualDriver, play
from resilient_sse.testing.scenarios.user_experience import inject
from tests.streaming.tolerance import LATE, passed

TEXTS = [
    "Waiting for server response...",
    "Reconnecting (attempt 2)...",
    "Connection lost - attempting to reconnect...",
    "Waiting for server response... (retry 2/5)",
    "Connection restored - resuming stream...",
    "Response complete",
    "Failed to connect. Please refresh.",
]


def states(stream):
    """List a stream's states with the times at which they began."""
    return [(round(entry.at, 3), entry.facts["new"]) for entry in stream.all("state")]


class TestSlow3G:
    """Scenario 1: fifty messages of 100 bytes over 100 kbps."""

    def test_all_fifty_messages_arrive(self, scenario, failed):
        """Completion is 100 %, and each message has 100 bytes and its own content (R12, R13, X1)."""
        run = scenario("slow-3g")
        (slow,) = run.run.part("slow")
        assert [entry.facts["id"] for entry in slow.received] == list(range(1, 51))
        assert failed(run, "completion_rate_percent", "altered", "total_events") == []
        assert failed(run, "smallest_message_bytes", "largest_message_bytes") == []

    def test_none_is_lost_or_repeated(self, scenario, failed):
        """Duplicates, suppressed ones included, losses and gaps are all 0 (R14, R16, R89, R91)."""
        figures = ("duplicates", "suppressed", "duplicate_rate_percent", "message_loss", "gaps")
        assert failed(scenario("slow-3g"), *figures) == []

    def test_the_line_is_slow(self, scenario, failed):
        """It takes 500 to 2,000 ms, three to five times the time of a clean line (R15, R164)."""
        assert failed(scenario("slow-3g"), "duration_ms", "slowdown") == []

    def test_jitter_needs_no_replay(self, scenario, failed):
        """Latency that varies by 20 % causes no reconnect, and the profile loses nothing (R18, R19)."""
        assert failed(scenario("slow-3g"), "announcements", "drops") == []

    def test_the_clients_own_count_agrees(self, scenario):
        """`stream.stats` says 50 messages and the completion event, all unique, none repeated (R89)."""
        (slow,) = scenario("slow-3g").run.part("slow")
        (stats,) = slow.all("stats")
        assert (stats.facts["received"], stats.facts["delivered"], stats.facts["duplicates"]) == (51, 51, 0)


class TestStall:
    """Scenario 2: silence, with the real limits of 25 and 30 s."""

    def test_waiting_is_shown_after_25_seconds(self, scenario, failed):
        """WAITING with its text is entered 25.0 to 25.5 s after the last event (R22, R30, R69, R176, X3)."""
        assert failed(scenario("stall"), "ui_feedback", "earliest_notice_s", "latest_notice_s") == []

    def test_the_stall_is_detected_after_30_seconds(self, scenario, failed):
        """t2 is t1 + 30 s, at most half a second later (R20, R21, R101, X2)."""
        assert failed(scenario("stall"), "earliest_detection_s", "latest_detection_s") == []

    def test_each_stall_is_counted_once(self, scenario, failed):
        """One stall is one count in the statistics of its stream (R106)."""
        assert failed(scenario("stall"), "stalls_missed") == []

    def test_every_stall_is_recovered_from(self, scenario, failed):
        """t4 - t2 is under 5 s for each, 2.5 s in the median, and nobody has to do anything (R7, R23, R24)."""
        run = scenario("stall")
        assert failed(run, "stall_recovery_ms", "median_stall_recovery_ms", "auto_reconnect") == []
        assert len(run.run.part("stall")) == (10 if run.run.form == "real" else 50)

    def test_the_four_points_of_a_recovery(self, scenario):
        """Each recovery has t1 <= t2 <= t3 <= t4, and the first attempt was 0.9 to 1.1 s after t2 (R27, R101)."""
        run = scenario("stall").run
        for stream in run.part("stall"):
            (recovery,) = stream.recoveries
            assert recovery.t1 < recovery.t2 < recovery.t3 <= recovery.t4
            assert 0.89 < recovery.t3 - recovery.t2 < (1.6 if run.form == "real" else 1.1001)

    def test_what_was_sent_meanwhile_arrives(self, scenario, failed):
        """All 50 messages of each stream are received, ten of them published into the silence (R25)."""
        run = scenario("stall")
        assert failed(run, "completion_rate_percent", "message_loss") == []
        assert {len(stream.received) for stream in run.run.part("stall")} == {50}

    def test_the_whole_silence_is_about_32_seconds(self, scenario, failed):
        """From the last event to the next, t4 - t1, it is 30.9 to 33.0 s (R208, X8)."""
        assert failed(scenario("stall"), "shortest_silence_s", "longest_silence_s") == []

    def test_a_late_event_is_no_stall(self, scenario, failed):
        """A silence of almost 30 s brings a notice, and ends in CONNECTED without a reconnect (R20, R30)."""
        run = scenario("stall")
        assert failed(run, "late_reconnects", "late_notices") == []
        (late,) = run.run.part("late")
        assert [state for _, state in states(late)] == ["connected", "waiting", "connected", "closed"]

    def test_heartbeats_prevent_false_alarms(self, scenario, failed):
        """Nothing but heartbeats every 10 s: no stall and no notice (R26, R174, R178)."""
        assert failed(scenario("stall"), "heartbeat_false_alarms", "heartbeat_interval_s") == []

    def test_offline_for_36_seconds(self, scenario, failed):
        """Offline for longer than a stall: shown, and resumed under 5 s after the link is back (R165)."""
        run = scenario("stall")
        assert failed(run, "offline_resume_ms") == []
        (offline,) = run.run.part("offline")
        order = [state for _, state in states(offline)]
        assert order[:3] == ["connected", "waiting", "reconnecting"]
        assert order[-2:] == ["connected", "closed"]


class TestPacketLoss:
    """Scenario 3: one tenth is lost."""

    def test_the_server_drops_five_of_fifty(self, scenario, failed):
        """Before the replay 45 of 50 were sent: 90 % (R32, R33)."""
        run = scenario("packet-loss")
        assert failed(run, "withheld", "initial_delivery_percent") == []
        assert run.figures["initial_delivery_percent"] == 90.0

    def test_one_replay_completes_the_stream(self, scenario, failed):
        """After one reconnect there are 50 of 50 (R34, R166)."""
        assert failed(scenario("packet-loss"), "completion_after_replay_percent", "replays") == []

    def test_the_replay_begins_behind_the_last_event(self, scenario, failed):
        """The request bears the id of the last delivered event; the next one is the first answer (R37, R38)."""
        assert failed(scenario("packet-loss"), "resume_mismatches") == []

    def test_order_holds_and_no_gap_stays(self, scenario, failed):
        """Delivered ids rise by one from 1 to 50, though the holes were seen late (R35, R36)."""
        run = scenario("packet-loss")
        assert failed(run, "order_breaks", "gaps") == []
        for stream in run.run.streams:
            assert [entry.facts["id"] for entry in stream.received] == list(range(1, 51))

    def test_lost_segments_only_delay(self, scenario, failed):
        """TCP repeats lost segments: the stream is late, complete, and not reconnected (R32, R39, X18)."""
        assert failed(scenario("packet-loss"), "delayed_segments", "delayed_reconnects") == []


class TestHandoff:
    """Scenario 4: from Wi-Fi to 4G."""

    def test_twenty_before_and_thirty_after(self, scenario, failed):
        """Exactly 20 and 30 messages, 50 unique in all (R43)."""
        figures = ("received_before", "received_after", "received_events", "total_events")
        assert failed(scenario("handoff"), *figures) == []

    def test_the_reconnect_url(self, scenario, failed):
        """It holds one last_event_id=19 and the other parameters unchanged, and the header says 19 (R47, X15)."""
        run = scenario("handoff")
        assert failed(run, "url_cursor", "header_cursor", "parameters_kept") == []
        (stream,) = run.run.streams
        _, resumed = stream.all("request")
        assert resumed.facts["query"] == ["19"]
        assert resumed.facts["params"] == [["user_id", "handoff"], ["device", "phone"], ["lang", "en"]]

    def test_the_stream_goes_on_by_itself(self, scenario, failed):
        """The first event after it is 20, in the same loop, without an exception (R42, R48, X23)."""
        assert failed(scenario("handoff"), "first_resumed_id", "error", "outages") == []

    def test_it_takes_less_than_five_seconds(self, scenario, failed):
        """From the loss to the next event, with no network for more than a second (R46, R49)."""
        assert failed(scenario("handoff"), "recovery_ms") == []


class TestRapidReconnects:
    """Scenario 5: off and on three times."""

    def test_three_attempts_at_one_two_and_four_seconds(self, scenario, failed):
        """Delays are 1.0, 2.0 and 4.0 s, attempts and reconnects are three (R51, R52, R53)."""
        run = scenario("rapid-reconnects")
        assert failed(run, "backoff_sequence", "reconnect_attempts", "last_attempt", "reconnects") == []

    def test_attempts_are_made_when_announced(self, scenario, failed):
        """To the millisecond in virtual time (R53)."""
        assert failed(scenario("rapid-reconnects"), "earliest_attempt_ms", "latest_attempt_ms") == []

    def test_nothing_is_lost_or_repeated(self, scenario, failed):
        """50 of 50; of the events that the server repeats, all 15 are suppressed (R57, R58, R62, R63)."""
        run = scenario("rapid-reconnects")
        assert failed(run, "message_loss", "duplicates", "final_completion_percent", "suppressed") == []

    def test_no_two_clients_in_step(self, scenario, failed):
        """Of 100 clients more than 80 % draw a delay of their own at each attempt (R59, R61, R177)."""
        assert failed(scenario("rapid-reconnects"), "herd_clients", "jitter_diversity_percent") == []

    def test_delays_keep_to_their_band(self, scenario, failed):
        """+-10 % below the cap, 4.5 to 5.0 s at it, never more (R28, R54, R56, X6)."""
        assert failed(scenario("rapid-reconnects"), "herd_out_of_band") == []

    def test_the_budget_is_one_attempt_and_five_retries(self, scenario, failed):
        """Each of the 100 clients makes six attempts and then gives up (R83)."""
        assert failed(scenario("rapid-reconnects"), "herd_wrong_budget") == []


class TestUserExperience:
    """Scenario 6: what people see."""

    @pytest.mark.parametrize("text", TEXTS)
    def test_every_text_is_shown(self, scenario, text):
        """Each of the agreed texts occurs, to the letter (R69-R75)."""
        run = scenario("user-experience").run
        shown = {entry.facts["message"] for stream in run.streams for entry in stream.all("state")}
        assert text in shown

    def test_every_change_has_the_right_text(self, scenario, failed):
        """No change of state bears another text than the one that was agreed on for it (R67, R70)."""
        assert failed(scenario("user-experience"), "texts_missing", "texts_wrong") == []

    def test_no_failure_is_silent(self, scenario, failed):
        """200 faults, 200 shown before the next event (R8, R64, R65, R92)."""
        assert (
            failed(scenario("user-experience"), "faults_injected", "silent_failures", "visible_errors") == []
        )

    def test_every_attempt_is_announced(self, scenario, failed):
        """Before each attempt after the first there is RECONNECTING with its number (R66, R92)."""
        assert failed(scenario("user-experience"), "retry_indicator") == []

    def test_every_recovery_is_shown_once(self, scenario):
        """RECONNECTING -> CONNECTED bears the text of recovery, and nothing else does (R67, R73)."""
        run = scenario("user-experience").run
        for stream in run.streams:
            changes = [entry.facts for entry in stream.all("state")]
            restored = [change for change in changes if change["message"] == TEXTS[4]]
            back = [x for x in changes if (x["old"], x["new"]) == ("reconnecting", "connected")]
            assert restored == back

    def test_every_fault_is_recovered_from_in_time(self, scenario, failed):
        """200 of 200, each under 5 s (R6)."""
        assert (
            failed(scenario("user-experience"), "faults_recovered", "slowest_recovery_ms", "unrecovered")
            == []
        )

    def test_every_stream_says_how_it_ended(self, scenario, failed):
        """The last state is CLOSED or ERROR, with a reason (R68)."""
        assert failed(scenario("user-experience"), "without_an_end") == []


class TestTogether:
    """All six."""

    def test_every_gate_is_passed(self, report, failures):
        """All six scenarios and what they come to, in every form (R5, R20, R217)."""
        assert report.complete
        assert failures == []

    def test_virtual_time_says_yes(self, virtual_report):
        """Where no machine can be too slow, the answer is YES (R20, R217)."""
        assert virtual_report.ready
        assert virtual_report.reasons == []

    def test_the_service_level_is_judged(self, report):
        """Completion, mean, p95, p99 and maximum are judged over at least 200 reconnects (R84-R88, R99)."""
        judged = {verdict.gate.figure for verdict in report.verdicts if verdict.run == "aggregate"}
        wanted = {"mean_completion_rate_percent", "mean_reconnect_time_ms", "p95_reconnect_time_ms"}
        assert wanted | {"p99_reconnect_time_ms", "max_reconnect_time_ms"} <= judged
        assert report.figures["reconnects_measured"] >= 200

    def test_nothing_is_lost_or_repeated_anywhere(self, report):
        """Total losses and duplicates over all scenarios are 0 (R91)."""
        assert (report.figures["total_message_loss"], report.figures["total_duplicates"]) == (0, 0)

    def test_a_stream_never_holds_two_connections(self, report):
        """As the server saw it (R149)."""
        assert {judged.figures["max_live_connections"] for judged in report.judged} == {1}

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
        assert passed(Verdict(gate, "a run", value, gate.passes(value)), late) is granted


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
