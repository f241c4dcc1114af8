"""The production scenarios, as the report plays them, in network namespaces: the third form."""

import anyio
import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing.scenarios import SCENARIOS, RunLog, Setup, play
from tests.netns.driver import NetnsDriver
from tests.netns.stage import need_kernel

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run on both, in real time."""
    return request.param


def of(log, kind, **wanted):
    """Find entries by kind and facts."""
    return [
        entry
        for entry in log.entries
        if entry.kind == kind and all(entry.facts.get(name) == value for name, value in wanted.items())
    ]


def messages(log):
    """Tell the ids of the messages that came, in order."""
    return [entry.facts["id"] for entry in of(log, "received", type="message")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_slow_3g():
    """R13, R14, R16, R18: over 100 kbps it takes longer than over a free line; 50 of 50, without a reconnect."""
    log = await play(SCENARIOS["slow-3g"], NetnsDriver(1))
    assert messages(log) == [*range(1, 51), *range(1, 51)]
    assert not of(log, "state", new="reconnecting")
    lasted = {}
    for part in ("slow", "clean"):
        arrivals = [entry.at for entry in of(log, "received") if entry.stream == part]
        lasted[part] = arrivals[-1] - arrivals[0]
    # 50 messages of some 130 bytes: 6.5 kB, with the headers of few or of many packets.
    assert lasted["slow"] > 0.35
    assert lasted["slow"] > 1.5 * lasted["clean"]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_handoff():
    """R42, R43, R47, R48: 20 before, 30 after, and the second request that arrives says 19 in both places."""
    log = await play(SCENARIOS["handoff"], NetnsDriver(1))
    assert messages(log) == list(range(50))
    first, second = of(log, "request")
    assert (first.facts["header"], first.facts["query"]) == (None, [])
    assert (second.facts["header"], second.facts["query"]) == ("19", ["19"])
    assert [entry.facts["reason"] for entry in of(log, "state", new="reconnecting")] == ["reset", "connect"]
    assert of(log, "finish")[0].facts["in_time"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_packet_loss():
    """R32-R37: lost packets are sent again by TCP; lost events are asked for."""
    log = await play(SCENARIOS["packet-loss"], NetnsDriver(1))
    for part in ("delayed", "dropped"):
        ids = [e.facts["id"] for e in of(log, "received", type="message") if e.stream == part]
        assert ids == list(range(1, 51))
    (delayed,) = of(log, "network", part="delayed")
    assert delayed.facts["drops"] > 0
    losses = of(log, "state", new="reconnecting")
    assert [(entry.stream, entry.facts["reason"]) for entry in losses] == [("dropped", "gap")]


@pytest.mark.parametrize(
    "fault,mend,reason",
    [("reset", None, "reset"), ("close", None, "eof"), ("black_hole", "flow", "stall")],
)
async def test_faults(fault, mend, reason):
    """R64: what the stage does to connections the client gives its proper name, and comes back."""
    driver = NetnsDriver(1)
    log = RunLog("faults", driver.form.value, seed=1, now=driver.now)
    changes, came = [], []
    lost = anyio.Event()

    def note(change):
        changes.append(change)
        if change.new.value == "reconnecting":
            lost.set()

    async with driver.stage(log, Setup(profile="wifi")) as stage:
        stream = ResilientStream(
            stage.url("a"), client=stage.client, stall_timeout=1, until="done", on_state_change=note
        )

        async def strike():
            count = await getattr(stage, fault)()
            assert count in (None, 1)
            await stage.publish("a", "y")
            with anyio.fail_after(10):
                await lost.wait()
            if mend is not None:
                await getattr(stage, mend)()
            await stage.publish("a", "", event="done")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks, stream:
                await stage.publish("a", "x")
                async for event in stream:
                    came.append((event.data, event.connection))
                    if event.data == "x":
                        tasks.start_soon(strike)
    assert [change.reason.value for change in changes if change.new.value == "reconnecting"] == [reason]
    assert changes[-1].reason.value == "complete"
    assert came == [("x", 1), ("y", 2), ("", 2)]


async def test_refusal():
    """R82: a refused connection is a failed attempt; the stage accepts again, and another network is there."""
    driver = NetnsDriver(1)
    log = RunLog("refusal", driver.form.value, seed=1, now=driver.now)
    refused = anyio.Event()

    def note(change):
        if change.reason.value == "connect":
            refused.set()

    async with driver.stage(log, Setup()) as stage:
        await stage.refuse()
        stream = ResilientStream(stage.url("a"), client=stage.client, until="done", on_state_change=note)

        async def mend():
            with anyio.fail_after(10):
                await refused.wait()
            await stage.use("4g")
            assert stage._network.link == "mobile"
            await stage.accept()
            await stage.publish("a", "x", event="done")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks, stream:
                tasks.start_soon(mend)
                assert [event.event async for event in stream] == ["done"]
    assert stream.stats.failed_attempts == 1
