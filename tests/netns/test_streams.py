"""The stream over a kernel's own network, with the transport that it brings: R20-R63 as in the field."""

from contextlib import ExitStack
from functools import partial

import anyio
import pytest
from anyio import to_thread

from resilient_sse import Backoff, ResilientStream, StreamState, integers
from resilient_sse.testing.memory_server import Orders
from resilient_sse.testing.scenarios import RunLog, Setup
from resilient_sse.testing.scenarios.real import Director, reference_server
from tests.e2e.watching import eventually
from tests.netns.driver import Driver, Stage, serve
from tests.netns.network import need_kernel

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

LOST = "Connection lost - attempting to reconnect..."
WAITING = "Waiting for server response..."
RESTORED = "Connection restored - resuming stream..."


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


class Run:
    """A stage, one stream over it, and what that told."""

    def __init__(self, stage, log, arguments):
        self.stage, self.log, self.network = stage, log, stage.network
        self.changes, self.came = [], []
        self.stream = ResilientStream(
            stage.url("a"), sequence=integers, on_state_change=self.changes.append, until="done", **arguments
        )

    async def read(self):
        """Follow the stream to its end."""
        async with self.stream:
            async for event in self.stream:
                self.came.append((anyio.current_time(), event))

    async def events(self, count):
        """Wait for so many events."""
        assert await eventually(lambda: len(self.came) >= count, within=30)

    async def state(self, state, count=1):
        """Wait for the so-manyeth change to a state."""
        assert await eventually(lambda: len(self.of(state)) >= count, within=30)

    def of(self, state):
        """Return the changes to a state."""
        return [change for change in self.changes if change.new is state]

    async def publish(self, count, data="x" * 100):
        """Publish on the server's side, where nothing is lost."""
        for _ in range(count):
            await self.stage.publish("a", data)

    async def call(self, work, *arguments, **options):
        """Change the network."""
        await to_thread.run_sync(partial(work, *arguments, **options))

    @property
    def figures(self):
        """Duplicates, gaps, and reconnects."""
        stats = self.stream.stats
        return stats.duplicates, stats.gaps, stats.reconnects

    @property
    def connections(self):
        """The connection of each event."""
        return [event.connection for _, event in self.came]


def play(scene, *, backend="asyncio", first_id=1, **arguments):
    """Play a scene inside the client's namespace; every event comes once and in order, whatever is done."""
    driver = Driver(1)
    log = RunLog("streams", driver.form, seed=1, now=driver.now)
    director = Director(orders=Orders(log.add))

    async def main():
        run = Run(Stage(log, network, running, director), log, arguments)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.read)
                await run.state(StreamState.CONNECTED)
                await scene(run)
                await run.stage.publish("a", "", event="done")
        return run

    with ExitStack() as spaces:
        network, running = serve(spaces, reference_server(Setup(first_id=first_id), director))
        with network.client.entered():
            run = anyio.run(main, backend=backend)
    ids = [int(event.id) for _, event in run.came]
    assert ids == list(range(first_id, first_id + len(ids)))
    return run


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_percent_of_packets_lost(backend):
    """R32, R34-R36, R39: TCP sends again what is lost, and the client gets 50 of 50 once and in order."""

    async def scene(run):
        await run.call(run.network.fault, loss=0.1)
        await run.publish(50, "x" * 8000)
        await run.events(50)
        run.lost, run.arrived = run.network.dropped(), run.network.arrived()
        run.sent_again = run.network.server.sent_again()

    run = play(scene, backend=backend, stall_timeout=20)
    assert run.figures == (0, 0, 0)
    assert all(run.lost)
    assert 0.03 < sum(run.lost) / sum(run.arrived) < 0.25
    assert run.sent_again > 0


def test_stall():
    """R20-R25, R27, R30: silence without a reset is first WAITING, then RECONNECTING, and nothing is lost."""

    async def scene(run):
        await run.publish(20)
        await run.events(20)
        await run.call(run.network.fault, cut=True)
        await run.publish(30)
        await run.state(StreamState.RECONNECTING)
        await run.call(run.network.fault, cut=False)
        await run.events(50)

    run = play(scene, stall_timeout=3, waiting_after=1.5)
    (waiting,), lost = run.of(StreamState.WAITING), run.of(StreamState.RECONNECTING)[0]
    last = run.came[19][0]
    assert run.figures == (0, 0, 1)
    assert (waiting.reason.value, waiting.message) == ("stall", WAITING)
    assert (lost.reason.value, lost.message, lost.attempt) == ("stall", LOST, 1)
    assert 0.9 <= lost.delay <= 1.1
    assert 1.4 < waiting.at - last < lost.at - last
    assert 2.9 < lost.at - last < 4.5
    assert run.connections == [1] * 20 + [2] * 31


@pytest.mark.parametrize(
    "abort, backend, reason", [(True, "asyncio", "reset"), (False, "trio", "stall")], ids=["abort", "silent"]
)
def test_handoff(abort, backend, reason):
    """R42, R43, R46-R49: from one veth to another with another address; 20 events before, 30 after, as from 20."""

    async def scene(run):
        await run.publish(20)
        await run.events(20)
        await run.call(run.network.handoff, "mobile", gap=1, abort=abort)
        await run.publish(30)
        await run.events(50)

    run = play(scene, backend=backend, first_id=0, resume_param="last_event_id", stall_timeout=1.5)
    asked = [entry.facts for entry in run.log.entries if entry.kind == "request"]
    assert run.figures == (0, 0, 1)
    assert [(each["header"], each["query"]) for each in asked] == [(None, []), ("19", ["19"])]
    assert run.network.address == "10.77.2.2"
    assert run.of(StreamState.RECONNECTING)[0].reason.value == reason
    assert run.connections == [1] * 20 + [2] * 31


def test_off_and_on_between_attempts():
    """R52-R54, R57, R58: one outage, in which the network is back only between attempts: after 1, 2 and 4 s."""

    async def scene(run):
        await run.publish(5)
        await run.events(5)
        await run.call(run.network.down, abort=True)
        for attempt in (2, 3):
            await run.publish(15)
            await run.state(StreamState.RECONNECTING, attempt)
            await run.call(run.network.up)
            await anyio.sleep(0.2)
            await run.call(run.network.down)
        await run.publish(15)
        await run.call(run.network.up)
        await run.events(50)

    run = play(scene, backoff=Backoff(jitter=0.0))
    outage = run.of(StreamState.RECONNECTING)
    assert run.figures == (0, 0, 1)
    assert [(change.attempt, change.delay) for change in outage] == [(1, 1.0), (2, 2.0), (3, 4.0)]
    assert [change.reason.value for change in outage] == ["reset", "connect", "connect"]


@pytest.mark.parametrize(
    "fault, mend, reason", [("reset", None, "reset"), ("close", None, "eof"), ("refuse", "accept", "connect")]
)
def test_faults(fault, mend, reason):
    """R64, R82: what the stage does to connections the client gives its proper name, and comes back."""

    async def scene(run):
        await run.publish(1)
        await run.events(1)
        if mend is not None:  # the connection that is open goes on
            await run.stage.reset()
        await getattr(run.stage, fault)()
        assert await eventually(lambda: reason in [each.reason.value for each in run.changes], within=30)
        await run.publish(1)
        if mend is not None:
            await getattr(run.stage, mend)()
        await run.events(2)

    run = play(scene)
    assert run.figures == (0, 0, 1)
