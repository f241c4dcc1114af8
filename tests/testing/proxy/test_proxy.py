"""The proxy on real sockets: what goes through, what does not, and what is left behind."""

import errno
import resource
import socket
import time

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from resilient_sse.testing.proxy import (
    PROFILES,
    Bandwidth,
    BlackHole,
    FaultProxy,
    Latency,
    LimitBytes,
    Reset,
    SegmentLoss,
    Slicer,
    SlowClose,
    Timeline,
    TLSFailure,
)
from tests.e2e.watching import eventually, refuses
from tests.testing.proxy.peers import ask, everything, open_sockets, target

pytestmark = pytest.mark.e2e

HOST = "127.0.0.1"
HEAPS = b"x" * 65_536


@pytest.fixture(autouse=True)
async def bounded(anyio_backend):
    """Nothing here waits for long."""
    with anyio.fail_after(45):
        yield


def pouring(total):
    """Make a handler that sends *total* bytes when it has been spoken to, and counts them."""
    sent = []

    async def pour(stream):
        await stream.receive()
        while sum(sent) < total:
            await stream.send(HEAPS)
            sent.append(len(HEAPS))

    return pour, sent


def waiting():
    """Make a handler that is spoken to once and waits for more, and a list of how its connections ended."""
    ends = []

    async def wait(stream):
        try:
            await stream.receive()
            await stream.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            ends.append(type(error.__cause__))

    return wait, ends


async def swallow(stream, sizes):
    """Note how much comes, until the connection ends in one way or the other."""
    while True:
        sizes.append(len(await stream.receive()))


async def test_bytes_go_both_ways_and_are_counted():
    """P25: without a fault nothing changes."""
    async with target() as port, FaultProxy(HOST, port) as proxy:
        data = bytes(range(256)) * 4000
        with anyio.fail_after(20):
            assert await ask(proxy.port, data) == data
        assert await eventually(lambda: proxy.counters.live == 0, within=5)
        counters = proxy.counters.to_dict()
    assert counters == {
        "accepted": 1,
        "refused": 0,
        "resets": 0,
        "bytes_down": len(data),
        "bytes_up": len(data),
        "dropped": 0,
        "live": 0,
    }


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("delay", [0, 0.1], ids=["clear", "late"])
async def test_one_direction_may_end_before_the_other(direction, delay):
    """P25: half a connection stays usable after the other half was closed; an end is as late as all else."""

    async def talk_on(stream):
        if direction == "down":
            await stream.send_eof()
            heard.append(await everything(stream))
        else:
            heard.append(await everything(stream))
            await stream.send(b"answer")

    heard = []
    toxics = [Latency(delay=delay, direction="both")]
    async with target(talk_on) as port, FaultProxy(HOST, port, toxics=toxics) as proxy:
        begun = anyio.current_time()
        async with await anyio.connect_tcp(HOST, proxy.port) as client:
            if direction == "down":
                assert await everything(client) == b""
                assert anyio.current_time() - begun >= delay
            await client.send(b"question")
            await client.send_eof()
            if direction == "up":
                assert await everything(client) == b"answer"
            assert await eventually(lambda: heard == [b"question"], within=5)
        assert await eventually(lambda: proxy.counters.live == 0, within=5)


@pytest.mark.proof
@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
@pytest.mark.parametrize("name", ["slow-3g", "mobile-4g", "wifi"])
async def test_the_rates_are_met(name, up):
    """R10, R44, R167: 100 kbps, 10,000 down and 5,000 up, and 50,000 both ways, +-10 %, measured over 5 s."""

    async def swallow(stream):
        while True:
            data = await stream.receive()
            received.append((time.monotonic(), len(data)))

    received = []
    pour, _ = pouring(40_000_000)
    async with (
        target(swallow if up else pour) as port,
        FaultProxy(HOST, port, profile=name, seed=1) as proxy,
        await anyio.connect_tcp(HOST, proxy.port) as client,
    ):
        with anyio.move_on_after(5):
            if up:
                while True:
                    await client.send(HEAPS)
            await client.send(b"go")
            await swallow(client)
    times, sizes = zip(*received, strict=True)
    assert sum(sizes[1:]) * 8 / 1000 / (times[-1] - times[0]) == pytest.approx(
        PROFILES[name].up_kbps if up else PROFILES[name].down_kbps, rel=0.1
    )


async def test_a_closed_port_refuses_and_stays_ours():
    """P25: while it refuses, the port answers as if nothing listened there, and nobody else gets it."""
    async with target() as port, FaultProxy(HOST, port) as proxy:
        for _ in range(3):
            proxy.refuse()
            proxy.refuse()
            with socket.socket() as sock:
                assert sock.connect_ex((HOST, proxy.port)) == errno.ECONNREFUSED
            with socket.socket() as thief, pytest.raises(OSError, match="in use"):
                thief.bind((HOST, proxy.port))
            proxy.accept()
            proxy.accept()
            assert await ask(proxy.port) == b"hello"


RST, FIN = ConnectionResetError, type(None)


@pytest.mark.parametrize("how, end", [("reset_all", RST), ("close_all", FIN)])
async def test_an_end_is_the_same_on_both_sides(how, end):
    """P25: RST or FIN reaches the client and the target; so does a reset of the client's, which is not counted."""
    wait, ends = waiting()
    async with target(wait) as port, FaultProxy(HOST, port) as proxy:
        async with await anyio.connect_tcp(HOST, proxy.port) as client:
            await client.send(b"a")
            assert await eventually(lambda: proxy.counters.bytes_up == 1, within=5)
            assert getattr(proxy, how)() == 1
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)) as raised:
                await client.receive()
        assert type(raised.value.__cause__) is end
        with socket.create_connection((HOST, proxy.port)) as resetting:
            resetting.sendall(b"a")
            assert await eventually(lambda: proxy.counters.bytes_up == 2, within=5)
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert await eventually(lambda: ends == [end, RST], within=5)
        assert await eventually(lambda: proxy.counters.live == 0, within=5)
        assert (proxy.counters.resets, getattr(proxy, how)()) == (int(end is RST), 0)


@pytest.mark.parametrize("kind,error", [(Reset, anyio.BrokenResourceError), (LimitBytes, anyio.EndOfStream)])
@pytest.mark.parametrize("size", [100, 65_536])  # of pieces: many may be under way, or one
async def test_a_connection_ends_at_a_byte(kind, error, size):
    """P25: exactly so many bytes arrive, on so many connections, then the connection ends as it should."""
    pour, _ = pouring(1_000_000)
    toxics = [kind(after=1000, times=2), Slicer(size=size)]
    async with target(pour) as port, FaultProxy(HOST, port, toxics=toxics) as proxy:
        for _ in range(2):
            async with await anyio.connect_tcp(HOST, proxy.port) as client:
                await client.send(b"go")
                received = []
                with pytest.raises(error):
                    await swallow(client, received)
                assert sum(received) == 1000
        async with await anyio.connect_tcp(HOST, proxy.port) as client:
            await client.send(b"go")
            received = [0]
            while sum(received) < 2000:
                received.append(len(await client.receive()))
        assert proxy.counters.resets == (2 if kind is Reset else 0)


async def test_a_black_hole_keeps_what_it_swallowed():
    """R165, P25: nothing passes, nothing ends, and afterwards nothing is missing; a new connection is as mute."""
    async with (
        target() as port,
        FaultProxy(HOST, port) as proxy,
        await anyio.connect_tcp(HOST, proxy.port) as client,
    ):
        await client.send(b"one")
        assert await client.receive() == b"one"
        proxy.black_hole()
        await client.send(b"two")
        answers = []

        async def ask_newly():
            answers.append(await ask(proxy.port, b"new"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_newly)
            with anyio.move_on_after(0.3):
                pytest.fail(f"{await client.receive()} came through")
            assert answers == []
            assert await eventually(lambda: proxy.counters.live == 2, within=5)
            proxy.flow()
            assert await client.receive() == b"two"
        assert answers == [b"new"]


async def test_a_black_hole_one_way_only():
    """P25: with the way down blocked, what is said still arrives."""
    async with (
        target() as port,
        FaultProxy(HOST, port, toxics=[BlackHole(direction="down")]) as proxy,
        await anyio.connect_tcp(HOST, proxy.port) as client,
    ):
        await client.send(b"one")
        assert await eventually(lambda: proxy.counters.bytes_up == 3, within=5)
        with anyio.move_on_after(0.1):
            pytest.fail(f"{await client.receive()} came through")
        proxy.remove(BlackHole(direction="down"))
        assert await client.receive() == b"one"


async def test_one_seed_one_fate():
    """R11, P25: the n-th connection fares the same under the same seed."""

    async def drops(seed):
        async with FaultProxy(HOST, port, toxics=[SegmentLoss(share=0.5, delay=0.001)], seed=seed) as proxy:
            assert proxy.seed == seed
            for _ in range(20):
                await ask(proxy.port)
            return proxy.counters.dropped

    async with target() as port:
        assert await drops(1) == await drops(1)
        assert len({await drops(seed) for seed in range(4)}) > 1
    first, second = FaultProxy(HOST, 9), FaultProxy(HOST, 9)
    assert first.seed != second.seed


@pytest.mark.parametrize(
    "toxics",
    [
        (),
        (Latency(delay=0.01),),
        (Bandwidth(kbps=10_000),),
        (BlackHole(direction="down"),),
        (Slicer(size=100),),
    ],
    ids=["clear", "late", "narrow", "black hole", "sliced"],
)
async def test_a_slow_client_slows_the_target(toxics):
    """P25: what is not taken is not read either: the target has to wait, and memory stays bounded."""
    total = 200_000_000
    pour, sent = pouring(total)
    async with target(pour) as port, FaultProxy(HOST, port, toxics=toxics) as proxy:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect((HOST, proxy.port))
        client.send(b"go")
        before = -1
        while before != sum(sent):  # until nothing moves any more
            before = sum(sent)
            await anyio.sleep(0.3)
        # The buffers of four sockets; only the target's own grows, up to the 4 MB or so of the system's limit.
        assert before < 16_000_000
        assert proxy.counters.bytes_down < 1_000_000
        client.close()


async def test_whom_the_target_refuses_the_proxy_refuses():
    """P25: a target that is not there looks like one."""
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        async with FaultProxy(HOST, closed.getsockname()[1]) as proxy:
            async with await anyio.connect_tcp(HOST, proxy.port) as client:
                with pytest.raises(anyio.BrokenResourceError):
                    await client.receive()
            assert await eventually(lambda: proxy.counters.refused == 1, within=5)
            assert proxy.counters.resets == 0


async def test_a_captive_portal_answers_in_plain_text():
    """P25: whatever the client speaks."""
    async with (
        FaultProxy(HOST, 9, toxics=[TLSFailure()]) as proxy,
        await anyio.connect_tcp(HOST, proxy.port) as client,
    ):
        await client.send(b"\x16\x03\x01")
        assert (await everything(client)).startswith(b"HTTP/1.1 400 ")


async def test_a_timeline_is_played_in_time():
    """P24: each action at its moment, and every word does something."""
    timeline = (
        Timeline()
        .at(0, "3g", "loss:share=0.1", "black-hole")
        .at(0.6, "flow")
        .at(1.2, "clear", "refuse")
        .at(1.8, "accept", "reset", "close")
    )
    async with target() as port, FaultProxy(HOST, port) as proxy, anyio.create_task_group() as tasks:
        begun = anyio.current_time()
        tasks.start_soon(proxy.play, timeline)
        await anyio.sleep(0.3)
        assert proxy.profile.name == "3g"
        assert proxy.toxics == (SegmentLoss(share=0.1), BlackHole())
        await anyio.sleep_until(begun + 0.9)
        assert proxy.toxics == (SegmentLoss(share=0.1),)
        assert not refuses(proxy.port)
        assert await eventually(lambda: refuses(proxy.port), within=5)
        assert proxy.toxics == ()
        assert await eventually(lambda: not refuses(proxy.port), within=5)


async def fail_amidst(port, clients):
    """Leave the block of a proxy by an error, with connections in every state."""
    async with FaultProxy(HOST, port, profile="slow-3g", toxics=[SlowClose(delay=60)]) as proxy:
        clients += [await anyio.connect_tcp(HOST, proxy.port) for _ in range(5)]
        for client in clients[:3]:
            await client.send(HEAPS)
        await clients[1].send_eof()
        proxy.black_hole()
        await clients[2].aclose()
        await anyio.sleep(0.1)
        raise LookupError("bare")


async def test_nothing_is_left_behind():
    """Bad input: after the block no port is open, no socket, no task, whatever was going on."""
    before = open_sockets()
    clients = []
    async with target() as port:
        inside = open_sockets()
        with anyio.move_on_after(0.1) as scope:
            async with FaultProxy(HOST, port, toxics=[BlackHole()]) as proxy:
                number = proxy.port
                await ask(number)
        assert scope.cancelled_caught
        assert refuses(number)
        with pytest.raises(LookupError, match="bare"):  # in no exception group
            await fail_amidst(port, clients)
        number = clients[0].extra(SocketAttribute.remote_port)  # noqa: S610 - no Django here
        assert refuses(number)
        for client in clients:
            await client.aclose()
        assert await eventually(lambda: open_sockets() == inside, within=5)
    assert open_sockets() == before


async def test_an_occupied_port_is_named():
    """Bad input: an occupied port, a foreign address and an unknown host each name the fix."""
    before = open_sockets()
    with socket.create_server((HOST, 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=rf"port {number} of 127.0.0.1 .*choose another, or 0 for a free one"
        ):
            async with FaultProxy(HOST, 9, port=number):
                pass
    with pytest.raises(OSError, match=r"cannot listen on 192.0.2.1: .*; give an address of this machine"):
        async with FaultProxy(HOST, 9, host="192.0.2.1"):
            pass
    with pytest.raises(ValueError, match="port must be a port from 0 to 65535, not 65536"):
        async with FaultProxy(HOST, 9, port=65536):
            pass
    with pytest.raises(ValueError, match="target_port must be a port from 1 to 65535, not 0"):
        FaultProxy(HOST, 0)
    with pytest.raises(OSError, match="the host 'no host' is unknown; give an address"):
        async with FaultProxy("no host", 9):
            pass
    assert open_sockets() == before


async def test_a_proxy_runs_in_its_block_only():
    """Bad input: outside the block it says so; an unknown profile is refused at once."""
    with pytest.raises(RuntimeError, match="use it within 'async with"):
        _ = FaultProxy(HOST, 9).port
    async with FaultProxy(HOST, 9, host="::1") as proxy:
        assert proxy.url_for("https://me:pw@name/x?c=d#e") == f"https://me:pw@[::1]:{proxy.port}/x?c=d#e"
        with pytest.raises(ValueError, match=r"url must have a scheme and a host, .*, not 'localhost:80/x'"):
            proxy.url_for("localhost:80/x")
        with pytest.raises(RuntimeError, match="the proxy is already running; make another FaultProxy"):
            await proxy.__aenter__()
    with pytest.raises(RuntimeError, match="not running"):
        proxy.accept()
    async with proxy:
        assert proxy.port
    with pytest.raises(ValueError, match=r"unknown profile .7g.; choose one of slow-3g, 3g, 4g, .*clean"):
        FaultProxy(HOST, 9, profile="7g")


@pytest.fixture
def many_files():
    """Allow this process enough sockets for 1,000 connections through the proxy, both ends included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the system allows {hard} open files, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.proof
@pytest.mark.parametrize("profile", ["clean", "3g"])
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_connections_are_cheap(profile):
    """R169: 1,000 connections, each echoed once; both ends and the proxy share one core for a few seconds."""

    async def one():
        nonlocal done
        assert await ask(proxy.port) == b"hello"
        async with await anyio.connect_tcp(HOST, proxy.port) as client:
            everyone.append(client)
            await client.send(b"x" * 100)
            received = 0
            while received < 100:
                received += len(await client.receive())
            done += 1
            await all_done.wait()

    done, everyone, all_done = 0, list[SocketStream](), anyio.Event()
    async with target() as port, FaultProxy(HOST, port, profile=profile, seed=1) as proxy:
        used = time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(one)
            assert await eventually(lambda: done == 1000, within=40)
            assert proxy.counters.live >= 1000
            all_done.set()
        used = time.process_time() - used
        assert await eventually(lambda: proxy.counters.live == 0, within=20)
    assert proxy.counters.accepted == 2000
    assert used < 15


async def test_a_handoff_that_is_cut_short_leaves_the_port_open():
    """R46: only new connections are refused in the gap; cancelled, the proxy accepts again, on the new line."""
    async with target() as port, FaultProxy(HOST, port) as proxy:
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(proxy.handoff, "wifi", "4g", 60)
                assert await eventually(lambda: refuses(proxy.port), within=5)
                assert proxy.profile.name == "wifi"
                await anyio.sleep_forever()
        assert not refuses(proxy.port)
        assert proxy.profile.name == "4g"


async def test_a_flap_that_is_cancelled_with_its_proxy_leaves_no_port():
    """However the two are cancelled together, that is no error, and nobody opens the port again."""
    before = open_sockets()
    for _ in range(10):  # trio cancels in any order
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def run(tasks=tasks):
                    async with FaultProxy(HOST, 9) as proxy:
                        tasks.start_soon(lambda: proxy.flap(1, down=60))
                        await anyio.sleep_forever()

                tasks.start_soon(run)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
    assert open_sockets() == before


async def test_running_out_of_files_is_survived():
    """R169: without a free descriptor nobody is accepted for a while; the proxy goes on, and then they are."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with target() as port, FaultProxy(HOST, port) as proxy:
        assert await ask(proxy.port) == b"hello"  # now both listeners wait, and need nothing for that
        await anyio.sleep(0.05)
        with socket.socket() as client:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                client.connect((HOST, proxy.port))
                await anyio.sleep(0.2)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert proxy.counters.accepted == 1
            assert await eventually(lambda: proxy.counters.accepted == 2, within=5)
        assert await ask(proxy.port) == b"hello"
