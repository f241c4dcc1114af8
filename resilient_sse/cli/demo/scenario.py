"""What the demo plays: a reply of fifty messages over a network and a server that do wrong in four ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from resilient_sse.testing.memory_server import Answer
from resilient_sse.testing.scenarios import (
    Figures,
    Follower,
    Gate,
    Play,
    Run,
    Scenario,
    Scene,
    Settings,
    Setup,
)

_TEXT = (
    "A stream is a promise kept one piece at a time. Networks break it: cables fail, proxies go quiet, "
    "servers restart. A good client notices, waits, asks again from the last piece it holds, drops what "
    "comes twice, and the reader gets every word once, in order, to the end."
)

REPLY = _TEXT.split()
"""The reply, a word for each message."""

_KEY = "demo"
_PACE = 0.12
"""Seconds between messages: about as fast as people read."""
_UNDER_WAY = 3
"""How many messages are under way when a fault strikes, and are lost with the connection."""
_OVERLAP = 5
"""How many messages the server repeats whenever the client comes back."""
_RETRY_AFTER = 2
"""Seconds for which the restarting server asks to be left alone."""
WORDS = {
    "message_loss": "messages lost",
    "received_events": "messages received",
    "duplicates": "messages delivered twice",
    "order_breaks": "messages out of order",
    "altered": "messages altered",
    "suppressed": "messages that the server repeated, dropped",
    "connection_lost_by": "why the connection was lost",
}
"""What figures are called whose names do not say it to everybody."""

_SETTINGS = Settings(stall_timeout=3.0, waiting_after=2.0)
"""A tenth of the default limit on silence, to save half a minute of everybody's time."""


async def _play(play: Play, *, watched: Callable[[Follower], None]) -> None:
    faults = {"reset": play.random.randint(8, 12), "silence": play.random.randint(18, 22)}
    faults["restart"] = play.random.randint(30, 36)
    async with play.scene(Setup(part="demo", profile="4g", overlap=_OVERLAP)) as scene:
        watched(scene.follow("demo", _SETTINGS))
        await scene.connected()
        sent = 0
        for fault, after in faults.items():
            await scene.publish(texts=REPLY[sent:after], every=_PACE)
            await scene.caught_up()
            sent = after + _UNDER_WAY
            await _strike(scene, fault, REPLY[after:sent])
            await scene.caught_up()
        await scene.publish(texts=REPLY[sent:], every=_PACE)
        await scene.caught_up()
        await scene.complete()


async def _strike(scene: Scene, fault: str, under_way: Sequence[str]) -> None:
    """Do wrong with messages under way, and stop once the client has noticed."""
    stage, losses = scene.stage, scene.followers[0].losses
    if fault == "restart":
        await stage.answer("demo", Answer(status=503, retry_after=_RETRY_AFTER))
    scene.fault(fault)
    if fault == "silence":
        await stage.black_hole()
    await scene.publish(texts=under_way)
    if fault == "reset":
        await stage.reset()
    elif fault == "restart":
        await stage.close()
    await scene.all(lambda stream: stream.losses > losses)
    await stage.flow()
    scene.mended(fault)


def _figures(run: Run) -> Figures:
    streams = run.part("demo")
    losses = [entry.facts["reason"] for stream in streams for entry in stream.announcements]
    return {
        "connection_lost_by": ", ".join(losses),
        "reply_complete": [stream.fact("ended", "error", "unfinished") for stream in streams] == [None],
    }


def demo_scenario(watched: Callable[[Follower], None] = lambda _: None) -> Scenario:
    """Return the scenario of the demo; *watched* is told of the stream before it begins."""
    return Scenario(
        key=_KEY,
        name="demo",
        promise="Every word once, in order, to the end.",
        play=partial(_play, watched=watched),
        limit=120.0,
        figures=_figures,
        gates=(
            Gate(_KEY, "received_events", "==", len(REPLY), "R5"),
            Gate(_KEY, "message_loss", "==", 0, "R91"),
            Gate(_KEY, "duplicates", "==", 0, "R91"),
            Gate(_KEY, "order_breaks", "==", 0, "R35"),
            Gate(_KEY, "altered", "==", 0, "R1"),
            Gate(_KEY, "gaps", "==", 0, "R16"),
            Gate(_KEY, "suppressed", "==", 3 * _OVERLAP, "R63"),
            Gate(_KEY, "connection_lost_by", "==", "reset, stall, reset, server", "R6"),
            Gate(_KEY, "reply_complete", "==", True, "R74"),
        ),
    )
