"""
From parsed items to the consumer's events: which id is in force, what was seen before, what is for the consumer.

Theory of operation.  There are two lanes, and which one a stream takes is settled when it is made.

Where something looks at single events, items wait in one queue, in the order of the wire, and are judged one at a
time, when the consumer asks for the next (`put`, `take`); whatever a user's own function raises, the item stays at
the head and nothing is lost.  If ids are numbers, a `Sequence` says which item is next.

Where nothing does, `batches.Batches` judges all that a read brought at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from resilient_sse._core.cursor import CursorReader, PlacedBlock, usable_as_cursor
from resilient_sse._core.dedup import Deduplicator, Sighting
from resilient_sse._core.events import Activity, Closed, Comment, Gap, ServerSentEvent, make_event
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import NOTHING, Queued, Sequence, State

if TYPE_CHECKING:
    from resilient_sse._core.options import StreamOptions
    from resilient_sse._core.stats import StreamStats

# How many items one call of take() may judge before others get a turn.
_JUDGED_AT_ONCE = 500


class Delivery:
    """The queue between the wire and the consumer, and every judgement on the way, one event at a time."""

    __slots__ = (
        "_connection", "_event_id", "_once", "_options", "_queue", "_reader", "_stats", "_whole",
        "caught_up", "cursor", "done", "failure", "fresh", "keeps_comments", "last_event_id", "ready", "sequence",
        "unfinished", "window",
    )  # fmt: skip

    def __init__(self, options: StreamOptions, stats: StreamStats) -> None:
        self._options = options
        self._stats = stats
        self._queue: deque[Queued] = deque()
        self.ready: deque[ServerSentEvent | Comment | str] = NOTHING
        """Finished events at the consumer's hand, who takes from the left; always empty but in `Batches`."""
        self.caught_up = True
        """Whether the consumer has asked for more than was there, so that it may see the id in force."""
        self.keeps_comments = False
        """Whether `Batches` shows comments: to make one of each costs 20 times as much as to pass it."""
        self.window = Deduplicator(options.dedup_window, options.dedup, beyond=options.sequence is None)
        self.sequence = Sequence(options, self._queue, self.window, stats) if options.sequence else None
        """What checks order and gaps, `None` where ids are no numbers."""
        self._reader = CursorReader(options.cursor, options.dedup_window) if options.cursor else None
        # Where no function of the user's can raise and nothing is held back, an event is looked at only once.
        asks = options.asks or self.sequence is not None or self._reader is not None
        self._once = not asks and options.dedup != "off"
        self._connection = 0
        self._event_id = ""
        self._whole = True  # it began at the server's beginning, so that totals agree
        self.last_event_id = ""
        """The id in force, as the HTML standard's `lastEventId`; `""` for none."""
        self.cursor: str | None = None
        """The id to resume after: the last one in force that a header can carry."""
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
        self.window.resume_from(event_id)
        if self.sequence is not None:
            self.sequence.resume_from(event_id)
        self._set_id(event_id, of_event=True)

    def connected(self, connection: int, *, resumed: bool) -> None:
        """Begin a connection; *resumed* tells whether it was asked to resume after an id."""
        self._connection = connection
        self.window.connected(connection, resumed=resumed)
        if self.sequence is not None:
            self.sequence.connected(connection)
        if self._reader is not None:
            self._reader.connected(self.last_event_id, resumed=resumed)
        self.fresh = False
        self.failure = None

    def put(self, item: Queued) -> None:
        self._queue.append(item)

    def notify(self, notice: Activity) -> None:
        self._queue.append(notice)

    def end(self, notice: Closed, *, discard: bool = False) -> None:
        """Put the last notice; behind the end that `until` has found, or with *discard*, nothing else is left."""
        if self.sequence is not None:
            self.sequence.settle()
            self.sequence.release()
        if self.done or discard:
            self.discard()
            self.done = False
        self.notify(notice)

    def give_up(self) -> None:
        """Throw away what came behind the event by which the server has said that the stream failed."""
        self.failure = None
        self._queue.clear()

    def discard(self) -> None:
        """Throw away what nobody will ask for any more."""
        self._queue.clear()
        if self.sequence is not None:
            self.sequence.clear()

    @property
    def waiting(self) -> int:
        """How many finished events were counted and not handed over yet."""
        return 0

    def take(self) -> Activity | None:
        """Judge items until one is for the consumer; `None` when there is none that may be judged, or `done`."""
        self.unfinished = False
        sequence, source, number = self.sequence, self._queue, None
        for _ in range(_JUDGED_AT_ONCE):
            if sequence is not None:
                source = sequence.source()
            if not source or self.done or self.failure:
                return None
            item = source[0]
            if not isinstance(item, Block):
                source.popleft()
                return self._counted(item) if isinstance(item, Gap) else item
            if self._reader is not None and not isinstance(item, PlacedBlock):
                item = source[0] = self._reader.place(item)
            if sequence is not None and sequence.state is State.ASKING:
                sequence.hold()
                continue
            admitted: Gap | bool = True
            if sequence is not None:
                number = sequence.numbers.number(item.id)
                admitted = sequence.admit(item, number, data=self._is_data(item))
            elif self._reader is not None:
                admitted = self._fell_back(self._reader, item) or True
            if isinstance(admitted, Gap):
                return self._counted(admitted)
            if not admitted:
                continue
            event = self._judge(item, number)
            source.popleft()
            if event is not None:
                return event
        self.unfinished = True
        return None

    def _counted(self, gap: Gap) -> Gap:
        self._stats.gaps += 1
        self._stats.lost += gap.missing or 0
        self._stats.unknown_losses += gap.missing is None
        return gap

    def _judge(self, block: Block, number: int | None) -> ServerSentEvent | None:
        kind = block.event or "message"
        if block.data is not None and kind not in self._options.heartbeats:
            return self._deliver(block, number, kind, block.data)
        self._accept_id(block, number, None)
        self._stats.received += block.data is not None
        self._stats.heartbeats += block.data is not None
        return None

    def _deliver(self, block: Block, number: int | None, kind: str, data: str) -> ServerSentEvent | None:
        reader = self._reader if self._options.dedup != "off" else None
        again = reader is not None and reader.comes_again(block.id, kind, data)
        if self._once:
            sighting = self.window.remember(block.id, kind, data) if block.id else Sighting.NEW
        else:
            sighting = Sighting.DUPLICATE if again else self._look(block.id, kind, data)
        own_id = block.own_id if isinstance(block, PlacedBlock) else block.id
        in_force = self.last_event_id if block.id is None else block.id
        connection = self._connection if self.sequence is None else self.sequence.origin
        event = make_event(kind, data, own_id, in_force, block.retry, connection)
        if self._options.is_error(event):  # known or not: it speaks of now
            self._accept_id(block, number, None)
            self.failure = event
            return None
        # Where numbers count without a break, `auto` needs no other reason to drop a repetition.
        if sighting is Sighting.DUPLICATE and (
            again or self.window.drops or (number is not None and self._options.dedup == "auto")
        ):
            if block.id and number is None and not (again or self._once):
                self.window.remember(block.id, kind, data)
            self._drop()
            return None
        # The user's functions may raise: nothing was changed so far, and the block is still at the head.
        wanted, last = self._options.wants(event), self._options.ends_with(event)
        if last and number is None and self.sequence is not None and self.sequence.holds:
            self.sequence.release()  # what was held came before the end
            self._queue.appendleft(block)  # which is taken off now, and judged again behind that
            return None
        if last and self._options.total is not None and self._whole:
            self._stats.declared_total = self._options.total(event)
        if not self._once:
            self._accept_id(block, number, (kind, data))
        elif block.id is not None:
            self._set_id(block.id, of_event=True)
        if self._reader is not None:
            self._reader.delivered(block.id, kind, data)
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
        moved_back = self._reader is None and self._event_id != self.last_event_id
        if moved_back and (self.sequence is None or self.sequence.numbers.number(self.last_event_id) is None):
            # A heartbeat before it in the same replay had moved it back.
            self._set_id(self._event_id, again=True)
        self._stats.received += 1
        self._stats.duplicates += 1

    def _look(self, event_id: str | None, kind: str, data: str) -> Sighting:
        """Return what is known of an event; no id of its own, no question."""
        return self.window.look(event_id, kind, data) if event_id else Sighting.NEW

    def _fell_back(self, reader: CursorReader, block: Block) -> Gap | None:
        """Report a position that the caller's function gives and that lies before the last one."""
        if not block.id or not self._is_data(block):
            return None
        sighting = self._look(block.id, block.event or "message", block.data or "")
        before = reader.falls_back(block.id, conflicts=sighting is Sighting.CONFLICT)
        if sighting is Sighting.DUPLICATE or before is None:
            return None
        reader.moved(block.id)
        return Gap(kind="reset", after_id=before, before_id=block.id)

    def _is_data(self, block: Block) -> bool:
        return block.data is not None and (block.event or "message") not in self._options.heartbeats

    def _accept_id(self, block: Block, number: int | None, content: tuple[str, str] | None) -> None:
        """Put the id of a block in force.  A duplicate's id is not accepted: it would move the cursor back."""
        if block.id is None:
            return
        if self._reader is not None and content is None and self._reader.falls_back(block.id):
            return  # a heartbeat that is sent again
        if self.sequence is not None and number is not None:
            if not self.sequence.accept(block.id, number, content):
                return
        elif block.id and content and self._options.dedup != "off":
            self.window.remember(block.id, *content)
        self._set_id(block.id, of_event=content is not None)

    def _set_id(self, event_id: str, *, of_event: bool = False, again: bool = False) -> None:
        self.last_event_id = event_id
        if of_event:
            self._event_id = event_id
        if self._reader is not None:
            self._reader.moved(event_id)
        if not event_id:
            self.cursor = None
        elif usable_as_cursor(event_id):
            self.cursor = event_id
        else:
            self._stats.unusable_ids += not again
