"""Scenario 2: silence, noticed after 25 s and ended after 30 s (R20-R26, R30, R165, R208)."""

from __future__ import annotations

import anyio

from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario
from resilient_sse.testing.scenarios.stage import Setup

__all__ = ["STALL"]

_OFFLINE_SECONDS = 36.0
_HEARTBEAT = 10.0


async def _stall(play: Play) -> None:
    """Let connections fall silent while the server is well; new ones are."""
    async with play.scene(Setup(part="stall", profile="4g")) as scene:
        for number in range(play.by_form(virtual=50, real=10)):
            scene.follow(f"stall-{number + 1}", Settings(part="stall"))
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        scene.fault("black-hole")
        await scene.stage.black_hole()
        await scene.publish(count=10)
        await scene.all(lambda stream: stream.losses == 1)
        await scene.stage.flow()
        scene.mended("black-hole")
        await scene.caught_up()
        await scene.publish(count=20)
        await scene.complete()


async def _offline(play: Play) -> None:
    """Lose the network for 36 s: nothing passes, and no new connection is made either."""
    async with play.scene(Setup(part="offline", profile="slow-3g")) as scene:
        scene.follow("offline", Settings(part="offline"))
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        scene.fault("offline")
        await scene.stage.refuse()
        await scene.stage.black_hole()
        await scene.publish(count=10)
        await anyio.sleep(_OFFLINE_SECONDS)
        await scene.stage.flow()
        await scene.stage.accept()
        scene.mended("offline")
        await scene.caught_up()
        await scene.publish(count=20)
        await scene.complete()


async def _late(play: Play) -> None:
    """Be silent for almost too long: that is a notice and no reconnect."""
    async with play.scene(Setup(part="late")) as scene:
        scene.follow("late", Settings(part="late"))
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        # A tenth of a second is certain in virtual time only.
        await anyio.sleep(play.by_form(virtual=29.9, real=28.0))
        await scene.publish(count=30)
        await scene.caught_up()
        await scene.complete()


async def _heartbeats(play: Play) -> None:
    """Send nothing but heartbeats: that is no silence."""
    async with play.scene(Setup(part="heartbeats", heartbeat=_HEARTBEAT)) as scene:
        scene.follow("heartbeats", Settings(part="heartbeats"))
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        await anyio.sleep(play.by_form(virtual=600.0, real=41.0))
        await scene.publish(count=30)
        await scene.caught_up()
        await scene.complete()


async def _play(play: Play) -> None:
    await play.together([_stall, _offline, _late, _heartbeats])


STALL = Scenario(
    key="scenario_2_stall_detection",
    name="stall",
    title="Stall detection (30 s)",
    promise="Silence is shown after 25 s, ended after 30 s; what was sent meanwhile arrives; a heartbeat is life.",
    play=_play,
    limit=700.0,
)
