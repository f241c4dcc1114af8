"""The process with the networks: a proxy for each profile, and resets on order."""

import socket
import threading
from contextlib import contextmanager

import anyio
import pytest

from resilient_sse.testing.children import child

pytestmark = pytest.mark.e2e


@contextmanager
def talking():
    """Serve bytes without end to whoever connects, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def talk(peer):
            with peer:
                while not stop.wait(0.02):
                    try:
                        peer.sendall(b"x" * 100)
                    except OSError:
                        return

        def accept():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)


def network(port, profiles):
    """Give the arguments that start one."""
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--profiles", profiles, "--seed", "1"]
    return ["-m", "resilient_sse.testing.load.network", *arguments]


async def read_until_reset(port, resets):
    """Connect, say so, read until the connection is reset, and note that."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        try:
            while True:
                await stream.receive()
        except anyio.BrokenResourceError:
            resets.append(port)
        except anyio.EndOfStream:
            resets.append(0)


async def noted(resets, count):
    """Wait until so many resets are noted."""
    with anyio.fail_after(10):
        while len(resets) < count:  # noqa: ASYNC110 - it is only a list
            await anyio.sleep(0.02)


async def test_one_reset_for_each_order():
    """Each order resets one connection, and one of the network that it names."""
    with talking() as port:
        async with child("network", network(port, "clean,wifi")) as running:
            ports = running.hello["ports"]
            assert list(ports) == ["clean", "wifi"]
            resets = []
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(read_until_reset, ports["clean"], resets)
                    tasks.start_soon(read_until_reset, ports["wifi"], resets)
                await anyio.sleep(0.5)
                for count in (1, 2):
                    await running.send({"reset": "wifi"})
                    await noted(resets, count)
                await anyio.sleep(0.3)
                assert resets == [ports["wifi"]] * 2
                await running.send({"reset": "clean"})
                await noted(resets, 3)
                assert resets[2] == ports["clean"]
                tasks.cancel_scope.cancel()
        assert running.last == {"resets": 3}
