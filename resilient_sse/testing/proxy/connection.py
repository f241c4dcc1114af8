"""
One connection through the proxy, the port that it came in by, and the sockets under both.

anyio is used to wait only: its own streams send FIN before they close, and so cannot reset a connection.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections import deque
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import anyio

from resilient_sse.testing.checks import check_port
from resilient_sse.testing.proxy.link import Link
from resilient_sse.testing.proxy.toxics import LimitBytes, Refuse, Reset, TLSFailure

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from resilient_sse.testing.proxy.link import Way
    from resilient_sse.testing.proxy.proxy import FaultProxy, ProxyCounters


# SO_LINGER, on and with zero seconds.
_LINGER = struct.pack("ii", 1, 0)


def reset_at_close(sock: socket.socket | TransportSocket) -> None:
    """Have the close of *sock* send RST instead of FIN; the kernel then frees at once what it still held."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


_READ_BYTES = 65_536
_SYSTEM_BUFFER_BYTES = 65_536
"""The system doubles it.  Left alone, it takes megabytes from a server before that notices a slow client, and
keeps them from the client when the connection is reset."""
BACKLOG = 4096
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})
_PORTAL = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nplain HTTP is spoken here\n"
_FIRST_WORD_SECONDS = 1.0


Address: TypeAlias = tuple[socket.AddressFamily, tuple[str | int, ...]]
"""Where to connect to, as the socket module has it."""


async def resolve(host: str, port: int) -> list[Address]:
    """Look a host up; `OSError` if nobody knows it."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        raise OSError(code, f"the host {host!r} is unknown; give an address, such as 127.0.0.1") from error
    return [(family, where) for family, _, _, _, where in found]


class Port:
    """
    A port that can be closed, so that the system refuses connections to it, and opened again; open at first.

    While it is closed it must not become somebody else's.  On Linux a second socket, bound but never listening,
    keeps it; elsewhere nothing can, and it may be lost.  `OSError` says what is wrong with *host* or *port*.
    """

    def __init__(self, host: str, port: int) -> None:
        check_port("port", port, least=0)
        self.number: int = port
        """The number; 0 becomes that of a free port."""
        self._host = host
        self._keeper: socket.socket | None = None
        self._listener: socket.socket | None = None
        try:
            if sys.platform == "linux":
                self._keeper = self._bind()
            self.open()
        except (OSError, UnicodeError) as error:
            self.release()
            code, why = (error.errno, error.strerror) if isinstance(error, OSError) else (None, error)
            text = f"cannot listen on {host}: {why}; give an address of this machine, such as 127.0.0.1"
            if code in _TAKEN and port:
                text = f"port {port} of {host} cannot be used ({why}); choose another, or 0 for a free one"
            raise OSError(code, text) from error

    @property
    def is_shut(self) -> bool:
        """Whether connections are refused."""
        return self._listener is None

    def open(self) -> socket.socket:
        """Accept connections from now on; harmless when open.  Only Linux keeps the port for certain."""
        if self._listener is None:
            listener = self._bind()
            try:
                listener.listen(BACKLOG)
            except OSError:
                listener.close()
                raise
            self._listener = listener
        return self._listener

    def shut(self) -> None:
        """Refuse connections from now on, with those that nobody has accepted yet; harmless when shut."""
        if self._listener is not None:
            _close(self._listener)
            self._listener = None

    def release(self) -> None:
        """Give the port back; harmless when done before."""
        self.shut()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _bind(self) -> socket.socket:
        # With the protocol named, asyncio turns Nagle's algorithm off for what is accepted here; with it on, every
        # second small event waits 40 ms for a delayed acknowledgement.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            if os.name == "posix":  # on Windows it would let anybody share the port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, self.number))
            self.number = sock.getsockname()[1]
        except BaseException:
            sock.close()
            raise
        return sock


class ProxiedConnection:
    """One connection, from the acceptance of *client* to its end; *seed* decides about what is random in it."""

    def __init__(self, client: socket.socket, target: list[Address], seed: str, proxy: FaultProxy) -> None:
        self.seed = seed
        self.proxy = proxy
        self.counters: ProxyCounters = proxy.counters
        self._client = client
        self._target = target
        self._upstream: socket.socket | None = None
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Relay until the connection ends; then both sockets are closed."""
        self.counters.live += 1
        try:
            with self._scope:
                _prepare(self._client)
                await self._serve()
        except* (OSError, anyio.ClosedResourceError):
            self.close(reset=True)
        finally:
            self.counters.live -= 1
            self.close(reset=False)

    def cut(self, *, reset: bool) -> None:
        """End the connection on purpose, with RST or with FIN; harmless when it has ended."""
        if reset and self._client.fileno() >= 0:
            self.counters.resets += 1
        self.close(reset=reset)

    def close(self, *, reset: bool) -> None:
        """Close both sockets; when one side has gone, the other learns it by a reset."""
        _close(self._client, reset=reset)
        if self._upstream is not None:
            _close(self._upstream, reset=reset)
        self._scope.cancel()

    async def _serve(self) -> None:
        if self.proxy.strike(Refuse) is not None:
            await self._turn_away()
        elif self.proxy.strike(TLSFailure) is not None:
            await _receive(self._client)
            await _send(self._client, _PORTAL)
            _end_sending(self._client)
            while await _receive(self._client):  # closing on unread bytes would reset the connection
                pass
        else:
            await self.proxy.passable("up")
            self._upstream = await _connect(self._target)
            if self._upstream is None:
                await self._turn_away()
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_Direction(self, "up", self._client, self._upstream).run)
                tasks.start_soon(_Direction(self, "down", self._upstream, self._client).run)

    async def _turn_away(self) -> None:
        """Reset at the first word: a client whose word is cut off may take the reset for an end in good form."""
        self.counters.refused += 1
        with anyio.move_on_after(_FIRST_WORD_SECONDS):
            await _receive(self._client)
        self.close(reset=True)


class _Direction:
    """
    One direction of a connection: reads, waits as the link says, and passes on.

    What is under way is bounded: a sender whose bytes do not get away is no longer read from.
    """

    def __init__(
        self, owner: ProxiedConnection, way: Way, source: socket.socket, sink: socket.socket
    ) -> None:
        self._counters = owner.counters
        self._proxy = owner.proxy
        self._cut = owner.cut
        self._way: Way = way
        self._source = source
        self._sink = sink
        # The same for the same seed, connection and direction.
        chance = Random(f"{owner.seed}:{way}")  # noqa: S311 - repeatable, not secret
        self._link = Link(self._proxy.profile, chance.random)
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._under_way = 0
        self._delivered = 0
        self._ended = False

    async def run(self) -> None:
        """Pass on until the source ends; what is raised says that a side is lost."""
        queue = self._queue
        while queue or not self._ended:
            if not queue:
                await self._read()
                continue
            due, data = queue[0]
            if due <= anyio.current_time():
                queue.popleft()
                await self._deliver(data)
                self._under_way -= len(data)
            elif self._ended or self._under_way >= max(self._proxy.shapes[self._way].queue_bytes, 1):
                await anyio.sleep_until(due)
            else:
                with anyio.CancelScope(deadline=due):
                    await self._read()
        await anyio.sleep(self._proxy.closing_delay(self._way))
        await self._proxy.passable(self._way)
        _end_sending(self._sink)

    async def _read(self) -> None:
        data = await _receive(self._source)
        self._ended = not data
        if data and not self._queue and self._proxy.shapes[self._way].is_clear:
            await self._deliver(memoryview(data))
        else:  # the end travels as well: behind everything else, and as late as that
            self._schedule(data)

    def _schedule(self, data: bytes) -> None:
        self._link.shape = self._proxy.shapes[self._way]
        lost = self._link.dropped
        arrivals = self._link.schedule(len(data) or 1, anyio.current_time())
        self._counters.dropped += self._link.dropped - lost
        rest = memoryview(data)
        for at, size in arrivals:
            self._queue.append((at, rest[:size]))
            rest = rest[size:]
        self._under_way += len(data)

    async def _deliver(self, data: memoryview) -> None:
        await self._proxy.passable(self._way)
        struck: Reset | LimitBytes | None = None
        if self._way == "down":
            reach = self._delivered + len(data)
            struck = self._proxy.strike(Reset, at=reach) or self._proxy.strike(LimitBytes, at=reach)
        if struck is not None:
            data = data[: max(0, struck.after - self._delivered)]
        if data:
            await _send(self._sink, data)
        self._delivered += len(data)
        if self._way == "down":
            self._counters.bytes_down += len(data)
        else:
            self._counters.bytes_up += len(data)
        if struck is not None:
            self._cut(reset=isinstance(struck, Reset))


async def _connect(addresses: list[Address]) -> socket.socket | None:
    """Connect to the first address that answers; `None` if none does."""
    for family, where in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            _prepare(sock)
            with suppress(BlockingIOError):
                sock.connect(where)
            await anyio.wait_writable(sock)
            sock.getpeername()  # raises unless connected
        except BaseException as error:
            _close(sock)
            if not isinstance(error, OSError):
                raise
        else:
            return sock
    return None


def _prepare(sock: socket.socket) -> None:
    """Let small pieces leave at once, hold little, and never block."""
    sock.setblocking(False)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, buffer, _SYSTEM_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _receive(sock: socket.socket) -> bytes:
    """Return what has come, or nothing at the end; `ClosedResourceError` if it was closed on our side."""
    while True:
        if sock.fileno() < 0:
            raise anyio.ClosedResourceError
        await anyio.wait_readable(sock)
        with suppress(BlockingIOError):
            return sock.recv(_READ_BYTES)


async def _send(sock: socket.socket, data: bytes | memoryview) -> None:
    """Send all of *data*; errors as in `_receive`."""
    while True:
        if sock.fileno() < 0:
            raise anyio.ClosedResourceError
        with suppress(BlockingIOError):
            sent = sock.send(data)
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        await anyio.wait_writable(sock)


def _end_sending(sock: socket.socket) -> None:
    """Close the direction away from us; the other stays open."""
    with suppress(OSError):  # the other side may have gone
        sock.shutdown(socket.SHUT_WR)


def _close(sock: socket.socket, *, reset: bool = False) -> None:
    """Close a socket at once, with RST or with FIN, whoever waits for it; harmless when closed."""
    if sock.fileno() < 0:
        return
    anyio.notify_closing(sock)
    if reset:
        with suppress(OSError):
            reset_at_close(sock)
    sock.close()
