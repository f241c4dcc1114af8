"""
All that a read brought, judged at once: for streams of which nothing looks at single events.

Theory of operation.  The received position and the figures move when a read is judged.  What waits then are
finished events, and the consumer is given one portion after the other in `ready`, from which it takes without
asking anybody: 1.8 us an event instead of 9.  What was counted and not handed over yet is taken off the figures
when somebody asks for them.
"""

from __future__ import annotations

from array import array
from collections import deque
from itertools import repeat
from operator import lt
from typing import TYPE_CHECKING, TypeAlias

from resilient_sse._core.dedup import MAX_DIGITS, MAX_NUMBER, Sighting
from resilient_sse._core.events import Comment, Gap, ServerSentEvent, make_event
from resilient_sse._core.intake import Delivery, Intake, IntakeOptions
from resilient_sse._core.parser import (
    Block,
    Columns,
    Found,
    RetryHint,
    Row,
    Rows,
    comments_in,
    interpret,
    joined,
)
from resilient_sse._core.sequence import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resilient_sse._core.stats import StreamStats

__all__ = ["PORTION", "Batches"]

PORTION = 100
"""How many finished events at most are at the consumer's hand before others get a turn."""

Judged: TypeAlias = ServerSentEvent | Comment | str
"""What a batch holds; a string is the text of comments, which are made only if somebody asks for them."""


class Batches(Intake):
    """
    An intake that judges what a read brought at once.

    Args:
        options: How events are judged; nothing in them looks at single events.
        stats: Where they are counted.
        retry: Is given the milliseconds of each `retry` field.
    """

    __slots__ = (
        "_looks",
        "_retry",
        "_taken",
        "_waiting",
        "portion",
    )

    def __init__(self, options: IntakeOptions, stats: StreamStats, *, retry: Callable[[int], None]) -> None:
        super().__init__(options, stats)
        self._retry = retry
        self._looks = options.dedup != "off"
        self._queue = NOTHING
        self.ready = deque()
        self._waiting: list[Delivery | list[Judged]] = []  # a handful: reads are judged when nothing waits
        self._taken = 0  # of the batch at the head
        self.portion = PORTION
        """The size of the next portion, at most `PORTION`."""

    @property
    def unread(self) -> bool:
        """Whether the consumer has had a part of a batch, and the rest waits."""
        return self._taken > 0

    @property
    def waiting(self) -> int:
        """How many finished events were counted and not handed over yet."""
        waiting = _events_in(self.ready)
        for item in self._waiting:
            waiting += _events_in(item) if isinstance(item, list) else isinstance(item, ServerSentEvent)
        head = self._waiting[0] if self._taken else None
        return waiting - _events_in(head[: self._taken]) if isinstance(head, list) else waiting

    def notify(self, notice: Delivery) -> None:
        """Append a notice, which belongs behind what has come off the wire."""
        self._waiting.append(notice)

    def discard(self) -> None:
        """Throw away what nobody will ask for any more, and count it no longer."""
        super().discard()
        waiting = self.waiting
        self._stats.received -= waiting
        self._stats.delivered -= waiting
        self._waiting.clear()
        self.ready.clear()
        self._taken = 0

    def take(self) -> Delivery | None:
        """Return the next thing for the consumer, and put a portion of what follows it into `ready`."""
        while True:
            if self.ready:
                item = self.ready.popleft()
                if not isinstance(item, str):
                    return item
                self.ready.extendleft(reversed(comments_in(item)))
                continue
            if not self._waiting:
                self.caught_up = True
                return None
            head = self._waiting[0]
            if not isinstance(head, list):
                del self._waiting[0]
                return self._counted(head) if isinstance(head, Gap) else head
            self.ready.extend(head[self._taken : self._taken + self.portion])
            self._taken += self.portion
            if self._taken >= len(head):
                del self._waiting[0]
                self._taken = 0

    def judge(self, found: list[Found]) -> bool:
        """
        Judge and count now all that the parser has *found*.

        Returns:
            Whether an event was dispatched, whatever became of it.
        """
        if len(found) == 1 and isinstance(found[0], Rows) and len(found[0]) == 1:
            event = self._judge_one(found[0][0])
            if event is not None:
                self._waiting.append(event)
                self.caught_up = False
                return True
        batch: list[Judged] = []
        dispatched = self._judge_all(found, batch)
        if batch:
            self._waiting.append(batch)
            self.caught_up = False
        return dispatched

    def _judge_all(self, found: Iterable[Found], batch: list[Judged]) -> bool:
        dispatched = False
        for item in found:
            if isinstance(item, Columns):
                dispatched |= self._judge_columns(item, batch) or self._judge_rows(item.rows(), batch)
            elif isinstance(item, Rows):
                dispatched |= self._judge_rows(item, batch)
            elif isinstance(item, RetryHint):
                self._retry(item.milliseconds)
            elif isinstance(item, Comment):
                batch.append(item)
            else:
                dispatched |= item.data is not None
                event = self._judge(item, None)
                if event is not None:
                    batch.append(event)
        return dispatched

    def _judge_one(self, row: Row) -> ServerSentEvent | None:
        """
        Judge one row whose id is higher than all before, or that has none; `None` for any other, left untouched.

        The usual row of a live stream, without the arrays of a run: 2 us less of 5.
        """
        said, id_before, kind, id_behind, data, more, text = row
        kind = kind or "message"
        if said or more or text or kind in self._options.heartbeat_events:
            return None
        event_id = id_behind or id_before
        if event_id:
            if self._looks:
                if not event_id.isdecimal() or event_id[0] == "0":
                    return None
                number = int(event_id)
                if not self._window.new_above < number <= MAX_NUMBER:
                    return None
                self._window.rise_by_one(number, hash((number, kind, data)))
            self.last_event_id = self.cursor = self._event_id = event_id
        self.fresh = True
        self._stats.received += 1
        self._stats.delivered += 1
        return make_event(kind, data, event_id or None, self.last_event_id, None, self._connection)

    def _judge_columns(self, columns: Columns, batch: list[Judged]) -> bool:
        """
        Judge blocks that are all alike, if their ids rise or they have none.

        By columns everything but making the events runs in C: half the time of `_judge_rows` for an event.

        Returns:
            Whether it was done.
        """
        ids, data = columns.ids, columns.data
        kind = columns.event or "message"
        if kind in self._options.heartbeat_events:
            return False
        if ids is not None:
            if not self._looks:
                return False
            numbers = _rising_numbers(ids)
            if numbers is None or numbers[0] <= self._window.new_above:
                return False
            self._window.rise(numbers, array("q", map(hash, zip(numbers, repeat(kind), data))))
            self.last_event_id = self.cursor = self._event_id = ids[-1]
        own: Iterable[str | None] = ids or repeat(None)
        batch += map(
            make_event,
            repeat(kind),
            data,
            own,
            ids or repeat(self.last_event_id),
            repeat(None),
            repeat(self._connection),
        )
        self.fresh = True
        self._stats.received += len(data)
        self._stats.delivered += len(data)
        return True

    def _judge_rows(self, rows: Rows, batch: list[Judged]) -> bool:
        """Judge rows: in place those whose id is higher than all before, or that have none, others by a call."""
        heartbeats, looks, connection = self._options.heartbeat_events, self._looks, self._connection
        dispatched = False
        made = 0
        numbers, contents = array("q"), array("q")
        above, last = self._window.new_above, self.last_event_id
        other: list[str] = []
        for row in rows:
            said, id_before, kind, id_behind, data, more, text = row
            if text and text[0] not in ":\n":
                other.append(
                    text
                )  # with those that follow it: a flood of them must not cost much more than lines
                continue
            if other:
                self._count(made, last, numbers, contents)
                dispatched |= self._judge_all(interpret("".join(other)), batch) or made > 0
                made = 0
                other, numbers, contents = [], array("q"), array("q")
                above, last = self._window.new_above, self.last_event_id
            if text:
                if text[0] == ":":
                    batch.append(text)
                continue
            event_id = id_behind or id_before
            kind = kind or "message"
            if said:
                batch.append(said)
            if more:
                data = joined(data, more)
            number = -1
            if event_id and looks and event_id.isdecimal() and event_id[0] != "0":
                number = int(event_id)
            if kind in heartbeats or (event_id and looks and not above < number <= MAX_NUMBER):
                self._count(made, last, numbers, contents)
                dispatched = True
                event = self._judge_single(kind, event_id, data)
                if event is not None:
                    batch.append(event)
                if made:
                    made = 0
                    numbers, contents = array("q"), array("q")
                above, last = self._window.new_above, self.last_event_id
                continue
            made += 1
            if event_id:
                last = event_id
                if looks:
                    above = number
                    numbers.append(number)
                    contents.append(hash((number, kind, data)))
            batch.append(make_event(kind, data, event_id or None, last, None, connection))
        self._count(made, last, numbers, contents)
        if other:
            dispatched |= self._judge_all(interpret("".join(other)), batch)
        return dispatched or made > 0

    def _count(self, made: int, last: str, numbers: array[int], contents: array[int]) -> None:
        """Count a run of new events and put their last id in force; visible ASCII can always be sent."""
        if not made:
            return
        self.fresh = True
        self._stats.received += made
        self._stats.delivered += made
        if numbers:
            self._window.rise(numbers, contents)
        if last is not self.last_event_id:
            self.last_event_id = self.cursor = self._event_id = last

    def _judge_single(self, kind: str, event_id: str, data: str) -> ServerSentEvent | None:
        """Judge a heartbeat, or an event whose id is no number that rises."""
        if kind in self._options.heartbeat_events:
            return self._judge(Block(event=kind, data=data, id=event_id or None), None)
        sighting = self._window.remember(event_id, kind, data)
        if sighting is Sighting.DUPLICATE and self._window.drops:
            self._drop()
            return None
        self._stats.id_conflicts += sighting is Sighting.CONFLICT
        self._count(1, event_id, array("q"), array("q"))
        return make_event(kind, data, event_id, event_id, None, self._connection)


def _rising_numbers(ids: Sequence[str]) -> array[int] | None:
    """Return the numbers of ids of ASCII digits, `None` if they do not rise or one is no number that counts."""
    first, last, length = ids[0], ids[-1], len(ids[0])
    if length >= MAX_DIGITS or first[0] == "0":
        return None
    number = int(first)
    if len(last) == length and int(last) - number == len(ids) - 1:
        # Texts of one length that rise, and as many as there are numbers between the ends: they count up by one.
        # Seen so, they need not be converted, which saves 0.2 of 2.5 us an event.
        if all(map(lt, ids, ids[1:])) and all(map(length.__eq__, map(len, ids))):
            return array("q", range(number, number + len(ids)))
        return None
    if len(last) >= MAX_DIGITS or min(ids)[0] == "0" or max(map(len, ids)) > len(last):
        return None
    numbers = array("q", map(int, ids))
    return numbers if all(map(lt, numbers, numbers[1:])) else None


def _events_in(items: Iterable[Judged]) -> int:
    return sum(isinstance(item, ServerSentEvent) for item in items)
