"""Scenario 3: a tenth is lost: segments, which TCP repeats, and events, which a replay brings (R32-R38, R166)."""

from __future__ import annotations

from resilient_sse.testing.proxy.profiles import Profile
from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup, Withhold

__all__ = ["PACKET_LOSS"]

_MESSAGES = 50
_WITHHELD = 5
_LOSSY = Profile(name="lossy", latency=0.02, loss=0.1, loss_delay=0.2)
_FAR = Profile(name="far", latency=0.5)
"""So long that all has been sent before the first event shows the client that some are missing."""


async def _delayed(play: Play) -> None:
    """Lose segments: they come late, and everything behind them waits."""
    async with play.scene(Setup(part="delayed", profile=_LOSSY)) as scene:
        scene.follow("delayed", Settings(part="delayed"))
        await scene.connected()
        await scene.publish(count=_MESSAGES, every=0.02)
        await scene.caught_up()
        await scene.complete()


async def _dropped(play: Play) -> None:
    """Have the server drop events; the client sees the holes and asks again."""
    withheld = frozenset(play.random.sample(range(2, _MESSAGES), _WITHHELD))
    async with play.scene(Setup(part="dropped", profile=_FAR)) as scene:
        await scene.stage.answer("dropped", Withhold(withheld))
        scene.follow("dropped", Settings(part="dropped", jitter=0.0))
        await scene.connected()
        await scene.publish(count=_MESSAGES)
        await scene.caught_up()
        await scene.complete()


async def _play(play: Play) -> None:
    await play.together([_delayed, _dropped])


PACKET_LOSS = Scenario(
    key="scenario_3_packet_loss",
    name="packet-loss",
    title="Packet loss (10 %)",
    promise="Lost segments only delay; five of fifty events that the server dropped are noticed and replayed.",
    play=_play,
)
