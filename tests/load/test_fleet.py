"""Streams of a run: how they are opened, what is timed of one, and readings of the run."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import anyio
import pytest

from resilient_sse import (
    BadStatusError,
    LimitExceededError,
    Reason,
    Recovery,
    ServerSentEvent,
    StateChange,
    StreamState,
    StreamStats,
)
from resilient_sse.testing.load import PRESETS, LoadPlan, Progress, Spread, fleet
from resilient_sse.testing.load.fleet import Fleet, FleetMember
from resilient_sse.testing.load.run import Running, _result, growth, server_command
from resilient_sse.testing.scenarios.gates import percentile


class FakeStream:
    """Opens, fails and ends when told to."""

    def __init__(self, _url, *, observers, **_options):
        self.made_at = anyio.current_time()
        self.stats = StreamStats()
        (self._tell,) = observers
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


async def test_streams_are_opened_bit_by_bit(monkeypatch):
    """Evenly over the ramp, and a hundred at most wait for a connection; one that has it or fails makes room."""
    streams = []
    monkeypatch.setattr(
        fleet,
        "ResilientStream",
        lambda *given, **options: streams.append(FakeStream(*given, **options)) or streams[-1],
    )
    made = Fleet(LoadPlan(users=150, messages=100, ramp=1.5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run, ["http://host/"] * 150)
        await anyio.sleep(2)
        began = streams[0].made_at
        assert [stream.made_at - began for stream in streams] == pytest.approx([n * 0.01 for n in range(100)])
        for stream in streams[:20]:
            stream.change(StreamState.CONNECTED)
        await anyio.sleep(1)
        assert len(streams) == 120
        streams[20].end(BadStatusError(status=500, headers={}, body_excerpt=""))
        streams[21].end(LimitExceededError(9))
        streams[0].end()  # had its connection, and so makes no room a second time
        await anyio.sleep(1)
        assert len(streams) == 122
        assert not made.all_open.is_set()
        tasks.cancel_scope.cancel()
    assert made.count("ended") == 122
    assert made.followers[20].failure.startswith("BadStatusError")
    assert made.followers[21].failure.endswith("of more than 9 bytes, the most that max_event_bytes allows")
    assert made.followers[0].complete


C, W, R, E, X = (
    StreamState.CONNECTED,
    StreamState.WAITING,
    StreamState.RECONNECTING,
    StreamState.ERROR,
    StreamState.CLOSED,
)


def play(*changes):
    """Play changes of state, in seconds from now, and return the follower and its fleet's durations."""
    fleet = Fleet(LoadPlan())
    made, began = FleetMember(fleet), anyio.current_time()
    for new, at in changes:
        made(StateChange(old=C, new=new, reason=Reason.RESET, at=began + at))
    return made, fleet.times


async def test_availability():
    """R170: connected time counts from the first connection; waiting is connected, reconnecting is not."""
    made, times = play((C, 2), (W, 10), (C, 11), (R, 22), (R, 23), (C, 27), (X, 42))
    assert list(times["opening"]) == pytest.approx([2])
    assert (made.connected, made.lifetime) == (pytest.approx(35), pytest.approx(40))
    assert (made.open, made.reconnecting, made.ended) == (False, False, True)
    never, times = play((R, 1), (E, 20))
    assert (never.connected, never.lifetime) == (0, pytest.approx(20))
    assert list(times["recovery"]) == []


async def test_a_reconnect_is_timed():
    """R86, R98, R101: from the loss to the first event on the new connection, as the client has recorded it."""
    recovery = Recovery(
        reason=Reason.RESET, attempts=1, silent_since=8.0, lost_at=10.0, opened_at=14.0, recovered_at=15.0
    )
    made, times = play((R, 1), (C, 2))
    made(recovery)  # it belongs to the opening
    assert list(times["recovery"]) == []
    made, times = play((C, 0), (R, 10))
    assert made.reconnecting
    made(recovery)
    made.end(anyio.current_time() + 40)
    assert [list(times[name]) for name in ("recovery", "reopening", "silence")] == [[5], [4], [7]]


async def test_an_outage_without_an_end():
    """R88: an outage that nothing ended counts with the time it lasted, so that a maximum cannot look better."""
    made, times = play((C, 0), (R, 5))
    made.end(anyio.current_time() + 40)
    made.end(anyio.current_time() + 50)
    assert list(times["recovery"]) == pytest.approx([35])


def test_spread():
    """R85-R88: mean, percentiles and maximum of the same values, exactly; of nothing there is none."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(count=3, mean=2.0, p50=2.0, p95=3.0, p99=3.0, maximum=3.0)
    assert Spread.of([]) == Spread()
    # 7 % of 100 is the seventh, although 0.07 * 100 is a little more than 7 in floating point.
    assert [percentile(range(1, 101), percent) for percent in range(1, 101)] == list(range(1, 101))
    assert [percentile([4.0], percent) for percent in (0, 50, 100)] == [4.0] * 3


def test_samples_are_bounded():
    """R206: of very many messages so few are measured that what is kept does not grow with the run."""
    assert Fleet(LoadPlan(users=1, messages=9))._sample_every == 16
    soak = PRESETS["soak"]
    assert soak.users * soak.messages_each / Fleet(soak)._sample_every < 20_001


def test_growth():
    """P40, R172: 100 MB that become 101 MB in ten minutes have grown by about 1 %; a short watch tells nothing."""
    times = list(range(0, 601, 5))
    levels = [100e6 + 1e6 * second / 600 for second in times]
    assert growth(times, levels) == pytest.approx(100 * 1e6 / 100.5e6)
    assert growth(times, levels[::-1]) < 0
    assert growth(times[:59], levels[:59]) is None
    assert growth([], []) is None


async def test_readings(monkeypatch):
    """R171-R173: progress is told regularly; the server is asked and memory watched while all streams are open."""
    told, answers = [], iter([2, 4, 1])

    async def live(_running):
        return next(answers)

    monkeypatch.setattr(Running, "live", live)
    monkeypatch.setattr(LoadPlan, "warming", 0)
    running = Running(LoadPlan(users=2, messages=5, deadline=60), told.append)
    running.read()
    fleet = running.fleet
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.read_all)
        await anyio.sleep(1.2)
        fleet.all_open.set()
        fleet.received = 7
        await anyio.sleep(1.5)
        fleet.first_end = anyio.current_time()
        await anyio.sleep(0.4)
        tasks.cancel_scope.cancel()
    assert running.readings[1:] == told
    assert [progress.live for progress in told] == [None, None, 2, 4, 1, None]
    assert [progress.steady for progress in told] == [False, False, True, True, True, False]
    assert (told[-1].users, told[-1].received, told[-1].expected) == (2, 7, 10)
    memory = [reading.resident for reading in running.readings]
    running.readings[3] = replace(told[2], resident=10**10)
    result = _result(running, seconds=3.0, load=None)
    seen, process = result.connections, result.process
    assert (seen.mean, seen.most, seen.excess) == (pytest.approx(7 / 3), 4, 2)
    assert (process.resident_before, process.resident_peak) == (memory[0], 10**10)
    assert process.watched == told[4].seconds - told[2].seconds


def test_cpu():
    """R171: the share of one core; of no time there is none."""
    first, last = (
        Progress(
            users=1, open=1, reconnecting=0, ended=0, received=0, expected=1, cpu=None, resident=0, **spent
        )
        for spent in ({"seconds": 10.0, "cpu_seconds": 1.0}, {"seconds": 12.0, "cpu_seconds": 1.5})
    )
    assert last.share_since(first) == 0.25
    assert first.share_since(first) is None


def test_open_files():
    """R169: a soft limit that is too low is raised; where the hard one is, the error says what to do."""
    code = """
        import resource
        from resilient_sse.testing.load.run import allow_open_files, OpenFilesError
        for limits in (700, 1000), (128, 1000), (128, 200):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            try:
                print(allow_open_files(500), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            except OpenFilesError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    enough, raised, refused = done.stdout.splitlines()
    assert (enough, raised) == ("564 700", "564 1000")
    assert "need 564 open files, and the limit is 200" in refused


def test_heartbeat():
    """R138: the reference server sends heartbeats every ten seconds, or none, as the plan says."""
    for heartbeat, expected in ((10.0, "10.0"), (None, "none")):
        arguments = server_command(LoadPlan(heartbeat=heartbeat))
        assert arguments[arguments.index("--heartbeat") + 1] == expected
    assert LoadPlan().heartbeat == 10.0
