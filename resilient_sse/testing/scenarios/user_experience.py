"""Scenario 6: what a person is told, in which words, and that no failure stays silent (R6, R8, R64-R75, R92)."""

from __future__ import annotations

from resilient_sse._core.states import StreamState
from resilient_sse.testing.scenarios.follow import Settings
from resilient_sse.testing.scenarios.play import Play, Scenario, Scene
from resilient_sse.testing.scenarios.stage import Busy, Setup

__all__ = ["FAULTS", "USER_EXPERIENCE", "inject"]

FAULTS = ("reset", "close", "refuse", "silence", "busy")
"""What the network and the server do wrong, in turn."""

_STREAMS = 20
_ROUNDS = 10
_MESSAGES_FIRST = 10
_MESSAGES_A_ROUND = 4
_REAL_STALL = 2.0
"""Seconds of silence in real time: thirty of them are scenario 2."""


async def _journey(play: Play) -> None:
    """Go through every state of a stream that comes to a good end."""
    stall = play.by_form(virtual=30.0, real=6.0)
    settings = Settings(part="journey", jitter=0.0, stall_timeout=stall)
    async with play.scene(Setup(part="journey")) as scene:
        follower = scene.follow("journey", settings)
        await scene.connected()
        await scene.publish(count=10)
        await scene.caught_up()
        scene.fault("refuse")
        await scene.stage.refuse()
        await scene.stage.reset()
        await follower.until(lambda stream: stream.attempt == 2)  # noqa: PLR2004 - the words of R70
        await scene.stage.accept()
        scene.mended("refuse")
        for count in (20, 20):  # the first ends the outage, so the second silence is one without retries
            await follower.until(lambda stream: stream.state is StreamState.WAITING)
            await scene.publish(count=count)
            await scene.caught_up()
        await scene.complete()


async def _refused(play: Play) -> None:
    """Never come to a beginning."""
    async with play.scene(Setup(part="refused")) as scene:
        await scene.stage.refuse()
        scene.follow("refused", Settings(part="refused"))
        scene.fault("no server")
        await scene.all(lambda stream: stream.over)


async def _faults(play: Play) -> None:
    """Inject two hundred faults: ten into each of twenty streams."""
    await inject(play, streams=_STREAMS, rounds=_ROUNDS)


async def inject(play: Play, *, streams: int, rounds: int) -> None:
    """
    Inject faults of each kind, in random order, and let the streams recover from each.

    Args:
        play: The run.
        streams: How many streams are followed; each fault strikes all.
        rounds: How many faults.
    """
    order = [FAULTS[number % len(FAULTS)] for number in range(rounds)]
    play.random.shuffle(order)
    settings = Settings(part="faults", stall_timeout=play.by_form(virtual=30.0, real=_REAL_STALL))
    async with play.scene(Setup(part="faults", profile="4g")) as scene:
        for number in range(streams):
            scene.follow(f"user-{number + 1:02}", settings)
        await scene.connected()
        await scene.publish(count=_MESSAGES_FIRST)
        await scene.caught_up()
        for done, kind in enumerate(order, start=1):
            await _strike(scene, kind, done)
            await scene.publish(count=_MESSAGES_A_ROUND)
            await scene.caught_up()
        await scene.complete()


async def _strike(scene: Scene, kind: str, done: int) -> None:
    """Do wrong, see every stream notice, and stop doing it."""
    stage = scene.stage
    if kind == "busy":
        for follower in scene.followers:
            await stage.answer(follower.name, Busy())
    scene.fault(kind)
    match kind:
        case "silence":
            await stage.black_hole()
        case "close":
            await stage.close()
        case "refuse":
            await stage.refuse()
            await stage.reset()
        case _:
            await stage.reset()
    await scene.all(lambda stream: stream.losses == done)
    if kind == "refuse":
        await scene.all(lambda stream: stream.attempt > 1)
        await stage.accept()
    elif kind == "silence":
        await stage.flow()
    scene.mended(kind)


async def _play(play: Play) -> None:
    await play.together([_journey, _refused, _faults])


USER_EXPERIENCE = Scenario(
    key="scenario_6_user_experience",
    name="user-experience",
    title="User experience",
    promise="Each failure is shown in the agreed words: 200 faults, none silent, an indicator at every attempt.",
    play=_play,
    limit=900.0,
)
