"""An httpx client whose connections lie in a namespace."""

import socket
import threading
from contextlib import suppress

import anyio
import httpx
import pytest

from tests.netns.client import client_in
from tests.netns.network import SERVER, open_network
from tests.netns.stage import need_kernel

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
URL = f"http://{SERVER}:9000/"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run on both, in real time."""
    return request.param


@pytest.fixture
def network():
    """Give a network."""
    need_kernel()
    with open_network() as network:
        yield network


@pytest.fixture
def peer(network):
    """Run a server that answers once with a half, and with the rest when it is told to; then it closes."""
    listener = network.server.inside(lambda: socket.create_server((SERVER, 9000)))
    go_on = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(ANSWER[:-1])
            go_on.wait(10)
            connection.sendall(ANSWER[-1:])

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        yield go_on
        go_on.set()
        thread.join(10)


async def test_an_answer(network, peer):
    """What is asked from outside is asked from inside."""
    peer.set()
    async with client_in(network.client) as client:
        answer = await client.get(URL)
    assert answer.text == "hi"
    assert network.arrived("up") > 0


async def test_silence(network, peer):
    """Timeouts are those of httpx."""
    async with client_in(network.client) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(URL, timeout=0.2)


async def test_reset(network, peer):
    """A connection that is reset is a read that failed."""
    async with client_in(network.client) as client, client.stream("GET", URL) as answer:
        assert answer.status_code == 200
        network.server.abort_connections(SERVER)
        with pytest.raises(httpx.ReadError):
            await answer.aread()


async def test_refusal(network):
    """Where nobody listens, connecting fails."""
    async with client_in(network.client) as client:
        with pytest.raises(httpx.ConnectError, match="refused"):
            await client.get(URL)


async def test_no_way(network):
    """Without a link, too."""
    network.down()
    async with client_in(network.client) as client:
        with pytest.raises(httpx.ConnectError, match="unreachable"):
            await client.get(URL)


async def test_a_dead_way(network):
    """Over a link that is cut, connecting takes as long as it may."""
    network.cut()
    async with client_in(network.client) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(URL, timeout=0.2)


# httpx leaves the generator of a body that it could not send to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_full_way(network):
    """So does writing, when nobody takes anything."""
    listener = network.server.inside(lambda: socket.create_server((SERVER, 9000)))
    with listener:
        async with client_in(network.client) as client:
            with pytest.raises(httpx.WriteTimeout):
                await client.post(URL, content=b"x" * 20_000_000, timeout=httpx.Timeout(5, write=0.2))


async def test_cancellation(network):
    """A cancelled connect leaves nothing, and is no error of httpx's."""
    network.cut()
    async with client_in(network.client) as client:
        with anyio.move_on_after(0.1) as scope:
            await client.get(URL)
    assert scope.cancelled_caught


async def test_no_tls(network, peer):
    """It says that it has no TLS."""
    async with client_in(network.client) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match="no TLS in a namespace"):
            await client.get(URL.replace("http:", "https:"))
