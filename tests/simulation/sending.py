"""How an answer's body goes over the wire, and when the client has really read which part of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from resilient_sse.testing.steps import Connection, Reply
from resilient_sse.testing.wire import Pause
from tests.simulation.plan import Answer
from tests.simulation.truth import Published, Sent, Truth

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import httpx

__all__ = ["Mark", "Piece", "Told", "cut"]


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A block of a body, or a line of one, and what the client has when it has read it.

    Attributes:
        data: The bytes.
        event: The event that it is.
        hinted: Whether the block of that event has a `retry` field, in the line before.
        heartbeat: Whether it is a heartbeat without a number of its own.
        comment: Whether it is a comment.
        retry: The milliseconds of its `retry` field.
    """

    data: bytes
    event: Published | None = None
    hinted: bool = False
    heartbeat: bool = False
    comment: bool = False
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """So many bytes must be read for *piece* to have arrived; `None` marks the end of a body that was cut."""

    at: int
    piece: Piece | None


class Told(Reply):
    """
    A reply that writes down what the client has read of it.

    Args:
        *parts: Chunks and pauses.
        sent: Where to write it.
        marks: What has arrived when, in order.
        truth: Is told of the events, too.
        **options: Those of a reply.
    """

    def __init__(
        self,
        *parts: bytes | Pause,
        sent: Sent,
        marks: Sequence[Mark],
        truth: Truth,
        **options: Any,
    ) -> None:
        super().__init__(*parts, **options)
        self._sent = sent
        self._truth = truth
        self._marks = iter(marks)
        self._next = next(self._marks, None)
        self._sizes = (len(part) for part in parts if isinstance(part, bytes) and part)
        self._read = 0

    @override
    async def play(self, connection: Connection) -> httpx.Response:
        return await super().play(_Watched(connection, self._arrived))

    def _arrived(self) -> None:
        """Take note of the headers, the first time, and of a chunk, every other time."""
        if not self._sent.opened:
            self._sent.opened = True
            return
        self._read += next(self._sizes, 0)
        while self._next is not None and self._next.at <= self._read:
            self._note(self._next.piece)
            self._next = next(self._marks, None)

    def _note(self, piece: Piece | None) -> None:
        if piece is None:
            return
        self._sent.brought = True
        self._sent.heartbeats += piece.heartbeat
        if piece.retry is not None:
            self._sent.retries.append(piece.retry)
        if piece.event is not None:
            self._sent.events.append(piece.event)
            if piece.hinted:
                self._sent.hinted.append(piece.event)
            self._truth.heard(piece.event)


class _Watched(Connection):
    """A connection that tells when a wait for bytes has brought them."""

    def __init__(self, connection: Connection, arrived: Callable[[], None]) -> None:
        super().__init__(connection.name, {}, lambda _: None)
        self._connection = connection
        self._arrived = arrived

    @property
    @override
    def closed(self) -> bool:
        return self._connection.closed

    @closed.setter
    def closed(self, _: bool) -> None:
        """It is the connection's own to say."""

    @override
    def close(self) -> None:
        self._connection.close()

    @override
    async def wait_until(self, moment: float) -> None:
        await self._connection.wait_until(moment)
        self._arrived()


def cut(
    pieces: Sequence[Piece | Pause], answer: Answer, *, seed: int
) -> tuple[list[bytes | Pause], list[Mark]]:
    """
    Cut a body off where its connection ends, and into reads.

    Returns:
        The chunks and pauses, and what of it has arrived when.
    """
    end = b"\r\n" if answer.crlf else b"\n"
    blocks = [
        replace(each, data=each.data.replace(b"\n", end)) if isinstance(each, Piece) else each
        for each in pieces
    ]
    keep = round(answer.keep * sum(len(each.data) for each in blocks if isinstance(each, Piece)))
    parts: list[bytes | Pause] = []
    marks: list[Mark] = []
    at = 0
    for each in blocks:
        if isinstance(each, Pause):
            parts.append(each)
            continue
        # The CR of a last CRLF already ends the line, and with it the block; `retry` and comments count without a
        # blank line.
        ends = each.data.count(end) if each.comment or each.retry is not None else 1
        whole = at + len(each.data) - ends * len(end) + 1
        parts.append(each.data[: keep - at])
        at = min(at + len(each.data), keep)
        marks.append(Mark(min(whole, keep), each if whole <= keep else None))
        if at >= keep:
            break
    if answer.chunk is not None:
        parts = list(_reads(parts, answer.chunk, Random(seed)))
    return parts, marks


def _reads(parts: list[bytes | Pause], size: int, random: Random) -> Iterator[bytes | Pause]:
    """Join and cut at random places: reads of *size* bytes on average that heed no block's borders."""
    pending = b""
    for part in parts:
        if isinstance(part, Pause):
            if pending:
                yield pending
            pending = b""
            yield part
            continue
        pending += part
        while len(pending) >= 2 * size:
            at = random.randint(1, 2 * size - 1)
            yield pending[:at]
            pending = pending[at:]
    if pending:
        yield pending
