"""A proxy in a thread, for tests of any kind: sync, asyncio, trio (P24, P25)."""

import socket
import threading
import time

import anyio
import pytest

from resilient_sse.testing.background import proxying
from resilient_sse.testing.proxy import Latency, Timeline

pytestmark = pytest.mark.e2e


@pytest.fixture
def echo():
    """Give the URL of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/stream?user_id=1"


def serve(listener):
    """Answer until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    """Echo until the other side closes."""
    with connection:
        try:
            while data := connection.recv(100):
                connection.sendall(data)
        except OSError:
            return


def ask(proxy, connection=None):
    """Send something through the proxy and return what comes back."""
    made = connection or socket.create_connection((proxy.host, proxy.port), timeout=5)
    made.settimeout(5)
    made.sendall(b"hello")
    reply = made.recv(100)
    if connection is None:
        made.close()
    return reply


def until(condition):
    """Wait until something is so; the test's own limit ends it otherwise."""
    while not condition():
        time.sleep(0.01)


def test_the_handle_leads_through_the_proxy(echo):
    """The URL differs from the server's in its host and port only, and what is sent arrives and is counted."""
    with proxying(echo) as proxy:
        assert proxy.url == f"http://{proxy.host}:{proxy.port}/stream?user_id=1"
        assert proxy.url_for("http://elsewhere:1/x") == f"http://{proxy.host}:{proxy.port}/x"
        assert proxy.url != echo
        assert ask(proxy) == b"hello"
        assert proxy.counters.accepted == 1
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)


def test_what_takes_no_time_is_done_at_once(echo):
    """Refusing, accepting, resetting, closing and toxics take effect before the call returns."""
    slow = Latency(delay=0.5)
    with proxying(echo, seed=1) as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
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
        times = []
        changes = (
            lambda: proxy.add(slow),
            lambda: proxy.remove(slow),
            lambda: proxy.add(slow),
            proxy.clear,
        )
        for change in changes:
            change()
            start = time.perf_counter()
            assert ask(proxy) == b"hello"
            times.append(time.perf_counter() - start)
        assert min(times[0], times[2]) >= 0.5
        assert max(times[1], times[3]) < min(times[0], times[2]) / 2
        assert proxy.profile.name == "clean"
        proxy.use("wifi")
        assert proxy.profile.name == "wifi"


def test_a_black_hole_opens_and_closes(echo):
    """What was held back arrives when it flows again."""
    with proxying(echo) as proxy, socket.create_connection((proxy.host, proxy.port)) as connection:
        proxy.black_hole()
        connection.sendall(b"hello")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.flow()
        connection.settimeout(5)
        assert connection.recv(100) == b"hello"


def test_what_takes_time_goes_on_in_the_background(echo):
    """Flaps, hand-offs and timelines return a future, and the test goes on."""
    with proxying(echo) as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as connection:
            assert ask(proxy, connection) == b"hello"
            flaps = proxy.flap(2, down=[0.05, 0.05], up=0.05)
            with pytest.raises(ConnectionResetError):
                until(lambda: not ask(proxy, connection))
        assert not flaps.done()
        assert flaps.result(5) is None
        assert ask(proxy) == b"hello"
        assert proxy.handoff("wifi", "clean", 0.05).result(5) is None
        assert ask(proxy) == b"hello"
        assert proxy.play(Timeline([(0.0, "refuse")])).result(5) is None
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)


def test_nothing_is_left_behind(echo):
    """A flap that would go on for an hour ends with the block, and so do the thread and the port."""
    threads = threading.active_count()
    start = time.perf_counter()
    with proxying(echo) as proxy:
        future = proxy.flap(1, down=3600, up=0)
        until(lambda: refused(proxy))
    until(future.done)
    until(lambda: threading.active_count() <= threads)
    assert refused(proxy)
    assert time.perf_counter() - start < 60


def refused(proxy):
    """Tell whether nobody listens."""
    try:
        socket.create_connection((proxy.host, proxy.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_it_serves_async_tests_as_well(echo):
    """The proxy has its own loop, so the test's may be any."""
    with proxying(echo, profile="wifi") as proxy:
        async with await anyio.connect_tcp(proxy.host, proxy.port) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"


@pytest.mark.parametrize("url", ["https://host/stream", "/stream"])
def test_a_url_without_a_port(url):
    """A proxy has to know where to connect to."""
    with pytest.raises(ValueError, match="url must name a host and a port, not "), proxying(url):
        pass


def test_a_wrong_option_is_told(echo):
    """What `FaultProxy` complains about reaches the caller, and no thread stays."""
    threads = threading.active_count()
    with pytest.raises(ValueError, match="slow-3g"), proxying(echo, profile="carrier-pigeon"):
        pass
    until(lambda: threading.active_count() <= threads)
