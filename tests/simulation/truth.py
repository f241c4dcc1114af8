"""The log of truth: everything that was published, what became of it, and what each connection was sent."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from resilient_sse.testing.steps import RecordedRequest
from tests.simulation.plan import Answer

__all__ = ["Published", "Sent", "Truth"]

EventKind: TypeAlias = Literal["event", "other", "plain", "beat", "done"]

TYPES: dict[EventKind, str | None] = {
    "event": None,
    "other": "other",
    "plain": None,
    "beat": "heartbeat",
    "done": "done",
}
"""What each kind is called on the wire; an `event` is named nothing, and neither is a `plain` one."""


@dataclass(slots=True)
class Published:
    """
    One event of the truth.

    Attributes:
        ordinal: Its place in the whole run, from 1; its data names it.
        epoch: How often the server had lost its memory before.
        number: Its number in that epoch, from 1; that of the one before if it bears no id.
        kind: What it is.
        id: The id it bears, `None` for a `plain` one.
        gone: Whether the server cannot replay it.
        hint: The `retry` field in the block that first sent it, in milliseconds.
        size: Its data is filled up to so many characters.
    """

    ordinal: int
    epoch: int
    number: int
    kind: EventKind
    id: str | None
    gone: bool = False
    hint: int | None = None
    size: int = 0

    @property
    def data(self) -> str:
        """Its data, which no other event has."""
        return f"e{self.ordinal}".ljust(self.size)


@dataclass(slots=True, kw_only=True)
class Sent:
    """
    One request, and what it was sent.

    Attributes:
        at: When it arrived.
        answer: What it met, or was to meet behind its redirects.
        hops: The request as it arrived, and again behind each redirect that was followed.
        met: Whether it has come through to the answer.
        cursor: Its `Last-Event-ID`, `None` for none.
        meant: The event that the client means by that, `None` for none.
        process: Which process of the consumer sent it, from 1.
        start: The event behind which that process began, `None` for none; it knows only its id.
        opened: Whether the client has got the headers of a stream.
        events: The events that the client has read to the end, repeats included.
        hinted: Those of them whose block had a `retry` field.
        brought: Whether the client has read anything of it to its end, be it a comment.
        heartbeats: How many heartbeats it has, those without a number of their own.
        retries: The `retry` fields that it has, in milliseconds.
        retry_after: The seconds of the `Retry-After` header, if there was one.
        unresumable: The answer says that the cursor cannot be resumed from: by 410, or by a `Last-Event-ID`.
        status: The status of the answer; `None` if there was none.
        size: The bytes of its body, uncompressed.
        severed: The body was cut inside a block.
        expired: How many events the server had lost before it.
        paged: The replay was ended early.
        omitted: How many events the replay left out.
        repeated: How many events it repeated.
    """

    at: float
    answer: Answer
    cursor: str | None
    meant: Published | None
    process: int
    start: Published | None
    hops: list[RecordedRequest] = field(default_factory=list["RecordedRequest"])
    met: bool = False
    opened: bool = False
    events: list[Published] = field(default_factory=list["Published"])
    hinted: list[Published] = field(default_factory=list["Published"])
    heartbeats: int = 0
    brought: bool = False
    retries: list[int] = field(default_factory=list[int])
    retry_after: float | None = None
    unresumable: bool = False
    status: int | None = None
    size: int = 0
    severed: bool = False
    expired: int = 0
    paged: bool = False
    omitted: int = 0
    repeated: int = 0

    @property
    def behind(self) -> int:
        """The ordinal of the event it was to resume after, 0 for none."""
        return 0 if self.meant is None else self.meant.ordinal

    def doubtful(self, lost: Container[int]) -> bool:
        """
        Whether no client could tell by plain numbers that these events belong to a new numbering.

        It stands behind an event of an old one, and the first event bears a higher number, as if it followed, or
        the number of the stored position, which counts as seen whatever its content.  Heartbeats have no content
        to tell by, and neither have events that never came: alone, or before a higher number, they mislead too.

        Args:
            lost: The numbers that were reported lost before; what bears one looks as if it came late.
        """
        meant = self.meant
        events = [event for event in self.events if event.id is not None]
        if meant is None or not events or meant.epoch == events[0].epoch:
            return False
        for event in events:
            if event.number > meant.number:
                return True
            if event.kind != "beat" and event.number not in lost:
                return self.start is not None and event.number == self.start.number
        return True


class Truth:
    """
    The server's memory, and the memory of it all.

    Args:
        integers: Ids are plain numbers; otherwise they name the epoch too, as opaque ids often do.
        rising: Those that name the epoch are numbers, which rise.
        size: How long the data of each event is, at least.
    """

    def __init__(self, *, integers: bool, rising: bool = False, size: int = 0) -> None:
        self.integers = integers
        self._rising, self._size = rising, size
        self.events: list[Published] = []
        """Everything that was ever published, by ordinal."""
        self.requests: list[Sent] = []
        """Every request that reached the server, or was to reach it."""
        self.epoch: int = 1
        self.floor: int = 0
        """No repeat reaches behind this ordinal: there the present process began."""
        self._forgotten = self._number = 0
        self._by_id: dict[str, Published] = {}
        self._heard: dict[str, Published] = {}

    def publish(self, kind: EventKind) -> Published:
        """Publish one event; the server does not store one without an id."""
        ordinal = len(self.events) + 1
        if kind == "plain":
            event = Published(ordinal, self.epoch, self._number, kind, None, gone=True, size=self._size)
        else:
            self._number += 1
            event_id = str(self._number)
            if not self.integers:
                event_id = (
                    f"{self.epoch}{self._number:05}" if self._rising else f"{self.epoch}-{self._number}"
                )
            event = Published(ordinal, self.epoch, self._number, kind, event_id, size=self._size)
            self._by_id[event_id] = event
        self.events.append(event)
        return event

    def forget(self) -> None:
        """Restart the server with an empty memory; numbers begin at 1."""
        for event in self.events:
            event.gone = True
        self.epoch += 1
        self._number = 0
        self._forgotten = len(self.events)

    def of(self, data: str) -> Published | None:
        """Return the event with this data."""
        number = data[1:].rstrip()
        ordinal = int(number) if data[:1] == "e" and number.isdigit() else 0
        return self.events[ordinal - 1] if 0 < ordinal <= len(self.events) else None

    def meant(self, event_id: str | None) -> Published | None:
        """Return the event that a client means by an id: the last one with it that it has read."""
        return None if event_id is None else self._heard.get(event_id)

    def heard(self, event: Published) -> None:
        """Take note that the client has read an event."""
        if event.id is None:
            return
        self._heard[event.id] = event
        if not self.floor or self.events[self.floor - 1].epoch != event.epoch:
            self.floor = event.ordinal  # it knows of nothing before it

    def after(self, event_id: str | None) -> tuple[list[Published], bool]:
        """
        Return what a replay after an id brings, and whether the id was understood.

        An id from before a restart is not, and is answered with all there is.
        """
        kept = [event for event in self.events[self._forgotten :] if not event.gone]
        known = None if event_id is None else self._by_id.get(event_id)
        if known is None or known.epoch != self.epoch:
            return kept, event_id is None
        return [event for event in kept if event.ordinal > known.ordinal], True

    def before(self, event_id: str | None, count: int) -> list[Published]:
        """Return the last *count* events up to the one with this id, as far as they may be repeated."""
        known = None if event_id is None else self._by_id.get(event_id)
        if known is None or known.epoch != self.epoch:
            return []
        first = max(known.ordinal - count, self._forgotten, self.floor - 1)
        return [event for event in self.events[first : known.ordinal] if not event.gone]
