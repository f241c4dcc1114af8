"""Scenario 1: fifty messages over a line of 100 kbps (R10-R19, R164)."""

from __future__ import annotations

from resilient_sse.testing.scenarios.gates import (
    REAL,
    VIRTUAL,
    Figures,
    Gate,
    milliseconds,
)
from resilient_sse.testing.scenarios.log import MESSAGE, Run
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_1_slow_3g"
_MESSAGES = 50
_EVERY = 0.0032
"""Seconds between messages: about as fast as a language model speaks, and four times what the line carries."""
_CLEAN_LINES = 3
"""A busy machine only makes a line slower: the fastest of several clean ones is the measure of the slow one."""


async def _stream(play: Play, name: str, part: str, profile: str) -> None:
    async with play.scene(Setup(part=part, profile=profile)) as scene:
        scene.follow(name)
        await scene.connected()
        await scene.deliver(count=_MESSAGES, every=_EVERY)
        await scene.complete()


async def _play(play: Play) -> None:
    # One after the other: each is measured while no other takes a part of the machine.
    await _stream(play, "slow", "slow", "slow-3g")
    for number in range(1, _CLEAN_LINES + 1):
        await _stream(play, f"clean-{number}", "clean", "clean")


def _durations(run: Run, part: str) -> list[float]:
    """Return the seconds from the first message published to the last received, for each stream."""
    return [
        stream.received[-1].at - stream.all("published", type=MESSAGE)[0].at
        for stream in run.part(part)
        if stream.published and stream.received
    ]


def _figures(run: Run) -> Figures:
    slow, clean = (min(_durations(run, part), default=None) for part in ("slow", "clean"))
    sizes = [entry.facts["size"] for stream in run.streams for entry in stream.received]
    return {
        "duration_ms": milliseconds(slow),
        "clean_duration_ms": milliseconds(clean),
        "slowdown": None if slow is None or not clean else round(slow / clean, 2),
        "drops": sum(run.network("drops", "slow")),
        "smallest_message_bytes": min(sizes, default=None),
        "largest_message_bytes": max(sizes, default=None),
    }


SLOW_3G = Scenario(
    key=_KEY,
    name="slow-3g",
    promise="Fifty messages arrive over 100 kbps with 150 ms of jittered latency, once each, without a reconnect.",
    play=_play,
    limit=30.0,
    alone=True,
    figures=_figures,
    fields=("completion_rate_percent", "duplicates", "message_loss", "duration_ms"),
    gates=(
        Gate(_KEY, "total_events", "==", 200, "R12: fifty over each of four lines"),
        Gate(_KEY, "smallest_message_bytes", "==", 100, "R12"),
        Gate(_KEY, "largest_message_bytes", "==", 100, "R12"),
        Gate(_KEY, "duration_ms", "within", (500.0, 2000.0), "R15"),
        Gate(_KEY, "slowdown", "within", (3.0, 5.0), "R164", forms=VIRTUAL),
        Gate(_KEY, "slowdown", "within", (2.0, 6.0), "R164, with room for a busy machine", forms=REAL),
        Gate(_KEY, "announcements", "==", 0, "R18"),
        Gate(_KEY, "suppressed", "==", 0, "R14"),
        Gate(_KEY, "drops", "==", 0, "R19"),
        Gate(_KEY, "duplicate_rate_percent", "==", 0.0, "R89"),
    ),
    charts=(Chart("slow", "100 kbps, 150 ms"), Chart("clean", "the same, unhindered")),
)
