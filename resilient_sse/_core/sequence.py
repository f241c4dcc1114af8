"""
Order and gap checks over ids that are numbers.

Theory of operation.  `Numbers` knows the last contiguous number, and `dedup.Deduplicator` the events before it;
`Sequence` holds each block against that, and is in one of three states (`State`).

A hole is met by asking again from the last contiguous id: the block that showed it and what followed it are held
back, and the connection is to be replaced.  What the new one does not bring becomes one `Gap` for each run of
missing numbers; no further reconnect would help, for this one has asked.  What is held comes up when its number is
next, whoever delivered the one before.

In every state a number that was passed is a replay if its content is known, and else begins a new numbering, which
is told by a `Gap`.  Where nobody knows the content, blocks are kept apart until what follows tells which it is.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from resilient_sse._core.cursor import PlacedBlock
from resilient_sse._core.dedup import Deduplicator, Sighting
from resilient_sse._core.events import Activity, Gap
from resilient_sse._core.parser import Block

if TYPE_CHECKING:
    from resilient_sse._core.options import StreamOptions
    from resilient_sse._core.stats import StreamStats

# Long enough for any counter; int() of a digit string is quadratic.
_MAX_DIGITS = 40

# Holes that were reported, so that their events are not taken for a new numbering if they come after all.
_REMEMBERED_HOLES = 100

# So many events from the beginning of a numbering are known for good: they tell a server that replays all it has
# from one that begins its numbering anew, if more than half of them differ from each other.
_FIRST = 16

# A number that leaps further than this ahead is no number of this stream: one absurd id must not count as a loss
# of so many events.  If the next one follows it, numbering has moved there.
_LEAP = 10**9

Numbering: TypeAlias = Callable[[str], int]
"""Turns an id into its number; raises `ValueError` for an id that has none."""

Queued: TypeAlias = Block | Activity

NOTHING: deque[Any] = deque()
"""For what is always empty where nobody needs it: an empty deque takes 760 bytes."""


def integers(event_id: str) -> int:
    """
    Number events by their ids: pass this as `sequence` when ids count up by one.

    Raises:
        ValueError: The id is not a decimal integer; such an event takes no part in the checks.
    """
    if not (event_id.isascii() and event_id.removeprefix("-").isdigit()) or len(event_id) > _MAX_DIGITS:
        raise ValueError(f"not an integer id: {event_id[:40]!r}")
    return int(event_id)


@dataclass(eq=False)
class Numbers:
    """The last contiguous number of a stream, where it began, and what of it is lost."""

    numbering: Numbering
    high: int | None = None
    """The last contiguous number, `None` before the first."""
    high_id: str | None = None
    first: int | None = None
    """The first number that came: what is lower is older than the subscription."""
    _leapt: int | None = None
    _resumed: int | None = None
    _beginning: dict[int, int] = field(default_factory=dict[int, int])
    _lost: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_HOLES))

    def restarted(self) -> Numbers:
        return Numbers(self.numbering)

    def resume_from(self, number: int, event_id: str) -> None:
        """Start behind a given or stored number; its event counts as seen, whatever its content, if it comes."""
        self.high, self.high_id = number, event_id
        self._resumed = number

    def number(self, event_id: str | None) -> int | None:
        """Return the number of an id, or `None` if it has none and takes no part in the checks."""
        if not event_id:
            return None
        try:
            number = self.numbering(event_id)
        except ValueError:
            return None
        if self.high is not None and number - self.high > _LEAP:
            follows = self._leapt is not None and 0 < number - self._leapt <= _LEAP
            if not follows:
                self._leapt = number
                return None
        return number

    def ahead(self, number: int) -> int:
        """Return how many numbers are missing before *number*; less than 0 if it was passed already."""
        return 0 if self.high is None else number - self.high - 1

    def look_at_beginning(self, number: int, event: str, data: str) -> Sighting:
        """Return what the first events tell of one beyond the window; alone they are no reason to drop it."""
        known = self._beginning.get(number)
        if known is None:
            return Sighting.NEW
        if known != hash((event, data)):
            return Sighting.CONFLICT
        differ = len(set(self._beginning.values())) > _FIRST // 2
        return Sighting.DUPLICATE if differ else Sighting.NEW

    def reported(self, number: int) -> bool:
        """Whether *number* belongs to a hole that was given up."""
        return any(low <= number <= high for low, high in self._lost)

    def is_hole(self, after: int, before: int) -> bool:
        """Whether what lies between two numbers is a hole that was given up."""
        return (after + 1, before - 1) in self._lost

    def advance(self, number: int, event_id: str, content: tuple[str, str] | None = None) -> None:
        """Make *number*, the next one, the last contiguous one; *content* is its type and data, if it has any."""
        self.high, self.high_id = number, event_id
        if self.first is None:
            self.first = number
        if content and len(self._beginning) < _FIRST:
            self._beginning[number] = hash(content)

    def lose(self, before: int) -> int | None:
        """Give up the numbers before *before*; return how many they are, `None` if that cannot be believed."""
        missing = self.ahead(before)
        self._lost.append((before - missing, before - 1))
        self.high = before - 1
        return missing if missing <= _LEAP else None

    def is_resumed(self, number: int) -> bool:
        """Whether *number* is the one the stream started behind."""
        return number == self._resumed


class State(Enum):
    """How far the mending of a hole has got."""

    FOLLOWING = "following"
    """There is none, or the server is replaying it: every number is held against the last contiguous one."""
    ASKING = "asking"
    """One has shown: the connection is to be replaced, and what it still brings is held back."""
    HEALING = "healing"
    """The new connection has not shown yet where it continues: what comes is judged, what is held stays held."""


class Sequence:
    """
    Brings the items of a numbered stream into order: `source` says where the next one stands, `admit` what it is.

    The caller takes the items off *queue*.  *window* is what is known of events by their ids.
    """

    def __init__(
        self, options: StreamOptions, queue: deque[Queued], window: Deduplicator, stats: StreamStats
    ) -> None:
        self._options, self._queue, self._window, self._stats = options, queue, window, stats
        self.numbers = Numbers(options.sequence or integers)
        self.state = State.FOLLOWING
        self._front: deque[Queued] = NOTHING  # was held, and goes before the queue
        self._held: list[tuple[int, list[Queued]]] = []  # by numbers; what has none stays behind its block
        self._apart: list[tuple[int, Block]] = []  # replayed, or the beginning of a new numbering
        self._apart_last = self._apart_more = 0  # its last number, and how many were too many to keep
        self._proved = False  # whether what goes on to that number began with events of the beginning
        self._asked_for = -sys.maxsize  # holes before this number need no further reconnect
        # The connections that brought what is held, showed the last hole, and reached the last contiguous number;
        # and the last one on which a numbering has begun, so that a lower number is no replay.
        self._connection = self._held_on = self._gap_on = self._reached_on = self._joined_on = 0

    def resume_from(self, event_id: str) -> None:
        """Start behind an id, and know nothing of one given before."""
        self.numbers = self.numbers.restarted()
        number = self.numbers.number(event_id)
        if number is not None:
            self.numbers.resume_from(number, event_id)

    def connected(self, connection: int) -> None:
        """Begin a connection, which was asked for what is missing."""
        self._connection = connection
        self._proved = False
        if self.state is State.ASKING:
            self.state = State.HEALING

    def source(self) -> deque[Queued]:
        """Return where the next item stands: what was held goes first, when its turn has come."""
        while self._held and not self._front and self.state is State.FOLLOWING:
            number, items = self._held[0]
            ahead = self.numbers.ahead(number)
            if ahead > 0 or (ahead == 0 and self._queue and self._numbered(self._queue[0]) == number):
                break
            del self._held[0]
            block = items[0]
            if ahead < 0 and isinstance(block, Block):  # its number came once more
                kind, data = block.event or "message", block.data
                if data is None or self._window.look(block.id or "", kind, data) is not Sighting.CONFLICT:
                    del items[0]  # but another event does not take its place
            self._front = deque(items)
        return self._front or self._queue

    def _is_placed(self, item: Queued) -> bool:
        """Whether the caller's *cursor*, which may raise, was asked: that is done when an event's turn comes."""
        return self._options.cursor is None or isinstance(item, PlacedBlock) or not isinstance(item, Block)

    def _numbered(self, item: Queued) -> int | None:
        return self.numbers.number(item.id) if isinstance(item, Block) else None

    @property
    def origin(self) -> int:
        """The connection that brought the next item."""
        return self._held_on if self._front else self._connection

    @property
    def holds(self) -> bool:
        """Whether anything is held back behind the next item."""
        return bool(self._held) and not self._front

    def admit(self, block: Block, number: int | None, *, data: bool) -> Gap | bool:
        """
        Hold the next block against the last contiguous number; *data*: it is an event, and no heartbeat.

        Return what to report before it, or whether it may be judged; if not, `source` begins with another.
        """
        ahead = None if number is None else self.numbers.ahead(number)
        tells = data if ahead is None else ahead >= 0
        if self._apart and tells and self.settle():
            return False
        if number is None or ahead is None:
            return True
        if self.numbers.first is None:
            self._joined_on = self._connection
        if ahead > 0:
            return self._hole(block, number)
        if ahead < 0 and data:
            return self._fallback(block, number)
        if ahead == 0:
            if self.state is State.HEALING:
                self.state = State.FOLLOWING  # the server replays
            if data and not self._front:
                self._reached_on = self._connection
        elif number == self._apart_last + 1:
            self._apart_last = number  # a heartbeat in what is kept apart
        return True

    def _hole(self, block: Block, number: int) -> Gap | bool:
        """Ask again for what is missing before *number*, once; what has been asked for is lost."""
        if self.state is State.HEALING:
            # The new connection did not continue at the hole: some of it, or all, is lost.
            self._asked_for = max(self._asked_for, number)
            self.release(up_to=number)
            self._gap_on = self._connection
            if self._front:
                return False
        elif not self._front:
            self._gap_on = self._connection
            if number > self._asked_for:
                self.state = State.ASKING
                self.hold()
                return False
        after = self.numbers.high_id
        return Gap(kind="hole", after_id=after, before_id=block.id, missing=self.numbers.lose(number))

    def _fallback(self, block: Block, number: int) -> Gap | bool:
        """Tell a replay, which is known, from a numbering that starts anew."""
        numbers = self.numbers
        last = number == numbers.high
        if last and self._reached_on == self._connection:
            return True  # an id used twice in a row
        kind, text = block.event or "message", block.data or ""
        known = self._window.look(block.id or "", kind, text)
        # Nobody knows the content of the event that the stream started behind: it proves no replay.
        if known is Sighting.DUPLICATE and not (self._apart and numbers.is_resumed(number)):
            self._end_apart(repeated=True)
            if last and not self._front:
                self._reached_on = self._connection
            return True
        late = numbers.reported(number) and self._connection != self._gap_on
        # A server that replays all it has and one that begins its numbering anew both start with numbers whose
        # contents nobody knows.  A replay goes on, number by number, to an event that is known.
        first = numbers.first
        full = len(self._window) >= self._options.dedup_window
        forgotten = first is not None and (number < first or (known is Sighting.NEW and full))
        older = forgotten and self._connection > self._joined_on
        begins = numbers.look_at_beginning(number, kind, text)
        older = older and begins is not Sighting.CONFLICT and self._options.dedup != "off"
        if late and self._options.dedup == "off":
            return True
        if late or older:
            goes_on = number - self._apart_last in (0, 1) or numbers.is_hole(self._apart_last, number)
            if self._apart and not goes_on:
                self.settle()
                return False
            self._proved = begins is Sighting.DUPLICATE or (self._proved and goes_on)
            # Memory is bounded, however long a replay: of a new numbering, the rest is a hole that is asked for.
            fits = len(self._apart) < self._options.dedup_window
            self._apart_last, self._apart_more = number, self._apart_more + (not fits)
            if fits:
                self._apart.append((number, block))
            self.source().popleft()
            return False
        if self._apart:
            self._end_apart(repeated=False)
            return False
        if self._held:
            self.release()
            return False
        self._asked_for = -sys.maxsize
        self.numbers = numbers.restarted()
        self._window.clear()
        return Gap(kind="reset", after_id=numbers.high_id, before_id=block.id)

    def settle(self) -> bool:
        """Judge what is kept apart, for nothing that followed has told; return whether it is a new numbering."""
        # It is a replay if it began with the first events of the stream; what was reported lost came late.
        replayed = self._proved or all(self.numbers.reported(number) for number, _ in self._apart)
        self._end_apart(repeated=replayed)
        return not replayed

    def _end_apart(self, *, repeated: bool) -> None:
        """Count what was kept apart as repeated, or begin a new numbering with it."""
        if repeated:
            self._stats.received += len(self._apart) + self._apart_more
            self._stats.duplicates += len(self._apart) + self._apart_more
        else:
            self._joined_on = self._gap_on = self._connection
            self._proved = False
            self._queue.extendleft(block for _, block in reversed(self._apart))
        self._apart_more = 0
        self._apart.clear()

    def accept(self, event_id: str, number: int, content: tuple[str, str] | None) -> bool:
        """Make an admitted number the last contiguous one; return whether its id is to be put in force."""
        if content:
            self._window.remember(event_id, *content)
        if self.numbers.ahead(number) < 0:  # an id used twice
            return False
        self.numbers.advance(number, event_id, content)
        return True

    def hold(self) -> None:
        """Hold back what is queued, up to what has no position yet: it stands behind a hole."""
        held: list[tuple[int, list[Queued]]] = []
        placed = list(takewhile(self._is_placed, self._queue))
        for item in placed:
            number = self._numbered(item)
            if number is None:
                (held or self._held)[-1][1].append(item)
            else:
                held.append((number, [item]))
        for _ in placed:
            self._queue.popleft()
        if self._held:
            held = sorted(self._held + held, key=itemgetter(0))
        self._held, self._held_on = held, self._connection
        self._asked_for = held[-1][0]

    def release(self, up_to: int | None = None) -> None:
        """Let what is held go first, or what of it is numbered *up_to* or lower, and ask for nothing."""
        self.state = State.FOLLOWING
        self._gap_on = self._held_on  # the present one may still replay
        end = len(self._held)
        while up_to is not None and end and self._held[end - 1][0] > up_to:
            end -= 1
        self._front = deque([*(item for _, items in self._held[:end] for item in items), *self._front])
        del self._held[:end]

    def clear(self) -> None:
        """Throw away what is held: nobody will ask for it any more."""
        self._held.clear()
        self._front = NOTHING
