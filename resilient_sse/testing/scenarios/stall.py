"""Scenario 2: silence, noticed after 25 s and ended after 30 s (R20-R26, R30, R165, R208)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from statistics import median

import anyio

from resilient_sse.testing.scenarios.gates import REAL, VIRTUAL, Figures, Gate, milliseconds, seconds
from resilient_sse.testing.scenarios.log import Run, Stream
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_2_stall_detection"
_OFFLINE_SECONDS = 36.0
_HEARTBEAT = 10.0


async def _silence(play: Play, part: str, profile: str, *, streams: int = 1, offline: bool = False) -> None:
    """Let connections fall silent while the server is well; while *offline*, for 36 s, new ones are refused."""
    async with play.scene(Setup(part=part, profile=profile)) as scene:
        for number in range(streams):
            scene.follow(f"{part}-{number + 1}")
        await scene.connected()
        await scene.deliver(count=20)
        scene.fault(part)
        if offline:
            await scene.stage.refuse()
        await scene.stage.black_hole()
        await scene.publish(count=10)
        if offline:
            await anyio.sleep(_OFFLINE_SECONDS)
        else:
            await scene.all(lambda stream: stream.losses == 1)
        await scene.stage.flow()
        await scene.stage.accept()
        scene.mended(part)
        await scene.caught_up()
        await scene.publish(count=20)
        await scene.complete()


async def _quiet(play: Play, part: str, seconds: float, heartbeat: float | None = None) -> None:
    """Publish nothing for a while: for almost too long, or while there are heartbeats."""
    async with play.scene(Setup(part=part, heartbeat=heartbeat)) as scene:
        scene.follow(part)
        await scene.connected()
        await scene.deliver(count=20)
        await anyio.sleep(seconds)
        await scene.deliver(count=30)
        await scene.complete()


async def _play(play: Play) -> None:
    # A tenth of a second is certain in virtual time only.
    late, long = play.by_form(virtual=(29.9, 600.0), real=(28.0, 41.0))
    await play.together(
        partial(_silence, part="stall", profile="4g", streams=play.by_form(virtual=50, real=10)),
        partial(_silence, part="offline", profile="slow-3g", offline=True),
        partial(_quiet, part="late", seconds=late),
        partial(_quiet, part="heartbeats", seconds=long, heartbeat=_HEARTBEAT),
    )


def _figures(run: Run) -> Figures:
    streams, offline, late, beats = (run.part(part) for part in ("stall", "offline", "late", "heartbeats"))
    stalled = [*streams, *offline]
    recoveries = run.recoveries("stall")
    times = [recovery.reconnect for recovery in recoveries if recovery.reconnect is not None]
    silences = [recovery.silence for recovery in recoveries if recovery.silence is not None]
    outages = [recovery for stream in stalled for recovery in stream.recoveries]
    detections = [recovery.t2 - recovery.t1 for recovery in outages if recovery.t1 is not None]
    notices = [notice for stream in [*stalled, *late] for notice in _notices(stream)]
    shown = all(
        any(entry.facts["message"].startswith("Waiting") for entry in stream.all("state", new="waiting"))
        for stream in stalled
    )
    resumed = [
        x.at - back.at for s in offline for back in s.all("mended") for x in s.received if x.at >= back.at
    ]
    # The mean time between heartbeats, over the longest time without a message.
    beat = [
        (later.at - earlier.at) / count
        for stream in beats
        if (count := stream.fact("stats", "heartbeats", 0))
        for earlier, later in pairwise(stream.received)
    ]
    return {
        "stall_recovery_ms": milliseconds(max(times, default=None)),
        "median_stall_recovery_ms": milliseconds(median(times) if times else None),
        "ui_feedback": "Visible" if stalled and shown else "Missing",
        "auto_reconnect": bool(recoveries) and len(times) == len(recoveries) == len(streams),
        "earliest_notice_s": seconds(min(notices, default=None)),
        "latest_notice_s": seconds(max(notices, default=None)),
        "earliest_detection_s": seconds(min(detections, default=None)),
        "latest_detection_s": seconds(max(detections, default=None)),
        "shortest_silence_s": seconds(min(silences, default=None)),
        "longest_silence_s": seconds(max(silences, default=None)),
        "stalls_missed": sum(stream.fact("stats", "stalls", 0) != 1 for stream in streams),
        "offline_resume_ms": milliseconds(min(resumed, default=None)),
        "late_reconnects": len(late[0].announcements) if late else None,
        "late_notices": len(late[0].all("state", new="waiting")) if late else None,
        "heartbeat_false_alarms": len([*beats[0].announcements, *beats[0].all("state", new="waiting")])
        if beats
        else None,
        "heartbeat_interval_s": seconds(max(beat, default=None)),
    }


def _notices(stream: Stream) -> Iterable[float]:
    """Yield how long each silence had lasted when it was shown."""
    for entry in stream.all("state", new="waiting"):
        last = [event.at for event in stream.all("received") if event.at <= entry.at]
        if last:
            yield entry.at - last[-1]


STALL = Scenario(
    key=_KEY,
    name="stall",
    promise="Silence is shown after 25 s, ended after 30 s; what was sent meanwhile arrives; a heartbeat is life.",
    play=_play,
    limit=700.0,
    figures=_figures,
    fields=("stall_recovery_ms", "ui_feedback", "auto_reconnect"),
    gates=(
        Gate(_KEY, "earliest_notice_s", "within", (25.0, 25.5), "R22 R30, X2", forms=VIRTUAL),
        Gate(_KEY, "latest_notice_s", "within", (25.0, 25.5), "R22 R30, R176, X2 X3"),
        # On two clocks, there is the event's way between them.
        Gate(_KEY, "earliest_notice_s", ">=", 24.5, "R22 R30", forms=REAL),
        Gate(_KEY, "earliest_detection_s", "within", (30.0, 30.5), "R20 R21 R101", forms=VIRTUAL),
        Gate(_KEY, "earliest_detection_s", ">=", 29.5, "R20 R21 R101", forms=REAL),
        Gate(_KEY, "latest_detection_s", "<=", 30.5, "R20 R21 R101"),
        Gate(_KEY, "ui_feedback", "==", "Visible", "R22"),
        Gate(_KEY, "stall_recovery_ms", "<", 5000.0, "R7 R23"),
        Gate(_KEY, "median_stall_recovery_ms", "<=", 2500.0, "R23"),
        Gate(_KEY, "auto_reconnect", "==", True, "R24"),
        Gate(_KEY, "stalls_missed", "==", 0, "R106"),
        Gate(_KEY, "shortest_silence_s", ">=", 30.4, "R208", forms=REAL),
        Gate(_KEY, "shortest_silence_s", ">=", 30.9, "R208", forms=VIRTUAL),
        Gate(_KEY, "longest_silence_s", "<=", 33.0, "R208"),
        Gate(_KEY, "offline_resume_ms", "<", 5000.0, "R165"),
        Gate(_KEY, "late_reconnects", "==", 0, "R20 R30"),
        Gate(_KEY, "late_notices", "==", 1, "R30"),
        Gate(_KEY, "heartbeat_false_alarms", "==", 0, "R26 R174"),
        Gate(_KEY, "heartbeat_interval_s", "within", (9.5, 10.5), "R26"),
    ),
    charts=(
        Chart("stall", "The connection falls silent"),
        Chart("offline", "No network for 36 s"),
        Chart("late", "Almost too long a silence"),
        Chart("heartbeats", "Nothing but heartbeats"),
    ),
)
