"""What the scenarios stand on: the log, the network in memory, and that the two drivers mean the same."""

import anyio
import pytest

from resilient_sse.testing.memory_server import Answer
from resilient_sse.testing.scenarios import (
    SCENARIOS,
    RunLog,
    Scenario,
    Settings,
    Setup,
    VirtualDriver,
    play,
    play_all,
    play_at_once,
)


def connected(stream):
    """Whether a stream has a connection."""
    return stream.state.value == "connected"


async def every_answer(play):
    """Have the server do wrong in each way, and the network, too."""
    async with play.scene(Setup(part="all", profile="wifi", first_id=5, overlap=1, heartbeat=0.2)) as scene:
        answers = (Answer(withhold=frozenset({6})), Answer(status=503, retry_after=0), Answer(at_most=2))
        await scene.stage.answer("a", *answers)
        scene.follow("a", Settings(jitter=0.0, params={"x": "1"}))
        await scene.all(connected)
        await scene.publish(count=3)
        await scene.all(lambda stream: stream.duplicates >= 1 and stream.received >= 2)
        scene.fault("close")
        await scene.stage.black_hole()
        await scene.stage.close()  # which is seen in the dark, too
        await scene.stage.flow()
        await scene.caught_up()
        await anyio.sleep(0.5)
        await scene.stage.use("4g")
        await scene.complete()


def summary(log):
    """Tell of a log what must not depend on the driver, kind by kind."""
    told = {
        "request": ("number", "header", "query", "params", "status"),
        "sent": ("number", "id"),
        "state": ("new", "reason", "attempt"),
        "received": ("id", "type", "sum"),
        "gap": ("gap", "missing"),
        "attempt": (),
    }
    return {
        kind: [[entry.facts[name] for name in names] for entry in log.ordered() if entry.kind == kind]
        for kind, names in told.items()
    }


STRESS = Scenario(key="stress", name="stress", promise="", play=every_answer)


@pytest.mark.e2e
async def test_both_drivers_mean_the_same():
    """Requests, what was sent, states and deliveries of a run in memory are those of one over real sockets."""
    from resilient_sse.testing.scenarios.real import RealDriver  # noqa: PLC0415 - needs the extra

    real, memory = await play(STRESS, RealDriver(1)), await play(STRESS, VirtualDriver(1))
    assert summary(real) == summary(memory)
    assert [status for *_, status in summary(memory)["request"]] == [200, 503, 200, 200]


async def test_who_connects_in_the_dark_hears_nothing():
    """Until it is over, as with the proxy."""

    async def dark(play):
        async with play.scene() as scene:
            await scene.stage.black_hole()
            stream = scene.follow("a")
            await anyio.sleep(5)
            assert not connected(stream)
            await scene.stage.flow()
            await scene.connected()

    await play(Scenario(key="dark", name="dark", promise="", play=dark), VirtualDriver(1))


async def test_a_run_that_lasts_too_long():
    """It is broken off, and its log says so: no run hangs."""

    async def endless(play):
        async with play.scene() as scene:
            scene.follow("a")
            await anyio.sleep_forever()

    scenario = Scenario(key="endless", name="endless", promise="", play=endless, limit=5.0)
    log = await play(scenario, VirtualDriver(1))
    (finish,) = (entry.facts for entry in log.entries if entry.kind == "finish")
    assert finish == {"in_time": False, "late": 0.0}
    assert [entry.stream for entry in log.entries if entry.kind == "ended"] == ["a"]


async def test_scenarios_at_once():
    """The one that measures times is played first, alone; the others end when they end."""
    told = []
    names = ["handoff", "packet-loss", "slow-3g"]
    logs = await play_at_once([SCENARIOS[name] for name in names], VirtualDriver(1), done=told.append)
    assert told == ["slow-3g/virtual", "packet-loss/virtual", "handoff/virtual"]
    assert [log.name[:10] for log in logs] == ["scenario_1", "scenario_3", "scenario_4"]
    zero, *later = [log._zero for log in logs]
    assert min(later) == max(later) > zero


def test_an_unknown_form():
    """A form that there is no driver for is refused by its name."""
    with pytest.raises(ValueError, match="imaginary"):
        play_all([SCENARIOS["handoff"]], ["imaginary"], seed=1)


def test_times_begin_at_zero():
    """Whatever the clock says."""
    now = iter([100.0, 100.0, 101.5])
    log = RunLog("s", "real", seed=1, now=lambda: next(now))
    log.add("something", "a", more=1)
    assert [entry.at for entry in log.entries] == [0.0, 1.5]
