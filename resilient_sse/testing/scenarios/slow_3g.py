"""Scenario 1: fifty messages over a line of 100 kbps (R10-R19, R164)."""

from __future__ import annotations

from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

__all__ = ["SLOW_3G"]

_MESSAGES = 50
_EVERY = 0.0032
"""Seconds between messages: about as fast as a language model speaks, and four times what the line carries."""
_CLEAN_LINES = 3
"""A busy machine only makes a line slower: the fastest of several clean ones is the measure of the slow one."""


async def _stream(play: Play, name: str, part: str, profile: str) -> None:
    async with play.scene(Setup(part=part, profile=profile)) as scene:
        scene.follow(name, Settings(part=part))
        await scene.connected()
        await scene.publish(count=_MESSAGES, every=_EVERY)
        await scene.caught_up()
        await scene.complete()


async def _play(play: Play) -> None:
    # One after the other: each has the machine to itself.
    await _stream(play, "slow", "slow", "slow-3g")
    for number in range(1, _CLEAN_LINES + 1):
        await _stream(play, f"clean-{number}", "clean", "clean")


SLOW_3G = Scenario(
    key="scenario_1_slow_3g",
    name="slow-3g",
    title="Slow 3G (100 kbps)",
    promise="Fifty messages arrive over 100 kbps with 150 ms of jittered latency, once each, without a reconnect.",
    play=_play,
    limit=30.0,
    alone=True,
)
