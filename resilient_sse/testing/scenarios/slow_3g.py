"""Scenario 1: fifty messages over a line of 100 kbps (R10-R19, R164)."""

from __future__ import annotations

from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

__all__ = ["SLOW_3G"]

_MESSAGES = 50
_EVERY = 0.0032
"""Seconds between messages: about as fast as a language model speaks, and four times what the line carries."""


async def _stream(play: Play, part: str, profile: str) -> None:
    async with play.scene(Setup(part=part, profile=profile)) as scene:
        scene.follow(part, Settings(part=part))
        await scene.connected()
        await scene.publish(count=_MESSAGES, every=_EVERY)
        await scene.caught_up()
        await scene.complete()


async def _play(play: Play) -> None:
    # One after the other: the second is what the first is compared with.
    await _stream(play, "slow", "slow-3g")
    await _stream(play, "clean", "clean")


SLOW_3G = Scenario(
    key="scenario_1_slow_3g",
    name="slow-3g",
    title="Slow 3G (100 kbps)",
    promise="Fifty messages arrive over 100 kbps with 150 ms of jittered latency, once each, without a reconnect.",
    play=_play,
    limit=20.0,
)
