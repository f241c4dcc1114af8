"""A proxy in a thread, for tests of any kind: sync, asyncio, trio (P24, P25)."""

import inspect
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from resilient_sse.testing.background import RunningProxy, proxying
from resilient_sse.testing.proxy import Bandwidth, FaultProxy, Latency, Profile, SegmentLoss, Timeline
from tests.e2e.raw_server import RawServer
from tests.e2e.watching import refuses, soon

pytestmark = pytest.mark.e2e


@pytest.fixture
def echo():
    """Give the URL of a server that sends back what it gets."""

    def answer(peer):
        while data := peer._sock.recv(100):
            peer.send(data)

    with RawServer(answer, unread=True) as server:
        yield f"{server.url}?user_id=1"


def ask(proxy, connection=None):
    """Send something through the proxy and return what comes back."""
    made = connection or socket.create_connection((proxy.host, proxy.port), timeout=5)
    made.settimeout(5)
    made.sendall(b"hello")
    reply = made.recv(100)
    if connection is None:
        made.close()
    return reply


def test_the_handle_leads_through_the_proxy(echo):
    """The URL differs from the server's in its host and port only, and what is sent arrives and is counted."""
    with proxying(echo) as proxy:
        assert proxy.url == f"http://{proxy.host}:{proxy.port}/stream?user_id=1"
        assert proxy.url_for("http://elsewhere:1/x") == f"http://{proxy.host}:{proxy.port}/x"
        assert proxy.url != echo
        assert ask(proxy) == b"hello"
        assert proxy.counters.accepted == 1
    assert refuses(proxy.port)


def test_it_has_the_methods_of_the_proxy():
    """All of them, with the arguments that they have there."""
    methods = {name: method for name, method in vars(FaultProxy).items() if inspect.isfunction(method)}
    for name in methods.keys() - {"passable", "strike", "closing_delay"}:  # which its connections ask
        method = methods[name]
        if not name.startswith("_"):
            ours = inspect.signature(getattr(RunningProxy, name)).parameters
            assert ours == inspect.signature(method).parameters, name


def test_what_takes_no_time_is_done_at_once(echo):
    """Refusing, accepting, resetting, closing and toxics take effect before the call returns."""
    slow, narrow = Latency(delay=0.5), Bandwidth(kbps=500)
    with proxying(echo, seed=1, toxics=[slow], profile=Profile(name="own")) as proxy:
        proxy.add(narrow)
        assert (proxy.toxics, proxy.profile.name) == ((slow, narrow), "own")
        proxy.remove(Latency(delay=0.5))
        assert proxy.toxics == (narrow,)
        proxy.apply("loss:share=0.5")
        assert proxy.toxics == (narrow, SegmentLoss(share=0.5))
        proxy.apply("clear")
        assert proxy.toxics == ()
        proxy.refuse()
        assert refuses(proxy.port)
        proxy.accept()
        with socket.create_connection((proxy.host, proxy.port)) as open_one:
            assert ask(proxy, open_one) == b"hello"
            assert proxy.reset_all() == 1
            with pytest.raises(ConnectionResetError):
                ask(proxy, open_one)
        with socket.create_connection((proxy.host, proxy.port)) as open_one:
            assert ask(proxy, open_one) == b"hello"
            assert proxy.close_all() == 1
            assert open_one.recv(1) == b""
        proxy.add(slow)
        start = time.perf_counter()
        assert ask(proxy) == b"hello"
        assert time.perf_counter() - start >= 0.5
        proxy.clear()
        assert proxy.toxics == ()
        proxy.apply("refuse")
        assert refuses(proxy.port)
        proxy.use("wifi")
        assert proxy.profile.name == "wifi"


def test_what_takes_time_goes_on_in_the_background(echo):
    """Flaps, hand-offs and timelines return a future, and the test goes on."""
    with proxying(echo) as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as connection:
            assert ask(proxy, connection) == b"hello"
            flaps = proxy.flap(2, down=[0.05, 0.05], up=0.05)
            with pytest.raises(ConnectionResetError):
                soon(lambda: not ask(proxy, connection))
        assert not flaps.done()
        assert flaps.result(5) is None
        assert ask(proxy) == b"hello"
        assert proxy.handoff("wifi", "clean", 0.05).result(5) is None
        assert ask(proxy) == b"hello"
        assert proxy.play(Timeline([(0.0, "refuse")])).result(5) is None
        assert refuses(proxy.port)


def test_a_fault_ends_when_it_is_cancelled_and_with_the_block(echo):
    """The network is back at once; of an hour in which it would be away, no thread, future or port is left."""
    threads = threading.active_count()
    with proxying(echo) as proxy:
        future = proxy.flap(1, down=3600)
        assert soon(lambda: refuses(proxy.port))
        assert future.cancel()
        assert soon(lambda: not refuses(proxy.port))
        assert ask(proxy) == b"hello"
        future = proxy.flap(1, down=3600, up=0)
        assert soon(lambda: refuses(proxy.port))
    assert soon(future.done)
    assert soon(lambda: threading.active_count() <= threads)
    assert refuses(proxy.port)


def test_what_makes_no_sense_is_told_at_once(echo):
    """What is told only to a future, or to nobody, would leave a test green without its fault."""
    threads = threading.active_count()
    for url, options, complaint in (
        ("https://host/stream", {}, "url must name a host and a port, not 'https://host/stream'"),
        ("/stream", {}, "url must name a host and a port, not '/stream'"),
        (echo, {"profile": "carrier-pigeon"}, "slow-3g"),
    ):
        with pytest.raises(ValueError, match=complaint), proxying(url, **options):
            pass
    assert soon(lambda: threading.active_count() <= threads)
    with proxying(echo) as proxy:
        for fault, complaint in (
            (lambda: proxy.handoff("wifi", "LTE", 0.3), "unknown profile 'LTE'; choose one of slow-3g"),
            (lambda: proxy.handoff("wifi", "4g", -1), "gap must be a number of seconds, 0 or more, not -1"),
            (lambda: proxy.flap(1, down="x"), "down and up must be a number of seconds, 0 or more, not 'x'"),
            (lambda: proxy.flap(1, down=1, up=-1), "down and up must be a number of seconds, 0 or more"),
            (lambda: proxy.flap(2, down=[1]), "one figure in down for each of 2 times"),
            (lambda: proxy.flap("2", down=1), "times must be a whole number, at least 1, not '2'"),
            (lambda: proxy.use(None), "unknown profile None"),
            (lambda: proxy.play("x"), "timeline must be a Timeline, such as Timeline.*, not 'x'"),
            (lambda: proxy.add(5), r"give a toxic, such as SegmentLoss\(share=0.1\), not 5"),
            (lambda: proxy.add("loss:share=0.5"), r"parse_toxic\('loss:share=0.5'\)"),
            (lambda: proxy.remove(Latency(delay=1)), "is not in force"),
            (lambda: proxy.apply("explode"), "unknown action 'explode'"),
        ):
            with pytest.raises((TypeError, ValueError), match=complaint):
                fault()
        assert ask(proxy) == b"hello"
        assert proxy.profile.name == "clean"


def test_what_fails_in_the_background_is_raised_at_the_end(echo):
    """Nobody has to ask the future; but it does not hide what the block itself raises."""

    async def stumble(proxy):
        raise LookupError(proxy.port)

    def fail(error):
        with proxying(echo) as proxy:
            assert soon(proxy.start(stumble).done)
            if error:
                raise error

    with pytest.raises(LookupError):
        fail(None)
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)


async def test_async_tests_await_a_fault_in_a_thread(echo):
    """As the reference says; the rest of the test goes on meanwhile."""
    went_on = []
    with proxying(echo) as proxy:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, proxy.flap(1, down=0.2, up=0).result)
            await anyio.sleep(0.01)
            went_on.append(refuses(proxy.port))
        assert not refuses(proxy.port)
    assert went_on == [True]


def test_a_stopped_proxy_says_so(echo):
    """Whatever is asked of it."""
    with proxying(echo) as proxy:
        pass
    for call in (proxy.reset_all, lambda: proxy.use("4g"), lambda: proxy.flap(1, down=1)):
        with pytest.raises(
            RuntimeError, match="the proxy has been stopped: it runs until the end of its test"
        ):
            call()
