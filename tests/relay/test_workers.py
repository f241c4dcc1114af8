"""Many streams and many workers: each stream has one owner, and one copy of each event (P62)."""

from __future__ import annotations

import math
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
import redis.asyncio

from resilient_sse import ResilientStream
from resilient_sse.relay import RelayError, Worker
from resilient_sse.testing import Script, event
from tests.checkpoints.consumer import PROCESSES
from tests.checkpoints.replaying import replaying
from tests.examples.programs import until
from tests.relay.copying import eventually
from tests.relay.working import GROUP, Process, Shift, faults, gaps, lengths, shares, streams
from tests.testing.server import valkey as real
from tests.testing.server.valkey import Server

PROCESSES.set_forkserver_preload(["tests.relay.copying", "tests.relay.working"])

AOF = ("--appendonly", "yes", "--appendfsync", "everysec")


def grown(valkey: Server, shift: Shift, by: int = 2) -> None:
    """Wait until every log has grown."""
    before = lengths(valkey.client, shift.names)
    until(
        lambda: all(now >= before[name] + by for name, now in lengths(valkey.client, shift.names).items()),
        lambda: f"every log grows: {before}, {lengths(valkey.client, shift.names)}",
    )


def fair(valkey: Server, shift: Shift, workers: int) -> dict[str, list[str]]:
    """Wait until so many workers have fair shares, and give these."""
    least, most = len(shift.names) // workers, math.ceil(len(shift.names) / workers)

    def is_fair() -> bool:
        sizes = [len(names) for names in shares(valkey.client).values()]
        return (
            len(sizes) == workers
            and sum(sizes) == len(shift.names)
            and least <= min(sizes) <= max(sizes) <= most
        )

    until(is_fair, lambda: f"{workers} workers have fair shares: {shares(valkey.client)}")
    return shares(valkey.client)


@pytest.fixture
def shift(valkey: Server) -> Iterator[Shift]:
    """Thirty streams of five events a second."""
    with replaying(0.2) as upstream:
        yield Shift(upstream, valkey.url, tuple(f"log-{n}" for n in range(30)), 3.0)


@pytest.fixture
def many(shift: Shift) -> Shift:
    """Two hundred streams."""
    return replace(shift, names=tuple(f"log-{n}" for n in range(200)))


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Kill what a test has left running."""
    running: list[Process] = []
    yield running
    for process in running:
        process.kill()


def moved(before: dict[str, list[str]], after: dict[str, list[str]]) -> int:
    """Count the streams whose owner is another."""
    old = {name: who for who, names in before.items() for name in names}
    return sum(old[name] != who for who, names in after.items() for name in names)


def test_shares_are_fair_and_sticky(valkey, shift, processes):
    """Workers that come and go move no more streams than they must, and repeat nothing (P62)."""
    processes.append(Process(shift))
    one = fair(valkey, shift, 1)
    processes.append(Process(shift))
    two = fair(valkey, shift, 2)
    processes.append(Process(shift))
    three = fair(valkey, shift, 3)
    assert moved(one, two) <= math.ceil(30 / 2) + 1
    assert moved(two, three) <= math.ceil(30 / 3) + 1
    grown(valkey, shift)
    processes.pop(0).stop()
    left = fair(valkey, shift, 2)
    assert moved(three, left) <= math.ceil(30 / 3) + 1
    grown(valkey, shift)
    assert not faults(valkey.client, shift.names)


@contextmanager
def unowned(valkey: Server) -> Iterator[list[float]]:
    """Listen to the leases, and give how long each was nobody's when it was handed over."""
    given: dict[bytes, float] = {}
    waits: list[float] = []

    def note(message: dict[str, Any]) -> None:
        if message["data"] == b"del":
            given[message["channel"]] = time.monotonic()
        elif message["channel"] in given:
            waits.append(time.monotonic() - given.pop(message["channel"]))

    valkey.client.config_set("notify-keyspace-events", "Kg$")
    listening = valkey.client.pubsub()
    listening.psubscribe(**{"__keyspace@0__:{*}:lease": note})
    thread = listening.run_in_thread(sleep_time=0.05)
    yield waits
    until(lambda: not given, lambda: f"all have an owner: {given}")
    thread.stop()
    thread.join()


def tell(what: str, waits: list[float]) -> None:
    """Print what a proof has found; `-s` shows it."""
    parts = statistics.quantiles(waits, n=100)
    found = f"p50 {parts[49]:.3f} s, p99 {parts[98]:.3f} s, longest {max(waits):.3f} s"
    print(f"\n{what}: {len(waits)} hand-overs, {found}")  # noqa: T201


def three(valkey: Server, shift: Shift, processes: list[Process], *options: str) -> None:
    """Start three workers, with a Redis that has these options."""
    valkey.kill()
    valkey.start(*options)
    processes += [Process(shift) for _ in range(3)]
    fair(valkey, shift, 3)


def replaced(valkey: Server, shift: Shift, processes: list[Process]) -> None:
    """Stop and start three workers one by one."""
    for _ in range(3):
        processes.pop(0).stop()
        processes.append(Process(shift))
        fair(valkey, shift, 3)
        grown(valkey, shift)
    assert not faults(valkey.client, shift.names)


def test_a_rolling_deploy(valkey, shift, processes):
    """Three workers are replaced one by one: nothing is repeated, and nobody waits for a lease to end (P62)."""
    long = replace(shift, lease=600.0)  # one that had to run out would be the end of the test
    three(valkey, long, processes)
    grown(valkey, long)
    replaced(valkey, long, processes)
    assert len(gaps(valkey.client, long.names)) >= 30


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_hand_overs_of_two_hundred_streams(valkey, many, processes):
    """A rolling deploy repeats nothing and leaves no stream alone for a second; then one worker stops (P62)."""
    three(valkey, many, processes)
    grown(valkey, many)
    with unowned(valkey) as waits:
        replaced(valkey, many, processes)
    tell("a rolling deploy of three workers, without an owner", waits)
    tell("and without an event, of which there are five a second", gaps(valkey.client, many.names))
    assert max(waits) <= 1.0
    with unowned(valkey) as waits:
        processes.pop().stop()
        fair(valkey, many, 2)
        grown(valkey, many)
    tell("one of three workers stops, without an owner", waits)
    assert not faults(valkey.client, many.names)


def storm(
    valkey: Server, shift: Shift, processes: list[Process], blows: list[str], draw: random.Random
) -> None:
    """Kill, freeze and restart, at any moment, and see that all go on each time."""
    three(valkey, shift, processes, *AOF)
    for blow in blows:
        time.sleep(draw.uniform(0, shift.lease / 2))
        process = processes[at := draw.randrange(3)]
        if blow == "kill":
            process.kill()
            processes[at] = Process(shift)
        elif blow == "freeze":
            process.send(signal.SIGSTOP)
            fair(valkey, shift, 2)
            grown(valkey, shift)
            process.send(signal.SIGCONT)
        else:
            valkey.kill()
            time.sleep(draw.uniform(0, 1.5 * shift.lease))
            valkey.start(*AOF)
        fair(valkey, shift, 3)
        grown(valkey, shift)
    assert not faults(valkey.client, shift.names)


def test_kills_freezes_and_restarts(valkey, shift, processes):
    """Whatever happens to workers and Redis: one copy of each event, no write with an old token (P62)."""
    storm(
        valkey,
        replace(shift, lease=1.0),
        processes,
        ["freeze", "kill", "restart", "freeze"],
        random.Random(1),
    )


def away(valkey: Server, shift: Shift, processes: list[Process], way: str, leases: Sequence[float]) -> None:
    """Take Redis away for so many leases each time, and see that all go on by themselves."""
    options = () if way == "lost" else AOF
    three(valkey, shift, processes, *options)
    for lasting in leases:
        grown(valkey, shift)
        before = lengths(valkey.client, shift.names)
        if way == "frozen":  # what was sent to it is done when it goes on: that must be too late
            valkey.send(signal.SIGSTOP)
        else:
            valkey.kill()
        time.sleep(lasting * shift.lease)
        if way == "frozen":
            valkey.send(signal.SIGCONT)
        else:
            valkey.start(*options)
        fair(valkey, shift, 3)
        grown(valkey, shift)
        if way != "lost":
            assert all(now > before[name] for name, now in lengths(valkey.client, shift.names).items())
        assert not faults(valkey.client, shift.names)


@pytest.mark.slow
@pytest.mark.parametrize("way, by_asyncio", [("kept", True), ("frozen", True)], ids=["kept", "frozen"])
def test_redis_is_away_for_many_leases(valkey, shift, processes, way, by_asyncio):
    """Three workers wait and go on: one copy of each event, no write with an old token (P62)."""
    few = replace(shift, names=shift.names[:6], lease=1.0, by_asyncio=by_asyncio)
    away(valkey, few, processes, way, [3])


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("by_asyncio", [False, True], ids=["a URL", "redis.asyncio"])
@pytest.mark.parametrize("way", ["kept", "lost", "frozen"])
def test_redis_is_away_for_minutes(valkey, many, processes, way, by_asyncio):
    """Two hundred streams; away for a minute, and for longer and shorter than a lease (P62)."""
    away(valkey, replace(many, by_asyncio=by_asyncio), processes, way, [20, 0.5, 3])


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_a_storm(valkey, many, processes):
    """Two hundred streams for minutes (P62)."""
    draw = random.Random(62)
    storm(valkey, many, processes, draw.choices(["kill", "freeze", "restart"], k=20), draw)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker, and stop it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        yield worker
        worker.stop()


def few(shift: Shift, **options: Any) -> Worker:
    """Make a worker for three streams."""
    return Worker(streams(shift, 3), shift.redis, group=GROUP, **{"lease": 1.0} | options)


async def test_a_worker_stops_and_another_goes_on(valkey, shift):
    """The figures tell who has what; a stopped worker owns nothing and leaves no lease (P62)."""
    names = shift.names[:3]
    async with running(few(shift)) as first, running(few(shift)) as second:
        await eventually(lambda: len(first.stats.owned + second.stats.owned) == 3, "both have a share")
        await eventually(lambda: all(lengths(valkey.client, names).values()), "all are copied")
        assert first.ready
        assert sorted(first.stats.owned + second.stats.owned) == list(names)
        first.stop()
        await eventually(lambda: second.stats.owned == names, "the second has all")
        assert first.stats.owned == ()
        assert not first.ready
        assert first.stats.taken == first.stats.given > 0
        assert set(second.relays) == set(names)
    assert shares(valkey.client) == {}
    assert not valkey.client.exists(*(f"{{{name}}}:lease" for name in names))
    assert not faults(valkey.client, names)


async def test_a_cancelled_worker_hands_over(valkey, shift):
    """It is as if it had been stopped: it runs no more."""
    worker = few(shift)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await eventually(lambda: len(worker.stats.owned) == 3, "it has all")
        tasks.cancel_scope.cancel()
    assert shares(valkey.client) == {}
    assert valkey.client.scard(f"{GROUP}:free") == 3
    with pytest.raises(RuntimeError, match="a worker runs once; make another"):
        await worker.run()


async def test_a_bell_that_nobody_hears(valkey, shift):
    """A worker that does not wait in Redis as it is stopped leaves no key for good."""
    worker = few(shift)
    worker._deadline = 1.0
    worker.stop()
    await worker._end_with(anyio.CancelScope())
    assert 0 < valkey.client.pttl(f"{GROUP}:wake:{worker.id}") <= 10_000


async def test_an_owner_that_cannot_renew_stops_reading(valkey, shift, caplog):
    """At two thirds of the lease; when Redis is back, it goes on (P62)."""
    valkey.kill()
    valkey.start(*AOF)
    async with running(few(shift)) as worker:
        await eventually(lambda: len(worker.stats.owned) == 3, "it has all")
        valkey.kill()
        await eventually(lambda: worker.stats.owned == (), "it stops reading")
        assert not worker.ready
        assert worker.stats.paused == 1
        valkey.start(*AOF)
        before = lengths(valkey.client, shift.names[:3])
        await eventually(
            lambda: all(now > before[name] for name, now in lengths(valkey.client, shift.names[:3]).items()),
            "it goes on",
        )
    assert not faults(valkey.client, shift.names[:3])
    assert "stops reading" in caplog.text


async def test_redis_has_lost_everything(valkey, shift):
    """The streams are told and taken anew."""
    async with running(few(shift)) as worker:
        await eventually(lambda: all(lengths(valkey.client, shift.names[:3]).values()), "all are copied")
        valkey.kill()
        valkey.start()
        await eventually(
            lambda: all(lengths(valkey.client, shift.names[:3]).values()), "all are copied again"
        )
        assert len(worker.stats.owned) == 3
    assert not faults(valkey.client, shift.names[:3])


async def test_redis_is_out_of_memory(valkey, shift, caplog):
    """Leases are renewed and handed over as ever; what was refused is copied later (P62)."""
    names = shift.names[:3]
    async with running(few(shift)) as first, running(few(shift)) as second:
        await eventually(lambda: all(lengths(valkey.client, names).values()), "all are copied")
        await eventually(lambda: first.stats.owned and second.stats.owned, "both have a share")
        valkey.client.config_set("maxmemory", "1")
        first.stop()
        await eventually(lambda: second.stats.owned == names, "the second has all")
        await eventually(lambda: second.stats.failing.keys() == {*names}, "all are refused")
        before = lengths(valkey.client, names)
        valkey.client.config_set("maxmemory", "0")
        await eventually(
            lambda: all(now > before[name] for name, now in lengths(valkey.client, names).items()),
            "all go on",
        )
    assert "maxmemory" in caplog.text
    assert not faults(valkey.client, names)


async def test_a_log_of_another_program(valkey, shift, caplog):
    """It is left as it is, by the worker that has it, and the others go on (P62)."""
    valkey.client.xadd("log-1", {"a": "b"})
    elsewhere = {"id": "5", "ordinal": 5, "source": "http://elsewhere/"}
    valkey.client.hset("{log-2}:position", mapping=elsewhere)
    valkey.client.set("{log-3}:position", "a string")
    valkey.client.hset("{log-4}:position", mapping={"ordinal": "no number"})
    async with running(Worker(streams(shift, 5), shift.redis, group=GROUP, lease=1.0)) as worker:
        await eventually(lambda: len(worker.stats.failing) == 4, "it is told")
        await eventually(lambda: valkey.client.xlen("log-0"), "the other is copied")
        assert "WRONGTYPE" in worker.stats.failing["log-3"]
        assert "no number" in worker.stats.failing["log-4"]
        assert "holds what no relay has written" in worker.stats.failing["log-1"]
        assert "copied from http://elsewhere/" in worker.stats.failing["log-2"]
        await eventually(lambda: caplog.text.count("is tried again") >= 2, "it is logged")
    assert lengths(valkey.client, shift.names[1:3]) == {"log-1": 1, "log-2": 0}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cluster(tmp_path, shift):
    """The error says that it is none of theirs (P62)."""
    with real.valkey(tmp_path, "--cluster-enabled", "yes") as cluster:
        cluster.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await eventually(lambda: cluster.client.cluster("INFO")["cluster_state"] == "ok", "the cluster is up")
        with pytest.raises(RelayError, match=r"cannot keep the leases of 'relay': .* in a cluster node"):
            await Worker(streams(shift), cluster.url, lease=1.0).run()


async def test_a_token_that_is_anothers(valkey, shift):
    """A worker that still believes it owns a stream writes nothing to it (P62)."""
    async with running(few(shift, lease=60.0)) as worker:
        await eventually(lambda: all(lengths(valkey.client, shift.names[:3]).values()), "all are copied")
        assert worker.stats.failing == {}
        valkey.client.set("{log-1}:lease", "another:7")
        await eventually(lambda: "log-1" in worker.stats.failing, "it is told")
        length = valkey.client.xlen("log-1")
        await eventually(lambda: valkey.client.xlen("log-2") > length + 5, "the others go on")
        assert valkey.client.xlen("log-1") == length
        assert "lease" in worker.stats.failing["log-1"]


async def test_one_stream_fails(valkey, shift, caplog):
    """Its failure is told, and is not the others'; when it works, it is copied."""
    script = Script()
    script.reject(404)
    script.respond(event("1", id="1")).hang()
    odd = {"odd": lambda _: ResilientStream("http://test/", client=script.client())}
    async with running(Worker(streams(shift, 3) | odd, shift.redis, lease=1.0)) as worker:
        await eventually(lambda: "404" in worker.stats.failing.get("odd", ""), "it is told")
        await eventually(lambda: valkey.client.xlen("odd"), "it is copied")
        await eventually(lambda: all(lengths(valkey.client, shift.names[:3]).values()), "so are the others")
        await eventually(lambda: worker.stats.failing == {}, "it no longer fails")
    assert "404" in caplog.text


async def test_a_busy_loop_renews_late(valkey, shift, caplog):
    """A lease that is too short for the machine is told (P62)."""
    async with running(few(shift)) as worker:
        await eventually(lambda: len(worker.stats.owned) == 3, "it has all")
        time.sleep(0.6)  # noqa: ASYNC251 - a handler that blocks
        await eventually(lambda: worker.stats.late, "it is told")
    assert "is short for this machine" in caplog.text


async def test_claims_are_paced(valkey, shift, monkeypatch):
    """A worker does not open everything at once, and in the end has everything."""
    monkeypatch.setattr("resilient_sse.relay.workers._CLAIMS", 2)
    async with running(few(shift, lease=60.0)) as worker:
        await eventually(lambda: worker.stats.owned, "it has some")
        assert len(worker.stats.owned) == 2
        await eventually(lambda: len(worker.stats.owned) == 3, "it has all")


@pytest.mark.parametrize(
    "count, workers", [(4, 3), (7, 5), (2, 3)], ids=["one more", "two more", "fewer than workers"]
)
async def test_nobody_is_idle_while_another_has_two(valkey, shift, count, workers):
    """Shares differ by one at most (P62)."""
    made = [Worker(streams(shift, count), shift.redis, lease=5.0) for _ in range(workers)]

    def sizes() -> list[int]:
        return sorted(len(worker.stats.owned) for worker in made)

    async with AsyncExitStack() as stack:
        for worker in made:
            await stack.enter_async_context(running(worker))
        await eventually(lambda: sum(sizes()) == count and sizes()[-1] - sizes()[0] <= 1, "shares are fair")


async def test_workers_with_different_files(valkey, shift):
    """Somebody has each stream while a deploy lasts, and behind it shares are fair (P62)."""
    old, *new = (Worker(streams(shift, n), shift.redis, group=GROUP, lease=1.0) for n in (3, 9, 9))

    def sizes(*workers: Worker) -> list[int]:
        return sorted(len(worker.stats.owned) for worker in workers)

    async with running(old):
        await eventually(lambda: sizes(old) == [3], "it has all")
        async with running(new[0]):
            await eventually(lambda: sizes(old, new[0]) == [3, 6], "somebody has each stream")
            async with running(new[1]):
                old.stop()
                await eventually(lambda: sizes(*new) == [4, 5], "shares are fair")


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_client_for_asyncio_on_trio(shift):
    """The error says what serves there."""
    client = redis.asyncio.Redis.from_url(shift.redis)
    with pytest.raises(RuntimeError, match="asyncio only"):
        await Worker(streams(shift), client, lease=1.0).run()


async def test_the_group_is_something_else(valkey, shift):
    """It is left as it is."""
    valkey.client.set(f"{GROUP}:names:{few(shift)._digest}", "a string")
    with pytest.raises(RelayError, match="WRONGTYPE"):
        await few(shift).run()


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"streams": {}}, "streams"),
        ({"streams": {"": print}}, "streams"),
        ({"streams": {"relay:free": print}}, "streams"),
        ({"streams": {"log": None}}, "streams"),
        ({"lease": None}, "lease"),
        ({"group": ""}, "group"),
        ({"group": 5}, "group must be a string"),
        ({"maxlen": 0}, "maxlen"),
    ],
    ids=str,
)
def test_wrong_arguments(wrong, error):
    """They are told of where they are passed; others by `test_workers_config.py`."""
    arguments = {"streams": {"log": print}, "client": "redis://127.0.0.1:1/"} | wrong
    with pytest.raises((TypeError, ValueError), match=error):
        Worker(**arguments)
