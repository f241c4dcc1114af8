"""A network in memory: connections whose bytes arrive when a `Link` says so, in the loop's own time."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio
import httpx

from resilient_sse.testing.connection import CUT_SHORT, Connection
from resilient_sse.testing.proxy.link import Link, shape
from resilient_sse.testing.proxy.profiles import Profile
from resilient_sse.testing.steps import Reply
from resilient_sse.testing.wire import event as wire_event

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

__all__ = ["Line", "LiveReply", "Network", "Stored"]

_REQUEST_BYTES = 320
_HEADER_BYTES = 290
_CHUNK_BYTES = 6
"""What the headers and the framing of a chunk take on a real wire, as measured on the reference server."""


@dataclass(frozen=True, slots=True)
class Stored:
    """
    An event as the server keeps it.

    Attributes:
        id: Its number; `None` for a heartbeat.
        data: Its text.
        event: Its type, if it has one.
    """

    id: int | None
    data: str
    event: str | None = None

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        return wire_event(self.data, id=None if self.id is None else str(self.id), event=self.event)


class Network:
    """
    What lies between the server and its clients.

    Args:
        profile: What it is like at the start.
        random: Draws from [0, 1).
    """

    def __init__(self, profile: Profile, random: Callable[[], float]) -> None:
        self.profile: Profile = profile
        self.refusing = False
        self.dark: bool = False
        self._lines: dict[str, list[Line]] = {}
        self._drops = 0
        self._random = random

    def link(self, *, down: bool) -> Link:
        """Make one direction of a new connection."""
        return Link(self.profile, self._random, direction="down" if down else "up")

    def use(self, profile: Profile) -> None:
        """Become another network; what is under way keeps its time."""
        self.profile = profile
        for line in self.lines():
            line.down.shape = shape(profile)

    def set_dark(self, *, dark: bool) -> None:
        """Let nothing pass, or everything that was held back."""
        self.dark = dark
        for line in self.lines():
            line.wake()

    def break_all(self, *, reset: bool) -> int:
        """End every connection and return how many there were."""
        broken = [line for line in self.lines() if line.open]
        for line in broken:
            line.fail(httpx.ReadError("") if reset else httpx.RemoteProtocolError(CUT_SHORT))
        return len(broken)

    def lines(self, stream: str | None = None) -> list[Line]:
        """Return the connections of one stream, or all."""
        if stream is not None:
            return self._lines.get(stream, [])
        return [line for lines in self._lines.values() for line in lines]

    def join(self, line: Line) -> int:
        """Take a new connection, and return how many of its stream are open now."""
        lines = self._lines.get(line.stream, [])
        self._drops += sum(gone.down.dropped for gone in lines if not gone.open)
        self._lines[line.stream] = [*(one for one in lines if one.open), line]
        return len(self._lines[line.stream])

    @property
    def dropped(self) -> int:
        """How many segments were lost once."""
        return self._drops + sum(line.down.dropped for line in self.lines())


class Line:
    """
    One connection as the network sees it.

    Args:
        network: Where it leads through.
        stream: Whose it is.
    """

    def __init__(self, network: Network, stream: str) -> None:
        self.stream = stream
        self.down: Link = network.link(down=True)
        self.remaining: int | None = None
        """How many further events it brings, if there is a limit."""
        self.withheld: frozenset[int] = frozenset()
        """Events it does not bring."""
        self._network = network
        self._connection: Connection | None = None
        self._failure: Exception | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._changed = anyio.Event()

    @property
    def open(self) -> bool:
        """Whether neither side has given it up."""
        return self._failure is None and (self._connection is None or not self._connection.closed)

    def attach(self, connection: Connection) -> None:
        """Learn when the client lets go."""
        self._connection = connection

    def send(self, event: Stored) -> None:
        """Put an event on the way."""
        block = event.encode()
        arrival = self.down.schedule(len(block) + _CHUNK_BYTES, anyio.current_time())[-1][0]
        self._queue.append((arrival, block))
        self.wake()
        if self.remaining is not None and event.id is not None:
            self.remaining -= 1

    def fail(self, error: Exception) -> None:
        """Break: what is under way is lost, and the client's read raises *error*."""
        self._failure = error
        self._queue.clear()
        self.wake()

    def wake(self) -> None:
        """Have a waiting read look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def headers(self) -> None:
        """
        Wait until the response headers have arrived.

        Raises:
            httpx.ReadError: The connection broke first.
        """
        asked = self._network.link(down=False).schedule(_REQUEST_BYTES, anyio.current_time())[-1][0]
        await self._pass(self.down.schedule(_HEADER_BYTES, asked)[-1][0])

    async def read(self) -> bytes:
        """
        Wait for the next event.

        Raises:
            httpx.ReadError: The connection was reset.
            httpx.RemoteProtocolError: It was closed.
        """
        while not self._queue:
            self._check()
            await self._changed.wait()
        await self._pass(self._queue[0][0])
        return self._queue.popleft()[1]

    async def _pass(self, arrival: float) -> None:
        """Wait until what arrives at *arrival* is there: not while the network is dark."""
        while self._network.dark or anyio.current_time() < arrival:
            changed = self._changed
            left = None if self._network.dark else arrival - anyio.current_time()
            with anyio.move_on_after(left):
                await changed.wait()
            self._check()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


class LiveReply(Reply):
    """
    An event stream that goes on for as long as its connection does.

    Args:
        line: What it comes over.
    """

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    @override
    async def play(self, connection: Connection) -> httpx.Response:
        """
        Send the headers and return the response whose body is still to come.

        Raises:
            httpx.ReadError: The connection broke before.
        """
        self._line.attach(connection)
        await self._line.headers()
        return httpx.Response(self.status, headers=self.headers, stream=_Body(self._line, connection))


class _Body(httpx.AsyncByteStream):
    """The body of a live reply."""

    def __init__(self, line: Line, connection: Connection) -> None:
        self._line = line
        self._connection = connection

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self._line.read()
        except BaseException:
            self._connection.close()
            raise

    @override
    async def aclose(self) -> None:
        self._connection.close()
