"""
What a server may do wrong, each once on demand: `Faults(Reset(after=3), Status(503))`.

A fault that cannot be played raises `TypeError` or `ValueError` when it is made, with the name of the argument.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from resilient_sse.testing.checks import Checked, check, check_text, check_whole, shown
from resilient_sse.testing.server.streams import Block, Peer

LOOP_PATH = "/api/v1/loop"
"""A route that leads to itself."""

# What uvicorn can answer with, and no answer but these is a final one.
_STATUSES = range(200, 600)

_BOM = b"\xef\xbb\xbf"

# No valid UTF-8 in any reading: a lone Latin-1 letter, and two bytes that never occur.
_BAD_UTF8 = b"data: \xe9 \xff\xfe\n\n"

# Begins as gzip does, and goes on as nothing does.
_GARBAGE = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 64

_PART = b"x" * 65_536

# What was sent before a reset gets this long to be read: a reset may overtake it.
_ARRIVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    Something a server does wrong with one request.

    A fault of one's own overrides `answer`, to answer with something else than a stream, or `shape`, to send
    something else than what there is to send.
    """

    content_encoding: ClassVar[str | None] = None
    """What the answer claims to be encoded as; the body is then left to `shape`."""

    def answer(self, request: Request) -> Response | None:
        """Return the answer, or `None` to answer with a stream."""
        return None

    def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncIterator[Block]:
        """Return what is sent instead of *blocks*."""
        return blocks


class Faults:
    """
    A script of faults: one for each request for a stream, in order; `None` stands for a request that is served.

    *then* follows the last one: `None` (the default) serves all further requests, a fault strikes each.
    `TypeError` if something is no fault.
    """

    def __init__(self, *faults: Fault | None, then: Fault | None = None) -> None:
        _check_faults("a fault", faults)
        _check_faults("then", [then])
        self._script: deque[Fault | None] = deque(faults)
        self.then = then

    def add(self, *faults: Fault | None) -> None:
        """Add to the end of the script; from any thread."""
        _check_faults("a fault", faults)
        self._script.extend(faults)

    def next(self) -> Fault | None:
        """Take the fault for the next request."""
        return self._script.popleft() if self._script else self.then


# --- Answers that are no stream


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Answer with a *status* and no stream; `Retry-After` is *retry_after*: seconds, or an HTTP date."""

    status: int
    retry_after: int | str | None = None
    body: str = "a fault was asked for\n"

    def __post_init__(self) -> None:
        check("status", self.status, int, "a whole number from 200 to 599", lambda given: given in _STATUSES)
        if isinstance(self.retry_after, str):
            _check_header("retry_after", self.retry_after)
        elif self.retry_after is not None:
            check_whole("retry_after", self.retry_after)
        check_text("body", self.body)

    def answer(self, request: Request) -> Response | None:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status in (204, 304):
            return Response(None, self.status, headers)
        return Response(self.body, self.status, headers, "text/plain")


@dataclass(frozen=True, slots=True)
class WrongType(Fault):
    """Answer 200 with a *body* of a *content_type* that is no event stream, as a login page does."""

    content_type: str = "text/html"
    body: str = "<!doctype html><title>Please log in</title>"

    def __post_init__(self) -> None:
        _check_header("content_type", self.content_type)
        check_text("body", self.body)

    def answer(self, request: Request) -> Response | None:
        return Response(self.body, media_type=self.content_type)


@dataclass(frozen=True, slots=True)
class RedirectLoop(Fault):
    """Redirect to a place that redirects to itself."""

    def answer(self, request: Request) -> Response | None:
        return RedirectResponse(LOOP_PATH)


# --- Streams: 200, the right headers, and then something goes wrong


async def _half(blocks: AsyncIterator[Block]) -> AsyncGenerator[Block]:
    """Yield the half of the next event, and no more."""
    async for number, data in blocks:
        if number is not None:
            yield None, data[: len(data) // 2]
            return


async def _send(
    *parts: bytes, then: AsyncIterator[Block] | None = None, silent: bool = False
) -> AsyncGenerator[Block]:
    """Yield *parts*, then blocks; *silent* ones are only read, so that the end of the server ends this."""
    for data in parts:
        yield None, data
    if then is not None:
        async for block in then:
            if not silent:
                yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class Striking(Checked, Fault):
    """A fault that strikes once *after* events have passed."""

    after: int = 1

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        left = self.after
        while left:
            try:
                block = await anext(blocks)
            except StopAsyncIteration:
                return
            yield block
            left -= block[0] is not None
        async for block in self.strike(blocks, peer):
            yield block

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        """Return what is sent then, instead of *blocks*."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfEvent(Striking):
    """Send half an event, and end the response cleanly."""

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        return _half(blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Striking):
    """End the response cleanly after some events, as a server does that rotates its streams."""

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        return _send()


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncatedChunk(Striking):
    """Announce a chunk, send half an event of it, and close the connection."""

    async def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncGenerator[Block]:
        half = b"".join([half async for _, half in _half(blocks)])
        peer.cut(b"%x\r\n" % (2 * len(half) + 1) + half)
        await anyio.sleep_forever()  # until the server notices that the connection is gone
        yield None, b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Striking):
    """Send half an event, and reset the connection."""

    async def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncGenerator[Block]:
        async for block in _half(blocks):
            yield block
        await anyio.sleep(_ARRIVAL_SECONDS)
        if not peer.reset():
            raise RuntimeError("this fault needs uvicorn: no other server lets its connections be found")
        await anyio.sleep_forever()  # until the server notices that the connection is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(Striking):
    """Send nothing any more, not even heartbeats, and keep the connection; by default from the start."""

    after: int = 0

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        return _send(then=blocks, silent=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GiantLine(Striking):
    """Send one line of *size* bytes, longer than any reader should accept, and go on."""

    size: int = 17 * 1024 * 1024

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        parts, rest = divmod(self.size, len(_PART))
        return _send(b"data: ", *[_PART] * parts, _PART[:rest], b"\n\n", then=blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadUtf8(Striking):
    """Send an event whose data is no UTF-8, and go on."""

    def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncIterator[Block]:
        return _send(_BAD_UTF8, then=blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Striking):
    """Send two events in the wrong order, and go on."""

    async def strike(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncGenerator[Block]:
        held: Block | None = None
        async for block in blocks:
            if block[0] is not None and held is None:
                held = block
                continue
            yield block
            if block[0] is not None and held is not None:
                yield held
                break
        async for block in blocks:
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class GzipGarbage(Fault):
    """Claim that the body is gzip, send what is not, and keep the connection."""

    content_encoding: ClassVar[str | None] = "gzip"

    def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncIterator[Block]:
        return _send(_GARBAGE, then=blocks, silent=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bom(Fault):
    """Begin the stream with a byte order mark."""

    def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncIterator[Block]:
        return _send(_BOM, then=blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trickle(Checked, Fault):
    """Send one byte at a time, *every* so many seconds."""

    every: float = 0.001

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        async for number, data in blocks:
            for at in range(len(data) - 1):
                yield None, data[at : at + 1]
                await anyio.sleep(self.every)
            yield number, data[-1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """Send each event so many *times*."""

    times: int = 2

    def __post_init__(self) -> None:
        check_whole("times", self.times, least=1)

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        async for block in blocks:
            for _ in range(1 if block[0] is None else self.times):
                yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Checked, Fault):
    """
    Leave a share of the events out, *rate*, until they are due again, at a replay; *seed* decides which.

    One such object remembers for all streams what was due before, so it can follow the script for good:
    `Faults(then=Drop(rate=0.1, seed=1))`.
    """

    rate: float = 0.1
    seed: int = 0
    dropped: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]], compare=False, repr=False)
    """What was left out: user and id."""
    _due: dict[str, int] = field(default_factory=dict[str, int], init=False, compare=False, repr=False)
    _random: random.Random = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        check("seed", self.seed, int, "a whole number")
        object.__setattr__(self, "_random", random.Random(self.seed))  # noqa: S311 - wanted to be the same again

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        async for number, data in blocks:
            if number is not None and number > self._due.get(user, -1):
                self._due[user] = number
                if self._random.random() < self.rate:
                    self.dropped.append((user, number))
                    continue
            yield number, data


def _check_faults(name: str, faults: Iterable[object]) -> None:
    for fault in faults:
        if fault is None or isinstance(fault, Fault):
            continue
        given, hint = shown(fault), ""
        if isinstance(fault, type) and issubclass(fault, Fault):
            hint = f"; put parentheses behind it: {fault.__name__}(...)"
        elif isinstance(fault, list | tuple):
            hint = "; give faults one by one: Faults(*faults)"
        raise TypeError(f"{name} must be one such as Status(503), or None, not {given}{hint}")


def _check_header(name: str, value: str) -> None:
    check(name, value, str, "printable ASCII", lambda text: text.isprintable() and text.isascii())
