"""Scenario 5: the network goes off and on three times, and a hundred clients lose it at once (R51-R63)."""

from __future__ import annotations

import math

import anyio

from resilient_sse._core.states import StreamState
from resilient_sse.testing.memory_server import Answer
from resilient_sse.testing.scenarios.gates import (
    REAL,
    VIRTUAL,
    Figures,
    Gate,
    milliseconds,
    percent,
)
from resilient_sse.testing.scenarios.log import Run
from resilient_sse.testing.scenarios.play import Chart, Play, Scenario, Settings
from resilient_sse.testing.scenarios.stage import Setup

_KEY = "scenario_5_rapid_reconnects"
_TIMES = 3
_OVERLAP = 5
_OFF_SECONDS = 0.5
_CLIENTS = 100
_ATTEMPTS = 1 + 5
_LOOK = 0.02
LONGEST_DELAY = 5.0


async def _flap(play: Play) -> None:
    """Go off and on; at first just long enough for what the client has: a new event would end the outage."""
    setup = Setup(part="flap", profile="4g", overlap=_OVERLAP)
    async with play.scene(setup) as scene:
        await scene.stage.answer("flap", Answer(), *[Answer(at_most=_OVERLAP)] * (_TIMES - 1))
        follower = scene.follow("flap", Settings(jitter=0.0))
        await scene.connected()
        await scene.deliver(count=20)
        for time in range(_TIMES):
            # What is dropped as a repetition is told to nobody, only counted.
            while follower.duplicates < _OVERLAP * time and not follower.over:  # noqa: ASYNC110
                await anyio.sleep(_LOOK)
            scene.fault("off")
            await scene.stage.refuse()
            await scene.stage.reset()
            await scene.all(lambda stream: stream.state is StreamState.RECONNECTING)
            await scene.publish(count=10)
            await anyio.sleep(_OFF_SECONDS)
            await scene.stage.accept()
            scene.mended("off")
            await scene.connected()
        await scene.caught_up()
        await scene.complete()


async def _herd(play: Play) -> None:
    """Have many clients find no server at the same instant: each waits for a time of its own."""
    async with play.scene(Setup(part="herd")) as scene:
        await scene.stage.refuse()
        for number in range(_CLIENTS):
            scene.follow(f"herd-{number + 1:03}")
        scene.fault("no server")
        await scene.all(lambda stream: stream.over)


async def _play(play: Play) -> None:
    await play.together(_flap, _herd)


def _figures(run: Run) -> Figures:
    flap, herd = run.part("flap"), run.part("herd")
    announced = [entry for stream in flap for entry in stream.announcements]
    late = [  # by how much the attempt after each announcement was later than was announced
        next((x.at for x in stream.all("attempt") if x.at >= told.at), math.inf)
        - told.at
        - told.facts["delay"]
        for stream in flap
        for told in stream.announcements
    ]
    drawn: dict[int, list[float]] = {}
    for stream in herd:
        for entry in stream.announcements:
            drawn.setdefault(entry.facts["attempt"], []).append(entry.facts["delay"])
    return {
        "reconnect_attempts": len(announced),
        "last_attempt": max((entry.facts["attempt"] for entry in announced), default=0),
        "reconnects": sum(stream.fact("stats", "reconnects", 0) for stream in flap),
        "backoff_sequence": [round(entry.facts["delay"] * 1000) for entry in announced],
        "earliest_attempt_ms": milliseconds(min(late, default=None)),
        "latest_attempt_ms": milliseconds(max(late, default=None)),
        # Of delays to a tenth of a millisecond, at the attempt where the fewest are distinct.
        "jitter_diversity_percent": min((_distinct(delays) for delays in drawn.values()), default=None),
        "herd_clients": len(herd),
        "herd_out_of_band": sum(
            not low - 1e-9 <= delay <= high + 1e-9
            for low, high, delays in ((*band(attempt), drawn[attempt]) for attempt in drawn)
            for delay in delays
        ),
        "herd_wrong_budget": sum(len(stream.all("attempt")) != _ATTEMPTS for stream in herd),
        "final_completion_percent": percent(*run.delivery),
    }


def band(attempt: int) -> tuple[float, float]:
    """Return the shortest and the longest delay allowed before an attempt: 1, 2, 4, 5 s, give or take a tenth."""
    nominal = min(2.0 ** (attempt - 1), LONGEST_DELAY)
    return 0.9 * nominal, min(1.1 * nominal, LONGEST_DELAY)


def _distinct(delays: list[float]) -> float:
    return percent(len({round(delay, 4) for delay in delays}), len(delays)) or 0.0


RAPID_RECONNECTS = Scenario(
    key=_KEY,
    name="rapid-reconnects",
    promise="Attempts after 1, 2 and 4 s; nothing lost, nothing twice though the server repeats; no herd.",
    play=_play,
    figures=_figures,
    fields=("reconnect_attempts", "backoff_sequence", "jitter_diversity_percent", "final_completion_percent"),
    gates=(
        Gate(_KEY, "reconnect_attempts", "==", 3, "R51 R52"),
        Gate(_KEY, "last_attempt", "==", 3, "R52"),
        Gate(_KEY, "reconnects", "==", 3, "R52"),
        Gate(_KEY, "backoff_sequence", "==", (1000, 2000, 4000), "R53"),
        Gate(_KEY, "earliest_attempt_ms", "within", (0.0, 0.0), "R53", forms=VIRTUAL),
        Gate(_KEY, "latest_attempt_ms", "within", (0.0, 0.0), "R53", forms=VIRTUAL),
        Gate(_KEY, "earliest_attempt_ms", ">=", -5.0, "R53: timers may be a clock tick early", forms=REAL),
        Gate(_KEY, "latest_attempt_ms", "<=", 500.0, "R53, with room for a busy machine", forms=REAL),
        Gate(_KEY, "suppressed", "==", 15, "R63"),
        Gate(_KEY, "herd_clients", "==", 100, "R59"),
        Gate(_KEY, "jitter_diversity_percent", ">", 80.0, "R59 R61"),
        Gate(_KEY, "herd_out_of_band", "==", 0, "R54 R56"),
        Gate(_KEY, "herd_wrong_budget", "==", 0, "R83"),
        Gate(_KEY, "final_completion_percent", "==", 100.0, "R58 R62"),
    ),
    charts=(
        Chart("flap", "Off and on three times"),
        Chart("herd", "Delay before each attempt: a hundred clients that lost the server at once", "delays"),
    ),
)
