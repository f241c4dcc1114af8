"""Scenario 6: what a person is told, in which words, and that no failure stays silent (R6, R8, R64-R75, R92)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from resilient_sse._core.states import StreamState
from resilient_sse.testing.memory_server import Answer
from resilient_sse.testing.scenarios.gates import Figures, Gate, milliseconds
from resilient_sse.testing.scenarios.log import Run, Stream
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario, Scene, Settings
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_6_user_experience"
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
    settings = Settings(jitter=0.0, stall_timeout=stall)
    async with play.scene(Setup(part="journey")) as scene:
        follower = scene.follow("journey", settings)
        await scene.connected()
        await scene.deliver(count=10)
        scene.fault("refuse")
        await scene.stage.refuse()
        await scene.stage.reset()
        await follower.until(lambda stream: stream.attempt == 2)  # noqa: PLR2004 - the words of R70
        await scene.stage.accept()
        scene.mended("refuse")
        for count in (20, 20):  # the first ends the outage, so the second silence is one without retries
            await follower.until(lambda stream: stream.state is StreamState.WAITING)
            await scene.deliver(count=count)
        await scene.complete()


async def _refused(play: Play) -> None:
    """Never come to a beginning."""
    async with play.scene(Setup(part="refused")) as scene:
        await scene.stage.refuse()
        scene.follow("refused")
        scene.fault("no server")
        await scene.all(lambda stream: stream.over)


async def inject(play: Play, *, streams: int, rounds: int) -> None:
    """Inject so many faults, of each kind, in random order; each strikes all streams, which recover from it."""
    order = [FAULTS[number % len(FAULTS)] for number in range(rounds)]
    play.random.shuffle(order)
    settings = Settings(stall_timeout=play.by_form(virtual=30.0, real=_REAL_STALL))
    async with play.scene(Setup(part="faults", profile="4g")) as scene:
        for number in range(streams):
            scene.follow(f"user-{number + 1:02}", settings)
        await scene.connected()
        await scene.deliver(count=_MESSAGES_FIRST)
        for done, kind in enumerate(order, start=1):
            await _strike(scene, kind, done)
            await scene.deliver(count=_MESSAGES_A_ROUND)
        await scene.complete()


async def _strike(scene: Scene, kind: str, done: int) -> None:
    """Do wrong, see every stream notice, and stop doing it."""
    stage = scene.stage
    if kind == "busy":
        for follower in scene.followers:
            await stage.answer(follower.name, Answer(status=503))
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
    await play.together(_journey, _refused, partial(inject, streams=_STREAMS, rounds=_ROUNDS))


_AGREED: Mapping[str, Sequence[str]] = {
    "connected": ("Connected", "Connection restored - resuming stream..."),  # R73
    "waiting": (
        "Waiting for server response...",  # R69
        "Waiting for server response... (retry {attempt}/{max_retries})",  # R72
    ),
    "reconnecting": (
        "Connection lost - attempting to reconnect...",  # R71
        "Reconnecting (attempt {attempt})...",  # R70
    ),
    "closed": ("Stream closed", "Response complete"),  # R74
    "error": ("Failed to connect. Please refresh.",),  # R75
}
"""The texts that people are shown, as they were agreed: written down once more, not taken from the client."""

_DEMANDED = {text for texts in _AGREED.values() for text in texts} - {"Connected", "Stream closed"}


def _text(change: Mapping[str, Any]) -> str:
    """Return the text that belongs to a change of state, with its numbers to be filled in."""
    new, old = change["new"], change["old"]
    second = {
        "connected": old in ("reconnecting", "error"),
        "waiting": change["attempt"] > 0,
        "reconnecting": old not in ("connected", "waiting"),
        "closed": change["reason"] == "complete",
    }
    return _AGREED[new][bool(second.get(new))]


def _figures(run: Run) -> Figures:
    streams = run.part("faults")
    injected = sum(len(stream.all("fault")) for stream in streams)
    silent = sum(map(_silent, streams))
    retries = sum(len(stream.all("attempt")) - 1 for stream in run.streams)
    missing = retries - sum(map(_indicated, run.streams))
    changes = [entry.facts for stream in run.streams for entry in stream.all("state")]
    agreed = [change for change in changes if change["message"] == _text(change).format(**change)]
    back = [x.reconnect for x in run.recoveries("faults") if x.reconnect is not None]
    return {
        "silent_failures": silent,
        "visible_errors": "All" if injected and not silent else f"{injected - silent} of {injected}",
        "retry_indicator": "Shown" if retries and not missing else f"Missing at {missing} of {retries}",
        "faults_injected": injected,
        "faults_recovered": len(back),
        "slowest_recovery_ms": milliseconds(max(back, default=None)),
        "texts_missing": len(_DEMANDED - {_text(change) for change in agreed}),
        "texts_wrong": len(changes) - len(agreed),
        "without_an_end": sum(
            not any(
                x.facts["new"] in ("closed", "error") and x.facts["reason"] for x in stream.all("state")[-1:]
            )
            for stream in run.streams
        ),
    }


def _silent(stream: Stream) -> int:
    """Count the faults after which an event came, or the end, before anything was said."""
    silent = 0
    waiting = False
    for entry in stream.entries:
        if entry.kind == "fault":
            silent += waiting
            waiting = True
        elif entry.kind == "state" and entry.facts["message"]:
            told = entry.facts["new"] in ("waiting", "reconnecting", "error")
            waiting = waiting and not told
        elif entry.kind in ("received", "ended"):
            silent += waiting
            waiting = False
    return silent


def _indicated(stream: Stream) -> int:
    """Count the attempts after the first that were announced, with their number, right before."""
    indicated = 0
    announced = False
    for entry in stream.entries:
        if entry.kind == "state":
            announced = entry.facts["new"] == "reconnecting" and entry.facts["attempt"] >= 1
        elif entry.kind == "attempt":
            indicated += announced
            announced = False
    return indicated


USER_EXPERIENCE = Scenario(
    key=_KEY,
    name="user-experience",
    promise="Each failure is shown in the agreed words: 200 faults, none silent, an indicator at every attempt.",
    play=_play,
    limit=900.0,
    figures=_figures,
    fields=("silent_failures", "visible_errors", "retry_indicator"),
    gates=(
        Gate(_KEY, "faults_injected", "==", 200, "R64"),
        Gate(_KEY, "faults_recovered", "==", 200, "R6"),
        Gate(_KEY, "slowest_recovery_ms", "<", 5000.0, "R6"),
        Gate(_KEY, "silent_failures", "==", 0, "R8 R65"),
        Gate(_KEY, "visible_errors", "==", "All", "R64"),
        Gate(_KEY, "retry_indicator", "==", "Shown", "R66"),
        Gate(_KEY, "texts_missing", "==", 0, "R69-R75"),
        Gate(_KEY, "texts_wrong", "==", 0, "R67 R70-R75"),
        Gate(_KEY, "without_an_end", "==", 0, "R68"),
    ),
    charts=(
        Chart("journey", "Through every state"),
        Chart("refused", "No server at all"),
        Chart("faults", "Two hundred faults"),
    ),
)
