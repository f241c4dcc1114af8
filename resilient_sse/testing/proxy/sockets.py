"""
Sockets as the proxy needs them: reset on purpose, half closed, never blocking, with anyio only to wait.

anyio's own streams send FIN before they close, and so cannot reset a connection.
"""

from __future__ import annotations

import contextlib
import socket

import anyio

from resilient_sse.testing.resets import reset_at_close

__all__ = ["Address", "close", "connect", "end_sending", "prepare", "receive", "resolve", "send"]

_READ_BYTES = 65_536
_SYSTEM_BUFFER_BYTES = 65_536
"""The system doubles it.  Left alone, it takes megabytes from a server before that notices a slow client, and
keeps them from the client when the connection is reset."""


class Address:
    """
    Where to connect or to listen.

    Args:
        family: IPv4 or IPv6.
        where: As the socket module has it.
    """

    __slots__ = ("family", "where")

    def __init__(self, family: socket.AddressFamily, where: tuple[str | int, ...]) -> None:
        self.family: socket.AddressFamily = family
        self.where: tuple[str | int, ...] = where


async def resolve(host: str, port: int) -> list[Address]:
    """
    Look a host up.

    Raises:
        OSError: Nobody knows it.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        raise OSError(code, f"the host {host!r} is unknown; give an address, such as 127.0.0.1") from error
    return [Address(family, where) for family, _, _, _, where in found]


async def connect(addresses: list[Address]) -> socket.socket:
    """
    Connect to the first address that answers.

    Raises:
        OSError: None does.
    """
    failure: OSError | None = None
    for address in addresses:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            prepare(sock)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address.where)
            await anyio.wait_writable(sock)
            sock.getpeername()  # raises unless connected
        except OSError as error:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            failure = OSError(code, "the target cannot be reached") if code else error
            close(sock)
        except BaseException:
            close(sock)
            raise
        else:
            return sock
    raise failure or OSError("the target has no address")


def prepare(sock: socket.socket) -> None:
    """Let small pieces leave at once, hold little, and never block."""
    sock.setblocking(False)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, buffer, _SYSTEM_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def receive(sock: socket.socket) -> bytes:
    """
    Return what has come, or nothing at the end.

    Raises:
        OSError: The connection is lost.
        anyio.ClosedResourceError: The socket was closed on our side.
    """
    while True:
        if sock.fileno() < 0:
            raise anyio.ClosedResourceError
        await anyio.wait_readable(sock)
        with contextlib.suppress(BlockingIOError):
            return sock.recv(_READ_BYTES)


async def send(sock: socket.socket, data: bytes | memoryview) -> None:
    """
    Send all of *data*.

    Raises:
        OSError: The connection is lost.
        anyio.ClosedResourceError: The socket was closed on our side.
    """
    while True:
        if sock.fileno() < 0:
            raise anyio.ClosedResourceError
        with contextlib.suppress(BlockingIOError):
            sent = sock.send(data)
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        await anyio.wait_writable(sock)


def end_sending(sock: socket.socket) -> None:
    """Close the direction away from us; the other stays open."""
    with contextlib.suppress(OSError):  # the other side may have gone
        sock.shutdown(socket.SHUT_WR)


def close(sock: socket.socket, *, reset: bool = False) -> None:
    """
    Close a socket at once, whoever waits for it; harmless when closed.

    Args:
        sock: The socket.
        reset: Send RST instead of FIN.
    """
    if sock.fileno() < 0:
        return
    anyio.notify_closing(sock)
    if reset:
        with contextlib.suppress(OSError):
            reset_at_close(sock)
    sock.close()
