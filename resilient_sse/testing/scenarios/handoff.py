"""Scenario 4: from Wi-Fi to 4G after twenty of fifty messages (R42-R49)."""

from __future__ import annotations

import anyio

from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

__all__ = ["HANDOFF"]

_GAP = 1.25
"""Seconds without any network: longer than the first delay, so that the first attempt is certain to fail."""


async def _play(play: Play) -> None:
    setup = Setup(part="handoff", profile="wifi", first_id=0)
    settings = Settings(part="handoff", jitter=0.0, params={"device": "phone", "lang": "en"})
    async with play.scene(setup) as scene:
        scene.follow("handoff", settings)
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        scene.fault("handoff")
        await scene.stage.refuse()
        await scene.stage.reset()
        await scene.stage.use("4g")
        await scene.publish(count=10)
        await anyio.sleep(_GAP)
        await scene.stage.accept()
        scene.mended("handoff")
        await scene.caught_up()
        await scene.publish(count=20)
        await scene.complete()


HANDOFF = Scenario(
    key="scenario_4_network_handoff",
    name="handoff",
    title="Wi-Fi to 4G hand-off",
    promise="Twenty messages before, thirty after; the reconnect names the last one (last_event_id=19).",
    play=_play,
)
