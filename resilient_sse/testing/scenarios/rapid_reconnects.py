"""Scenario 5: the network goes off and on three times, and a hundred clients lose it at once (R51-R63)."""

from __future__ import annotations

import anyio

from resilient_sse._core.states import StreamState
from resilient_sse.testing.scenarios.follow import Follower, Settings
from resilient_sse.testing.scenarios.play import Play, Scenario, Scene
from resilient_sse.testing.scenarios.stage import HoldAfter, Setup

__all__ = ["RAPID_RECONNECTS"]

_TIMES = 3
_OVERLAP = 5
_OFF_SECONDS = 0.5
_CLIENTS = 100
_LOOK = 0.02


async def _flap(play: Play) -> None:
    """
    Go off and on.

    The first two times the network is on just long enough for what the client has already.  A new event would
    end the outage, and the delays would start again at one second.
    """
    setup = Setup(part="flap", profile="4g", overlap=_OVERLAP)
    async with play.scene(setup) as scene:
        await scene.stage.answer("flap", HoldAfter(10**9), *[HoldAfter(_OVERLAP)] * (_TIMES - 1))
        follower = scene.follow("flap", Settings(part="flap", jitter=0.0))
        await scene.connected()
        await scene.publish(count=20)
        await scene.caught_up()
        for time in range(_TIMES):
            await _repeated(follower, _OVERLAP * time)
            await _off_and_on(scene)
            await scene.connected()
        await scene.caught_up()
        await scene.complete()


async def _off_and_on(scene: Scene) -> None:
    scene.fault("off")
    await scene.stage.refuse()
    await scene.stage.reset()
    await scene.all(lambda stream: stream.state is StreamState.RECONNECTING)
    await scene.publish(count=10)
    await anyio.sleep(_OFF_SECONDS)
    await scene.stage.accept()
    scene.mended("off")


async def _repeated(follower: Follower, count: int) -> None:
    # What is dropped as a repetition is told to nobody, only counted.
    while follower.duplicates < count and not follower.over:  # noqa: ASYNC110
        await anyio.sleep(_LOOK)


async def _herd(play: Play) -> None:
    """Have many clients find no server at the same instant: each waits for a time of its own."""
    async with play.scene(Setup(part="herd")) as scene:
        await scene.stage.refuse()
        for number in range(_CLIENTS):
            scene.follow(f"herd-{number + 1:03}", Settings(part="herd"))
        scene.fault("no server")
        await scene.all(lambda stream: stream.over)


async def _play(play: Play) -> None:
    await play.together([_flap, _herd])


RAPID_RECONNECTS = Scenario(
    key="scenario_5_rapid_reconnects",
    name="rapid-reconnects",
    title="Rapid reconnects (off and on three times)",
    promise="Attempts after 1, 2 and 4 s; nothing lost, nothing twice though the server repeats; no herd.",
    play=_play,
)
