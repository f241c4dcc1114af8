"""Scenario 3: a tenth is lost: segments, which TCP repeats, and events, which a replay brings (R32-R38, R166)."""

from __future__ import annotations

from resilient_sse.testing.memory_server import Answer
from resilient_sse.testing.proxy.toxics import Profile
from resilient_sse.testing.scenarios.gates import Figures, Gate, percent
from resilient_sse.testing.scenarios.log import Run, Stream
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario, Settings
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_3_packet_loss"
_MESSAGES = 50
_WITHHELD = 5
_LOSSY = Profile(name="lossy", latency=0.02, loss=0.1, loss_delay=0.2)
_FAR = Profile(name="far", latency=0.5)
"""So long that all has been sent before the first event shows the client that some are missing."""


async def _delayed(play: Play) -> None:
    """Lose segments: they come late, and everything behind them waits."""
    async with play.scene(Setup(part="delayed", profile=_LOSSY)) as scene:
        scene.follow("delayed")
        await scene.connected()
        await scene.deliver(count=_MESSAGES, every=0.02)
        await scene.complete()


async def _dropped(play: Play) -> None:
    """Have the server drop events; the client sees the holes and asks again."""
    withheld = frozenset(play.random.sample(range(2, _MESSAGES), _WITHHELD))
    async with play.scene(Setup(part="dropped", profile=_FAR)) as scene:
        await scene.stage.answer("dropped", Answer(withhold=withheld))
        scene.follow("dropped", Settings(jitter=0.0))
        await scene.connected()
        await scene.stage.black_hole()  # a busy machine takes its time to publish
        await scene.publish(count=_MESSAGES)
        await scene.stage.flow()
        await scene.caught_up()
        await scene.complete()


async def _play(play: Play) -> None:
    await play.together(_delayed, _dropped)


def _figures(run: Run) -> Figures:
    dropped, delayed = run.part("dropped"), run.part("delayed")
    first = sum(
        len({entry.facts["id"] for entry in stream.all("sent", number=1)} & stream.published.keys())
        for stream in dropped
    )
    return {
        "initial_delivery_percent": percent(first, sum(len(stream.published) for stream in dropped)),
        "completion_after_replay_percent": percent(*run.delivery),
        "withheld": sum(len(stream.all("fault", name="withhold")) for stream in dropped),
        "replays": sum(len(stream.all("request")) - 1 for stream in dropped),
        "resume_mismatches": sum(map(_resume_mismatches, dropped)),
        "delayed_segments": sum(run.network("drops", "delayed")),
        "delayed_reconnects": sum(len(stream.announcements) for stream in delayed),
    }


def _resume_mismatches(stream: Stream) -> int:
    """Count resuming requests that name another event than the last one, or are not answered with the next."""
    wrong = 0
    for request in stream.all("request")[1:]:
        before = [entry.facts["id"] for entry in stream.received if entry.at <= request.at]
        sent = stream.all("sent", number=request.facts["number"])
        last = before[-1] if before else None
        wrong += str(last) != request.facts["header"] or not sent or sent[0].facts["id"] != (last or 0) + 1
    return wrong


PACKET_LOSS = Scenario(
    key=_KEY,
    name="packet-loss",
    promise="Lost segments only delay; five of fifty events that the server dropped are noticed and replayed.",
    play=_play,
    figures=_figures,
    fields=("initial_delivery_percent", "completion_after_replay_percent", "gaps"),
    gates=(
        Gate(_KEY, "withheld", "==", 5, "R32"),
        Gate(_KEY, "initial_delivery_percent", "within", (84.0, 96.0), "R33"),
        Gate(_KEY, "completion_after_replay_percent", "==", 100.0, "R34 R166"),
        Gate(_KEY, "replays", "==", 1, "R34"),
        Gate(_KEY, "resume_mismatches", "==", 0, "R37 R38"),
        Gate(_KEY, "delayed_segments", ">=", 1, "R32, X18"),
        Gate(_KEY, "delayed_reconnects", "==", 0, "R32, X18"),
    ),
    charts=(Chart("delayed", "Segments lost"), Chart("dropped", "Events dropped by the server")),
)
