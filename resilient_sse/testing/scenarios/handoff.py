"""Scenario 4: from Wi-Fi to 4G after twenty of fifty messages (R42-R49)."""

from __future__ import annotations

import anyio

from resilient_sse.testing.scenarios.gates import Figures, Gate, milliseconds
from resilient_sse.testing.scenarios.log import Run, Stream
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario, Settings
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_4_network_handoff"
_GAP = 1.25
"""Seconds without any network: longer than the first delay, so that the first attempt is certain to fail."""


async def _play(play: Play) -> None:
    setup = Setup(part="handoff", profile="wifi", first_id=0)
    settings = Settings(jitter=0.0, params={"device": "phone", "lang": "en"})
    async with play.scene(setup) as scene:
        scene.follow("handoff", settings)
        await scene.connected()
        await scene.deliver(count=20)
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


def _figures(run: Run) -> Figures:
    stream = run.streams[0] if run.streams else Stream("none")
    struck = next((entry.at for entry in stream.all("fault")), None)
    after = [entry.facts["id"] for entry in stream.received if struck is not None and entry.at > struck]
    requests = stream.all("request")
    resumed = requests[-1].facts if len(requests) > 1 else None
    recoveries = stream.recoveries
    error = stream.fact("ended", "error", "unfinished")
    return {
        "recovery_ms": milliseconds(recoveries[0].reconnect if recoveries else None),
        "received_before": len(set(stream.ids) - set(after)),
        "received_after": len(set(after)),
        "url_cursor": None if resumed is None else ",".join(resumed["query"]),
        "header_cursor": None if resumed is None else resumed["header"],
        "parameters_kept": len({str(request.facts["params"]) for request in requests}) == 1,
        "first_resumed_id": after[0] if after else None,
        "outages": len(recoveries),
        "error": "none" if error is None else error,
    }


HANDOFF = Scenario(
    key=_KEY,
    name="handoff",
    promise="Twenty messages before, thirty after; the reconnect names the last one (last_event_id=19).",
    play=_play,
    figures=_figures,
    fields=("total_events", "received_events", "recovery_ms"),
    gates=(
        Gate(_KEY, "total_events", "==", 50, "R43"),
        Gate(_KEY, "received_events", "==", 50, "R43"),
        Gate(_KEY, "received_before", "==", 20, "R43"),
        Gate(_KEY, "received_after", "==", 30, "R43"),
        Gate(_KEY, "url_cursor", "==", "19", "R47"),
        Gate(_KEY, "header_cursor", "==", "19", "R47"),
        Gate(_KEY, "parameters_kept", "==", True, "R47"),
        Gate(_KEY, "first_resumed_id", "==", 20, "R48"),
        Gate(_KEY, "error", "==", "none", "R42 R48, X23"),
        Gate(_KEY, "outages", "==", 1, "R42"),
        Gate(_KEY, "recovery_ms", "<", 5000.0, "R49"),
    ),
    charts=(Chart("handoff", "Wi-Fi, nothing, 4G"),),
)
