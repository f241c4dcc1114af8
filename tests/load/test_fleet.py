"""How a fleet opens its streams, with streams that open when they are told to."""

import anyio
import pytest

from resilient_sse import BadStatusError, Reason, ServerSentEvent, StateChange, StreamState, StreamStats
from resilient_sse.testing.load import LoadPlan, fleet
from resilient_sse.testing.load.fleet import Fleet


class FakeStream:
    """Opens, fails and ends when told to."""

    def __init__(self, url, options):
        self.made_at = anyio.current_time()
        self.stats = StreamStats()
        self._tell = options["on_state_change"]
        self._over = anyio.Event()
        self._error = None

    def change(self, new):
        """Enter a state."""
        now = anyio.current_time()
        self._tell(StateChange(old=StreamState.CONNECTING, new=new, reason=Reason.OPENED, at=now))

    def end(self, error=None):
        """Come to the end."""
        self._error = error
        self._over.set()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        self.change(StreamState.CLOSED)

    async def __aiter__(self):
        await self._over.wait()
        if self._error is not None:
            raise self._error
        yield ServerSentEvent(event="done", data='{"total": 0}')


@pytest.fixture
def streams(monkeypatch):
    """Have the fleet use such streams, and give those that it makes."""
    made = []

    def make(url, **options):
        made.append(FakeStream(url, options))
        return made[-1]

    monkeypatch.setattr(fleet, "ResilientStream", make)
    return made


def fleet_of(users, **options):
    """Make a fleet."""
    plan = LoadPlan(users=users, messages=100, **options)
    return Fleet(plan, [f"http://host/{user}" for user in range(users)])


async def test_ramp(streams):
    """Streams are started evenly over the time of the ramp."""
    fleet = fleet_of(10, ramp=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.run)
        await anyio.sleep(6)
        tasks.cancel_scope.cancel()
    began = streams[0].made_at
    assert [stream.made_at - began for stream in streams] == pytest.approx([n * 0.5 for n in range(10)])


async def test_openings_at_once(streams):
    """A hundred at most wait for their first connection; one that opens or fails makes room for another."""
    fleet = fleet_of(150, ramp=0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.run)
        await anyio.sleep(1)
        assert len(streams) == 100
        for stream in streams[:20]:
            stream.change(StreamState.CONNECTED)
        await anyio.sleep(1)
        assert len(streams) == 120
        streams[20].end(BadStatusError(status=500, headers={}, body_excerpt=""))
        streams[0].end()  # had its connection, and so makes no room a second time
        await anyio.sleep(1)
        assert len(streams) == 121
        assert not fleet.all_open.is_set()
        tasks.cancel_scope.cancel()
    assert fleet.count("ended") == 121
    assert (fleet.followers[20].failure or "").startswith("BadStatusError")
    assert fleet.followers[0].complete
