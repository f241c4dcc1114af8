"""
Which events were seen before.

Theory of operation.  An event is known by its id together with its type and data.  Two rings of 64-bit hashes
remember the last ones, 16 bytes an event, in the order of arrival.  Most servers count: while ids are decimal and
rise, the ring of ids is in order by itself, an id above the highest is new by one comparison, any other is found
by bisection, and what has left the ring is known by its number.  The first id that does not rise has an index
made: the slots of the ring in the order of their ids, 4 bytes each.  A set or a dict of the same hashes takes
ten times that, which counts when a process holds thousands of streams.

Python keys its string hash with a secret for each process, so no server can aim for a collision; by chance one
would need some 10**16 events.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort_right
from enum import Enum
from typing import Literal, TypeAlias, get_args

__all__ = ["DEDUP_MODES", "MAX_DIGITS", "MAX_NUMBER", "Dedup", "Deduplicator", "Sighting", "number_of"]

Dedup: TypeAlias = Literal["auto", "always", "replay", "off"]
DEDUP_MODES: tuple[Dedup, ...] = get_args(Dedup)

MAX_DIGITS = 19
"""How many digits a number has at most."""
MAX_NUMBER = 2**63 - 1
"""The highest number that an id can be: what fits into 64 bits with a sign."""

_NO_NUMBER = -1

# So many events from the beginning of a run of rising ids are known for good: they tell a server that replays all
# it has from one that begins its numbering anew.
_FIRST = 16


def number_of(event_id: str) -> int:
    """
    Return the number that an id is, -1 if it is none.

    Only the one way to write a number counts, so that two ids never have the same number: ASCII digits, no zero
    before others, less than 2**63.
    """
    if not (event_id.isdecimal() and event_id.isascii()) or len(event_id) > MAX_DIGITS:
        return _NO_NUMBER
    number = int(event_id)
    if number > MAX_NUMBER or (event_id[0] == "0" and number + len(event_id) > 1):
        return _NO_NUMBER
    return number


class Sighting(Enum):
    """What the window knows of an event."""

    NEW = "new"
    """Its id was not seen."""
    DUPLICATE = "duplicate"
    """The same id with the same content was seen."""
    CONFLICT = "conflict"
    """The same id was seen with other content."""


class Deduplicator:
    """
    A window over the last events that carried an id of their own, and the decision what to drop.

    Losing a real event is worse than repeating one, and servers use ids for what they like: one constant id, the
    id of a thing, one id for all tokens of a message.  So `auto` believes in a repetition only where there is
    reason: on a connection that was asked to resume after an id, or where ids have done nothing but rise.  Once an
    id has come again with other content on one connection, ids do not name events here, and nothing is dropped.

    Args:
        window: How many events to remember, at least 1.
        mode: `always` drops every known event, `replay` on connections after the first and on those that were
            asked to resume, `off` none.
    """

    __slots__ = (
        "_by_key",
        "_contents",
        "_dropping",
        "_first",
        "_first_contents",
        "_gone",
        "_keys",
        "_mode",
        "_oldest",
        "_on_this_connection",
        "_only_rose",
        "_replaying",
        "_resumed_for",
        "_resumed_from",
        "_risen",
        "_top",
        "_window",
        "meaningless",
    )

    def __init__(self, window: int, mode: Dedup = "always") -> None:
        self._window = window
        self._mode = mode
        self.meaningless = False
        """Whether ids were shown not to name events, and nothing is dropped for that reason (`auto` only)."""
        self._replaying = self._dropping = False
        self.clear()
        self.connected(1, resumed=False)

    def clear(self) -> None:
        """Forget everything: the server has started its numbering anew."""
        self._keys, self._contents = array("q"), array("q")
        self._oldest = 0
        self._by_key: array[int] | None = None
        self._first, self._first_contents = array("q"), array("q")
        self._top = _NO_NUMBER
        self._gone = _NO_NUMBER
        self._only_rose = True
        self._risen = 0
        self._on_this_connection = 0
        self._resumed_from: str | None = None
        self._resumed_for = 0

    def connected(self, connection: int, *, resumed: bool) -> None:
        """Begin a connection; *resumed* tells whether it was asked to resume after an id."""
        self._replaying = resumed
        self._on_this_connection = 0
        again = resumed or connection > 1
        self._dropping = {"auto": resumed, "always": True, "replay": again, "off": False}[self._mode]

    @property
    def drops(self) -> bool:
        """Whether a duplicate that comes now is to be dropped."""
        if self._mode != "auto":
            return self._dropping
        if self.meaningless:
            return False
        return self._dropping or (self._only_rose and self._risen > 1)

    @property
    def new_above(self) -> int:
        """The number above which ids are new and may be given to `rise`; too high for any if ids do not rise."""
        if self._by_key is not None:
            return MAX_NUMBER
        if self._resumed_from is None:
            return self._top
        return max(self._top, number_of(self._resumed_from))

    def resume_from(self, event_id: str) -> None:
        """
        Expect the event with this id once more.

        Its content is not known here (the id was stored or given), so the first event that bears it counts
        as seen, for servers that replay inclusively.
        """
        if self._find(_key(event_id)) is None:
            self._resumed_from, self._resumed_for = event_id, self._window

    def look(self, event_id: str, event: str, data: str) -> Sighting:
        """Say what is known of an event, and remember nothing."""
        if event_id == self._resumed_from:
            return Sighting.DUPLICATE
        key = _key(event_id)
        return self._look(key, hash((key, event, data)), self._find(key))

    def remember(self, event_id: str, event: str, data: str) -> Sighting:
        """Put an event into the window, which may push the oldest one out, and say what was known of it."""
        expected = event_id == self._resumed_from
        if expected:
            self._resumed_from = None
        key = _key(event_id)
        content = hash((key, event, data))
        slot = self._find(key)
        sighting = self._look(key, content, slot)
        if sighting is Sighting.DUPLICATE:
            return sighting
        if slot is not None and self._mode == "auto":
            age = (self._oldest - 1 - slot) % len(self._keys)
            self.meaningless |= age < self._on_this_connection
        if key > self._top:
            self._risen += 1
            self._top = key
        else:
            self._risen = 0
            self._only_rose = False
            if self._by_key is None:
                self._make_index()
        self._add(key, content)
        if self._by_key is not None and self._risen >= self._window:
            # A whole window has risen again: the ring is in order, as it would be had it begun here.
            self._by_key = None
            self._gone = _NO_NUMBER
            self._first, self._first_contents = array("q"), array("q")
        return Sighting.DUPLICATE if expected else sighting

    def rise_by_one(self, number: int, content: int) -> None:
        """Remember one new event, as `rise` does: 0.4 instead of 3 us, and a live stream brings them singly."""
        if len(self._first) < _FIRST:
            self._first.append(number)
            self._first_contents.append(content)
        self._top = number
        self._risen += 1
        self._on_this_connection += 1
        if self._resumed_from is not None:
            self._pass_resumed(1)
        keys = self._keys
        if len(keys) < self._window:
            keys.append(number)
            self._contents.append(content)
            return
        slot = self._oldest
        self._gone = keys[slot]
        keys[slot] = number
        self._contents[slot] = content
        self._oldest = (slot + 1) % self._window

    def rise(self, numbers: array[int], contents: array[int]) -> None:
        """
        Remember a run of new events; 0.05 us for each, where `remember` takes 1.5.

        Args:
            numbers: The numbers of their ids, each higher than the one before and the first above `new_above`.
            contents: For each, the hash of its number, type and data.
        """
        self._top = numbers[-1]
        self._risen += len(numbers)
        self._on_this_connection += len(numbers)
        self._pass_resumed(len(numbers))
        first = _FIRST - len(self._first)
        if first:
            self._first.extend(numbers[:first])
            self._first_contents.extend(contents[:first])
        room = self._window - len(self._keys)
        if room:
            self._keys.extend(numbers[:room])
            self._contents.extend(contents[:room])
            if len(self._keys) == self._window:  # without what arrays keep in reserve
                self._keys, self._contents = array("q", self._keys), array("q", self._contents)
        done = room
        while done < len(numbers):
            start = self._oldest
            stop = min(start + len(numbers) - done, self._window)
            self._gone = self._keys[stop - 1]
            self._keys[start:stop] = numbers[done : done + stop - start]
            self._contents[start:stop] = contents[done : done + stop - start]
            self._oldest = stop % self._window
            done += stop - start

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._contents)

    def _look(self, key: int, content: int, slot: int | None) -> Sighting:
        if slot is None:
            return self._look_beyond(key, content)
        known = self._contents[slot] == content
        if not known and self._by_key is not None and not self.meaningless:
            # Of several events with one id, any may be this one.
            first = bisect_left(self._by_key, key, key=self._keys.__getitem__)
            last = bisect_right(self._by_key, key, key=self._keys.__getitem__)
            known = content in map(self._contents.__getitem__, self._by_key[first:last])
        return Sighting.DUPLICATE if known else Sighting.CONFLICT

    def _look_beyond(self, key: int, content: int) -> Sighting:
        """
        Say what is known of an id that is not in the window.

        While ids rise, those that have left the window are known by their number, so that a server that replays
        its whole backlog repeats nothing, however long it is.  Only a connection that was asked to resume can be
        replaying, and only from where this stream began; if the first events differ, it is no replay.
        """
        if not (
            self._replaying and self._by_key is None and self._first and self._first[0] <= key <= self._gone
        ):
            return Sighting.NEW
        at = bisect_left(self._first, key)
        if at < len(self._first) and self._first[at] == key and self._first_contents[at] != content:
            return Sighting.CONFLICT
        return Sighting.DUPLICATE

    def _find(self, key: int) -> int | None:
        """Return the slot of the youngest event with this key, `None` if there is none."""
        keys = self._keys
        if self._by_key is not None:
            at = bisect_right(self._by_key, key, key=keys.__getitem__) - 1
            slot = self._by_key[at] if at >= 0 else -1
        elif key > self._top or not keys:
            return None
        elif key >= keys[0]:  # the younger part of the ring, which is all of it until it wraps round
            slot = bisect_right(keys, key, 0, self._oldest or len(keys)) - 1
        else:
            slot = bisect_right(keys, key, self._oldest, len(keys)) - 1
        return slot if slot >= 0 and keys[slot] == key else None

    def _add(self, key: int, content: int) -> None:
        keys, contents = self._keys, self._contents
        if self._by_key is None and len(self._first) < _FIRST:
            self._first.append(key)
            self._first_contents.append(content)
        self._on_this_connection += 1
        self._pass_resumed(1)
        if len(keys) < self._window:
            slot = len(keys)
            keys.append(key)
            contents.append(content)
        else:
            slot = self._oldest
            if self._by_key is None:
                self._gone = keys[slot]
            else:
                del self._by_key[bisect_left(self._by_key, keys[slot], key=keys.__getitem__)]
            keys[slot], contents[slot] = key, content
            self._oldest = (slot + 1) % self._window
        if self._by_key is not None:
            # Of equal hashes the youngest stands last.
            insort_right(self._by_key, slot, key=keys.__getitem__)

    def _pass_resumed(self, events: int) -> None:
        """Let the id to resume from grow older, and leave the window in its turn."""
        self._resumed_for -= events
        if self._resumed_for <= 0:
            self._resumed_from = None

    def _make_index(self) -> None:
        slots = [*range(self._oldest, len(self._keys)), *range(self._oldest)]
        self._by_key = array("I", sorted(slots, key=self._keys.__getitem__))


def _key(event_id: str) -> int:
    """Return an id's number, or a hash of it, which is negative."""
    number = number_of(event_id)
    if number != _NO_NUMBER:
        return number
    hashed = hash(event_id)
    return hashed if hashed < 0 else ~hashed
