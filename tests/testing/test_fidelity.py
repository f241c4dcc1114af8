"""The scripted server fails as a real one does: the same client, once on a script and once on a socket."""

import socket
import struct
import threading

import anyio
import httpx
import pytest

from resilient_sse.testing import Script

pytestmark = pytest.mark.e2e

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"
TIMEOUT = httpx.Timeout(1, connect=5)  # a busy machine needs a part of it for the answer
WRITE_SCRIPT = {
    "end": lambda script: script.respond(b"hello").end(),
    "drop": lambda script: script.respond(b"hello").drop(),
    "cut": lambda script: script.respond(b"hello").cut(),
    "silence": lambda script: script.respond(b"hello").hang(),
    "close": lambda script: script.respond(b"hello").hang(),
    "no-headers": lambda script: script.stall_headers(),
    "refused": lambda script: script.refuse(),
}


def serve(behaviour, listener, over):
    """Play one behaviour on a real connection, by plain sockets: those of anyio say goodbye before a reset."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        if behaviour != "no-headers":
            connection.sendall(HEAD + CHUNK)
        if behaviour == "end":
            connection.sendall(b"0\r\n\r\n")
        elif behaviour == "drop":
            # Closing with a linger time of zero resets the connection.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif behaviour != "cut":
            over.wait(10)


@pytest.fixture
def real_url(behaviour):
    """Give the address of a real server, which answers one request."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if behaviour == "refused":
            listener.close()
            yield f"http://127.0.0.1:{port}/"
            return
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(behaviour, listener, over))
        thread.start()
        yield f"http://127.0.0.1:{port}/"
        over.set()
        thread.join()


async def close_later(response):
    """Close a response while another task waits for its next chunk."""
    await anyio.sleep(0.02)
    await response.aclose()


async def experience(client, url, behaviour):
    """Return all that a client notices: chunks, and the error with its text."""
    seen = []
    try:
        async with client.stream("GET", url) as response, anyio.create_task_group() as group:
            async for chunk in response.aiter_raw():
                seen.append(chunk)
                if behaviour == "close":
                    group.start_soon(close_later, response)
    except* httpx.ReadError as group:
        # Its text depends on the event loop.
        seen += [type(error) for error in group.exceptions]
    except* httpx.ConnectError as group:
        seen += [type(error) for error in group.exceptions]
    except* httpx.HTTPError as group:
        seen += [(type(error), str(error)) for error in group.exceptions]
    return seen


@pytest.mark.parametrize("behaviour", WRITE_SCRIPT)
async def test_a_client_cannot_tell_the_difference(behaviour, real_url):
    """Chunks, errors and their texts are those of httpx on a socket."""
    script = Script()
    WRITE_SCRIPT[behaviour](script)
    async with script.client(timeout=TIMEOUT) as client:
        scripted = await experience(client, "http://host/", behaviour)
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        real = await experience(client, real_url, behaviour)
    assert scripted == real
    script.closed_all()
