"""
From parsed items to the consumer's events: which id is in force, what was seen before, what is missing.

Theory of operation.  There are two lanes, and which one a stream takes is settled when it is made.

Where something looks at single events, items wait in one queue, in the order of the wire, and are judged one at a
time, when the consumer asks for the next (`put`, `take`); whatever a user's own function raises, the item stays at
the head and nothing is lost.

Where nothing does, `batches.Batches` judges all that a read brought at once.

A hole in a numbered stream is met by asking again from the last contiguous id: the item that showed the hole
and what followed it are held back, and `heal` tells the session to reconnect.  What the new connection does not
bring becomes one `Gap` for each run of missing numbers; no further reconnect would help, for this one has asked.
What is held comes up when its number is next, whoever delivered the one before.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

from resilient_sse._core.dedup import Deduplicator, Sighting
from resilient_sse._core.events import Closed, Comment, Gap, ServerSentEvent
from resilient_sse._core.holdback import NOTHING, Delivery, Holdback, Queued
from resilient_sse._core.judgement import EventFilter, IntakeOptions, Total, Until, usable_as_cursor
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import Place, Sequence

if TYPE_CHECKING:
    from resilient_sse._core.stats import StreamStats

__all__ = ["Delivery", "EventFilter", "Intake", "IntakeOptions", "Total", "Until", "usable_as_cursor"]

# How many items one call of take() may judge before others get a turn.
_JUDGED_AT_ONCE = 500


class Intake:
    """
    The queue between the wire and the consumer, and every judgement on the way, one event at a time.

    Args:
        options: How events are judged.
        stats: Where they are counted.
    """

    __slots__ = (
        "_asked_for",
        "_connection",
        "_event_id",
        "_gap_connection",
        "_healing",
        "_held",
        "_joined_on",
        "_no_older_on",
        "_older",
        "_older_number",
        "_options",
        "_queue",
        "_reached_on",
        "_released",
        "_sequence",
        "_stats",
        "_whole",
        "_window",
        "caught_up",
        "cursor",
        "done",
        "failure",
        "fresh",
        "heal",
        "last_event_id",
        "ready",
        "unfinished",
    )

    def __init__(self, options: IntakeOptions, stats: StreamStats) -> None:
        self._options = options
        self._stats = stats
        self._queue: deque[Queued] = deque()
        self.ready: deque[ServerSentEvent | Comment | str] = NOTHING
        """Finished events at the consumer's hand, who takes from the left; always empty but in `Batches`."""
        self.caught_up = True
        """Whether the consumer has asked for more than was there, so that it may see the id in force."""
        self._window = Deduplicator(options.dedup_window, options.dedup)
        self._sequence = Sequence(options.sequence, options.dedup_window) if options.sequence else None
        self._held = Holdback(self._numbered)
        self._healing = False
        self._older: list[Block] = []
        self._older_number = self._joined_on = self._no_older_on = 0
        self._released = 0
        self._asked_for = -sys.maxsize
        self._gap_connection = self._reached_on = self._connection = 0
        self._event_id = ""
        self._whole = True  # it began at the server's beginning, so that totals agree
        self.last_event_id = ""
        """The id in force, as the HTML standard's `lastEventId`; `""` for none."""
        self.cursor: str | None = None
        """The id to resume after: the last one in force that a header can carry."""
        self.heal = False
        """Whether the connection should be replaced now to have a hole filled."""
        self.failure: ServerSentEvent | None = None
        """The event by which the server has said that the stream failed: the connection is to be given up."""
        self.fresh = False
        """Whether the present connection has brought an event that was new."""
        self.done = False
        """Whether `until` has matched: nothing that follows counts."""
        self.unfinished = False
        """Whether the last `take` stopped because it had judged enough for one turn of the event loop."""
        if options.last_event_id:
            self.resume_from(options.last_event_id)

    def resume_from(self, event_id: str) -> None:
        """Start from a given or stored id; of one given before, nothing is left."""
        self._whole = False
        self._window.clear()
        self._sequence = self._sequence.restarted() if self._sequence else None
        self._set_id(event_id)
        self._event_id = event_id
        number = self._sequence.number(event_id) if self._sequence else None
        if self._sequence and number is not None:
            self._sequence.resume_from(number, event_id)
        elif event_id:
            self._window.resume_from(event_id)

    def connected(self, connection: int, *, resumed: bool) -> None:
        """Begin a connection; *resumed* tells whether it was asked to resume after an id."""
        self._connection = connection
        self._no_older_on = 0
        self._window.connected(connection, resumed=resumed)
        self.fresh = self.heal = False
        self.failure = None

    def put(self, item: Queued) -> None:
        """Append what came off the wire."""
        self._queue.append(item)

    def hold(self) -> None:
        """Hold back all that is queued: it stands behind a hole."""
        self._held.hold(self._queue, self._connection)
        self._queue.clear()
        self._asked_for = self._held.last_number

    def notify(self, notice: Delivery) -> None:
        """Append a notice, which belongs behind what has come off the wire."""
        self._queue.append(notice)

    def release(self, up_to: int | None = None) -> None:
        """Put what was held back at the head of the queue, or what is numbered *up_to* or lower."""
        self._healing = self.heal = False
        self._gap_connection = self._held.connection  # the present one may still replay
        released = self._held.release(up_to)
        self._released += len(released)
        self._queue.extendleft(reversed(released))

    @property
    def healing(self) -> bool:
        """Whether a replay is still being waited for."""
        return self._healing and not self.heal

    def end(self, notice: Closed, *, discard: bool = False) -> None:
        """Put the last notice; behind the end that `until` has found, or with *discard*, nothing else is left."""
        self.settle()
        if self.done or discard:
            self.discard()
            self.done = False
        self.release()
        self.notify(notice)

    def discard(self) -> None:
        """Throw away what nobody will ask for any more."""
        self._queue.clear()
        self._held.clear()

    @property
    def waiting(self) -> int:
        """How many finished events were counted and not handed over yet."""
        return 0

    @property
    def ids_are_meaningless(self) -> bool:
        """Whether ids were shown not to name events here."""
        return self._window.meaningless

    def take(self) -> Delivery | None:
        """Judge items until one is for the consumer; `None` when nothing is queued, or `heal`, or `done`."""
        self.unfinished = False
        for _ in range(_JUDGED_AT_ONCE):
            self._catch_up()
            if not self._queue or self.heal or self.done or self.failure:
                return None
            item = self._queue[0]
            if not isinstance(item, Block):
                self._pop()
                return self._counted(item) if isinstance(item, Gap) else item
            number = self._number(item.id)
            gap = self._gap_before(item, number)
            if gap is not None:
                return self._counted(gap)  # the block stays at the head and is now in its place
            if not self._queue or self._queue[0] is not item:
                continue  # it was held back, or what was held stands before it again
            event = self._judge(item, number)
            if self._queue[0] is not item:
                continue
            high = self._sequence.high if self._sequence and self._is_data(item) else None
            if high is not None and number == high and not self._released:
                self._reached_on = self._connection
            self._pop()
            if event is not None:
                return event
        self.unfinished = True
        return None

    def _catch_up(self) -> None:
        """Bring up what is held as its turn comes: behind its number's place, whoever delivered that."""
        if not self._held or self._healing or self._released or self._sequence is None:
            return
        coming = self._numbered(self._queue[0]) if self._queue else None
        item = self._held.due(self._sequence.high, coming)
        if item is not None:
            self._released += 1
            self._queue.appendleft(item)

    def _numbered(self, item: Queued) -> int | None:
        return self._number(item.id) if isinstance(item, Block) else None

    def _counted(self, gap: Gap) -> Gap:
        self._stats.gaps += 1
        self._stats.lost += gap.missing or 0
        self._stats.unknown_losses += gap.missing is None
        return gap

    def _pop(self) -> None:
        self._queue.popleft()
        self._released = max(self._released - 1, 0)

    def _judge(self, block: Block, number: int | None) -> ServerSentEvent | None:
        kind = block.event or "message"
        if block.data is None:
            self._accept_id(block, number, None)
            return None
        if kind in self._options.heartbeat_events:
            self._accept_id(block, number, None)
            self._stats.received += 1
            self._stats.heartbeats += 1
            return None
        return self._deliver(block, number, kind, block.data)

    def _deliver(self, block: Block, number: int | None, kind: str, data: str) -> ServerSentEvent | None:
        late = number is not None and self._is_late(number)
        sighting = Sighting.DUPLICATE if late else self._look(block.id, number, kind, data)
        event = ServerSentEvent(
            event=kind,
            data=data,
            id=block.id,
            last_event_id=self.last_event_id if block.id is None else block.id,
            retry=block.retry,
            connection=self._held.connection if self._released else self._connection,
        )
        if self._options.is_error(event):  # known or not: it speaks of now
            self._accept_id(block, number, None)
            self.failure = event
            return None
        if sighting is Sighting.DUPLICATE and self._drops(number):
            if block.id and number is None:
                self._window.remember(block.id, kind, data)
            self._drop()
            return None
        # The user's functions may raise: nothing was changed so far, and the block is still at the head.
        wanted, last = self._options.wants(event), self._options.ends_with(event)
        if last and self._held:
            self.release()  # what was held came before the end
            return None
        if last and self._options.total is not None and self._whole:
            self._stats.declared_total = self._options.total(event)
        self._accept_id(block, number, (kind, data))
        self.fresh = True
        self.done = last
        self._stats.received += 1
        self._stats.numbered += number is not None
        self._stats.id_conflicts += sighting is Sighting.CONFLICT
        if not (wanted or last):
            self._stats.filtered += 1
            return None
        self._stats.delivered += 1
        return event

    def _drop(self) -> None:
        """Count a repeated event, whose id is not accepted."""
        if self._event_id != self.last_event_id and self._number(self.last_event_id) is None:
            self._set_id(self._event_id)  # a heartbeat before it in the same replay had moved it back
        self._stats.received += 1
        self._stats.duplicates += 1

    def _look(self, event_id: str | None, number: int | None, kind: str, data: str) -> Sighting:
        """Ask the sequence about numbered events and the window about others; no id of its own, no question."""
        if not event_id:
            return Sighting.NEW
        if self._sequence is None or number is None:
            return self._window.look(event_id, kind, data)
        sighting = self._sequence.look(number, kind, data)
        if (
            sighting is not Sighting.DUPLICATE
            and self._window.look(event_id, kind, data) is Sighting.DUPLICATE
        ):
            return Sighting.DUPLICATE  # one of several events with this id
        return sighting

    def _drops(self, number: int | None) -> bool:
        """Whether a repetition is dropped; where numbers count without a break, `auto` needs no other reason."""
        return self._window.drops or (number is not None and self._options.dedup == "auto")

    def _is_late(self, number: int) -> bool:
        """
        Whether this is a number that was reported lost and comes with a later connection's replay after all.

        Out of its place it is not delivered.  On the connection that showed the hole it is a new numbering.
        """
        sequence = self._sequence
        if sequence is None or self._connection == self._gap_connection:
            return False
        return sequence.place(number) is Place.BEHIND and sequence.reported(number)

    def _number(self, event_id: str | None) -> int | None:
        return self._sequence.number(event_id) if self._sequence else None

    def _gap_before(self, block: Block, number: int | None) -> Gap | None:
        """Hold a numbered block against the last contiguous number, and ask for a replay or report a loss."""
        sequence = self._sequence
        if sequence is None:
            return None
        if number is None:
            if self._older and self._is_data(block):
                self.settle()
            return None
        if sequence.first is None:
            self._joined_on = self._connection
        place = sequence.place(number)
        if self._older and place is not Place.BEHIND:
            self.settle()
            return None
        match place:
            case Place.NEXT:
                self._healing = False  # the server replays
                return None
            case Place.AHEAD:
                return self._hole(sequence, number, block)
            case Place.BEHIND:
                return self._fallback(sequence, number, block)

    def _hole(self, sequence: Sequence, number: int, block: Block) -> Gap | None:
        if self._healing:
            # The new connection did not continue at the hole: some of it, or all, is lost.
            self._asked_for = max(self._asked_for, number)
            self.release(up_to=number)
            self._gap_connection = self._connection
            if self._released:
                return None
        if number > self._asked_for and not self._released:
            self._healing = self.heal = True
            self.hold()
            return None
        if not self._released:
            self._gap_connection = self._connection
        after = sequence.high_id
        return Gap(kind="hole", after_id=after, before_id=block.id, missing=sequence.lose(number))

    def _fallback(self, sequence: Sequence, number: int, block: Block) -> Gap | None:
        """Tell a replay, which the sequence knows, from a numbering that starts anew."""
        twice = number == sequence.high and self._reached_on == self._connection
        if twice or not self._is_data(block):
            return None  # an id used twice in a row, or nothing to tell by
        kind, data = block.event or "message", block.data or ""
        known = self._look(block.id, number, kind, data) is Sighting.DUPLICATE or self._is_late(number)
        # Nobody knows the content of the event that the stream started behind: it proves no replay.
        if known and not (self._older and sequence.is_resumed(number)):
            self._drop_older()
            return None
        if self._is_older(sequence, number):
            self._queue.popleft()
            self._older.append(block)
            self._older_number = number
            return None
        if self._older:
            self.settle()
            return None
        if self._held:
            self.release()
            return None
        self._healing = False
        self._asked_for = -sys.maxsize
        self._sequence = sequence.restarted()
        self._window.clear()
        return Gap(kind="reset", after_id=sequence.high_id, before_id=block.id)

    def _is_older(self, sequence: Sequence, number: int) -> bool:
        """
        Whether this may be a replay of what lies before the stream's first event, and is to be kept apart for now.

        A server that replays all it has and one that begins its numbering anew both start low, and the contents
        were never seen.  A replay goes on, number by number, to an event that is known; whatever else comes
        instead, or the end of the connection, tells that it was none (`settle`).
        """
        if sequence.first is None or number >= sequence.first or self._options.dedup == "off":
            return False
        replayed = self._connection > self._joined_on and self._connection != self._no_older_on
        return replayed and (not self._older or number == self._older_number + 1)

    def _drop_older(self) -> None:
        """Count what was kept apart as repeated: it is older than the subscription."""
        self._stats.received += len(self._older)
        self._stats.duplicates += len(self._older)
        self._older.clear()

    def settle(self) -> None:
        """Judge what was kept apart as the beginning of a new numbering, for it was no replay."""
        self._no_older_on = self._connection
        self._queue.extendleft(reversed(self._older))
        self._older.clear()

    @property
    def keeps_apart(self) -> bool:
        """Whether something waits for what comes behind it, to be told from a new numbering."""
        return bool(self._older)

    def _is_data(self, block: Block) -> bool:
        return block.data is not None and (block.event or "message") not in self._options.heartbeat_events

    def _accept_id(self, block: Block, number: int | None, content: tuple[str, str] | None) -> None:
        """Put the id of a block in force.  A duplicate's id is not accepted: it would move the cursor back."""
        if block.id is None:
            return
        if self._sequence and number is not None:
            if self._sequence.place(number) is Place.BEHIND:
                if content:  # an id used twice: the sequence knows one content, the window the others
                    self._window.remember(block.id, *content)
                return
            self._sequence.advance(number, block.id, content)
        elif block.id and content and self._options.dedup != "off":
            self._window.remember(block.id, *content)
        self._set_id(block.id)
        if content:
            self._event_id = block.id

    def _set_id(self, event_id: str) -> None:
        self.last_event_id = event_id
        if not event_id:
            self.cursor = None
        elif usable_as_cursor(event_id):
            self.cursor = event_id
        else:
            self._stats.unusable_ids += 1
