"""Faults of streams: 200, the right headers, and then something goes wrong."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import anyio

from resilient_sse.testing.server.checks import check_seconds, check_share, check_whole
from resilient_sse.testing.server.faults import Fault, Passing

if TYPE_CHECKING:
    from resilient_sse.testing.server.peer import Peer
    from resilient_sse.testing.server.reader import Block

__all__ = [
    "BadUtf8",
    "Bom",
    "Close",
    "Drop",
    "Duplicate",
    "GiantLine",
    "GzipGarbage",
    "HalfEvent",
    "Reorder",
    "Reset",
    "Silence",
    "Trickle",
    "TruncatedChunk",
]

_BOM = b"\xef\xbb\xbf"

# No valid UTF-8 in any reading: a lone Latin-1 letter, and two bytes that never occur.
_BAD_UTF8 = b"data: \xe9 \xff\xfe\n\n"

# Begins as gzip does, and goes on as nothing does.
_GARBAGE = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 64

_PART = 65536

# What was sent before a reset gets this long to be read: a reset may overtake it.
_ARRIVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Passing):
    """End the response cleanly after some events, as a server does that rotates its streams."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes."""
        del peer, user
        async for block in self.passed(blocks):
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfEvent(Passing):
    """Send half an event, and end the response cleanly."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes, and a half."""
        del peer, user
        async for block in self.passed(blocks):
            yield block
        yield None, await _half(blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncatedChunk(Passing):
    """Announce a chunk, send half an event of it, and close the connection."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes, and cut."""
        del user
        async for block in self.passed(blocks):
            yield block
        peer.cut(b"1000\r\n" + await _half(blocks))
        await anyio.sleep_forever()  # until the server notices that the connection is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Passing):
    """Send half an event, and reset the connection."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes and a half, and reset."""
        del user
        async for block in self.passed(blocks):
            yield block
        yield None, await _half(blocks)
        await anyio.sleep(_ARRIVAL_SECONDS)
        if not peer.reset():
            raise RuntimeError("this fault needs uvicorn: no other server lets its connections be found")
        await anyio.sleep_forever()  # until the server notices that the connection is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(Passing):
    """Send nothing any more, not even heartbeats, and keep the connection; by default from the start."""

    after: int = 0

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes, and go on reading, so that the end of the server ends this too."""
        del peer, user
        async for block in self.passed(blocks):
            yield block
        async for _ in blocks:
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class GiantLine(Passing):
    """
    Send one line that is longer than any reader should accept.

    Args:
        size: Its length, in bytes.

    Raises:
        TypeError: *size* is no whole number.
        ValueError: *size* is less than 1.
    """

    size: int = 17 * 1024 * 1024

    def __post_init__(self) -> None:
        # `super()` without arguments fails in a dataclass with slots: it is not the class that was written here.
        Passing.__post_init__(self)
        check_whole("size", self.size, least=1)

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what passes, and the line."""
        del peer, user
        async for block in self.passed(blocks):
            yield block
        yield None, b"data: "
        for start in range(0, self.size, _PART):
            yield None, b"x" * min(_PART, self.size - start)
        yield None, b"\n\n"
        async for block in blocks:
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class BadUtf8(Passing):
    """Send an event whose data is no UTF-8, and go on."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield everything, with the event in between."""
        del peer, user
        async for block in self.passed(blocks):
            yield block
        yield None, _BAD_UTF8
        async for block in blocks:
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class GzipGarbage(Fault):
    """Claim that the body is gzip, send what is not, and keep the connection."""

    content_encoding: ClassVar[str | None] = "gzip"

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield the garbage."""
        del peer, user
        yield None, _GARBAGE
        async for _ in blocks:
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bom(Fault):
    """Begin the stream with a byte order mark."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield everything, behind the mark."""
        del peer, user
        yield None, _BOM
        async for block in blocks:
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class Trickle(Fault):
    """
    Send one byte at a time.

    Args:
        every: Seconds between two bytes.

    Raises:
        TypeError: *every* is no number.
        ValueError: *every* is negative, or not finite.
    """

    every: float = 0.001

    def __post_init__(self) -> None:
        check_seconds("every", self.every, zero=True)

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield everything in bytes."""
        del peer, user
        async for number, data in blocks:
            for at in range(len(data) - 1):
                yield None, data[at : at + 1]
                await anyio.sleep(self.every)
            yield number, data[-1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """
    Send each event several times.

    Args:
        times: How often.

    Raises:
        TypeError: *times* is no whole number.
        ValueError: *times* is less than 1.
    """

    times: int = 2

    def __post_init__(self) -> None:
        check_whole("times", self.times, least=1)

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield everything, events several times."""
        del peer, user
        async for block in blocks:
            for _ in range(1 if block[0] is None else self.times):
                yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Passing):
    """Send two events in the wrong order, and go on."""

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield everything, one event after the one that follows it."""
        del peer, user
        async for block in self.passed(blocks):
            yield block
        held: Block | None = None
        struck = False
        async for block in blocks:
            if not struck and held is None and block[0] is not None:
                held = block
                continue
            yield block
            if held is not None and block[0] is not None:
                yield held
                held, struck = None, True


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Fault):
    """
    Leave events out; when they are due again, at a replay, they are sent.

    One such object remembers for all streams what was due before, so it can follow the script for good:
    `Faults(then=Drop(rate=0.1, seed=1))`.

    Args:
        rate: The share of events to leave out, between 0 and 1.
        seed: Decides which ones.

    Raises:
        TypeError: *rate* is no number, or *seed* no whole one.
        ValueError: *rate* is out of its range.
    """

    rate: float = 0.1
    seed: int = 0
    dropped: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]], compare=False, repr=False)
    """What was left out: user and id."""
    _due: dict[str, int] = field(default_factory=dict[str, int], init=False, compare=False, repr=False)
    _random: random.Random = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_share("rate", self.rate)
        check_whole("seed", self.seed)
        object.__setattr__(self, "_random", random.Random(self.seed))  # noqa: S311 - wanted to be the same again

    async def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Yield what is not left out."""
        del peer
        async for number, data in blocks:
            if number is not None and number > self._due.get(user, -1):
                self._due[user] = number
                if self._random.random() < self.rate:
                    self.dropped.append((user, number))
                    continue
            yield number, data


async def _half(blocks: AsyncIterator[Block]) -> bytes:
    """Return half of the next event; nothing if the stream ends before."""
    async for number, data in blocks:
        if number is not None:
            return data[: len(data) // 2]
    return b""
