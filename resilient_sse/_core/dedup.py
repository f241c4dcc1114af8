"""
Which events were seen before.

Theory of operation.  An event is known by its id together with its type and data.  Two rings of 64-bit hashes
remember the last ones, 16 bytes an event, in the order of arrival.  Most servers count: while ids are decimal and
rise, the ring of ids is in order by itself, an id above the highest is new by one comparison, any other is found
by bisection, and what has left the ring is known by its rank.  The first id that does not rise has an index made:
for each of as many buckets the chain of the events whose ids fall into it, the youngest first, 8 bytes an event.
Nothing is ever taken out of a chain: it ends where it leaves the ring.  A dict of the same hashes takes six times
as much, which counts when a process holds thousands of streams.

Python keys its string hash with a secret for each process, so no server can aim for a collision; by chance one
would need some 10**16 events.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from enum import Enum
from operator import lt
from typing import Literal, TypeAlias, get_args

Dedup: TypeAlias = Literal["auto", "always", "replay", "off"]
DEDUP_MODES: tuple[Dedup, ...] = get_args(Dedup)

_MAX_DIGITS = 19
# So many texts of digits are shorter than that.
_SHORTER: list[int] = [10**digits // 9 for digits in range(_MAX_DIGITS + 1)]
_HIGHEST = str(2**63 - 1 - _SHORTER[_MAX_DIGITS])  # the last one whose rank fits into 64 bits with a sign

_OPAQUE = -(2**63)  # or-ed to a hash it makes it negative: no rank

# The content of the event that the stream started behind, which nobody knows; no hash is likely to be this.
_ANY = 0

# So many events from the beginning of a run of rising ids are known for good: they tell a server that replays all
# it has from one that begins its numbering anew.
_FIRST = 16

_FEWEST_BUCKETS = 64
_LAST_PLACE = 2**32 - 1


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
        beyond: Whether ids that rise are known when they have left the window, too.  A `Sequence` knows more.
    """

    __slots__ = (
        "_beyond", "_buckets", "_contents", "_count", "_dropping", "_first", "_first_contents", "_gone", "_keys",
        "_mode", "_older", "_on_this_connection", "_only_rose", "_replaying", "_replays_all", "_risen", "_top",
        "_window", "meaningless",
    )  # fmt: skip

    def __init__(self, window: int, mode: Dedup = "always", *, beyond: bool = True) -> None:
        self._window = window
        self._beyond = beyond
        self._mode = mode
        self.meaningless = False
        """Whether ids were shown not to name events, and nothing is dropped for that reason (`auto` only)."""
        self._replaying = self._dropping = False
        self.clear()
        self.connected(1, resumed=False)

    def clear(self) -> None:
        """Forget everything: the server has started its numbering anew."""
        self._keys, self._contents = array("q"), array("q")
        self._count = 0  # the event at place n, counted from 1, is in slot n - 1 of the ring, modulo its size
        self._top = 0
        self._only_rose = True
        self._risen = 0
        self._on_this_connection = 0
        self._begin_run()

    def _begin_run(self) -> None:
        """Begin a run of rising ids, which needs no index."""
        # The place of the youngest event in each bucket, 0 for none; empty without an index.
        self._buckets = array("I")
        self._older = array("I")  # for each slot, the place of the next older event in the same bucket
        self._first, self._first_contents = array("q"), array("q")
        self._gone = 0

    def connected(self, connection: int, *, resumed: bool) -> None:
        """Begin a connection; *resumed* tells whether it was asked to resume after an id."""
        self._replaying = resumed
        self._replays_all = False
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

    def resume_from(self, event_id: str) -> None:
        """Begin anew, with the event that has this id, whatever its content, if the server replays inclusively."""
        self.clear()
        if event_id:
            key = _key(event_id)
            self._top = max(key, 0)
            self._put(key, _ANY)

    def look(self, event_id: str, event: str, data: str) -> Sighting:
        """Return what is known of an event, and remember nothing."""
        key = _key(event_id)
        if key > self._top:
            return Sighting.NEW
        return self._look(event_id, key, hash((key, event, data)), self._find(key))

    def remember(self, event_id: str, event: str, data: str) -> Sighting:
        """Put an event into the window, which may push the oldest one out, and say what was known of it."""
        key = _key(event_id)
        return self._remember(event_id, key, hash((key, event, data)))

    def _remember(self, event_id: str, key: int, content: int) -> Sighting:
        sighting = Sighting.NEW
        if key > self._top:
            self._risen += 1
            self._top = key
        else:
            slot = self._find(key)
            if slot is not None or not self._buckets:
                sighting = self._look(event_id, key, content, slot)
            if sighting is Sighting.DUPLICATE:
                if slot is None:
                    self._replays_all = True
                elif self._contents[slot] == _ANY:
                    self._contents[slot] = content
                return sighting
            if slot is not None and self._came_on_this_connection(slot):
                self.meaningless = True
            self._risen = 0
            self._only_rose = False
            if not self._buckets:
                self._make_index()
        self._put(key, content)
        self._on_this_connection += 1
        if not self._buckets:
            if len(self._first) < _FIRST:
                self._first.append(key)
                self._first_contents.append(content)
        elif self._risen >= self._window:
            self._begin_run()  # a whole window has risen: the ring is in order, as if it had begun here
        return sighting

    def remember_run(
        self, ids: Sequence[str], events: Iterable[str], data: Iterable[str]
    ) -> tuple[int, list[int]]:
        """
        Remember events at once: 0.4 us for each while ids rise, and 2 us for others.

        Returns:
            How many were conflicts, and the places of those that are to be dropped.
        """
        keys, rising = _keys(ids)
        contents = array("q", list(map(hash, zip(keys, events, data, strict=False))))
        conflicts, before, dropped = 0, 0, list[int]()
        if rising and keys[0] > self._top and not self._buckets:
            self._add(keys, contents)
            return 0, dropped
        for at, key in enumerate(keys):
            content = contents[at]
            again = content == before  # which spares a flood of one event most of its cost
            sighting = Sighting.DUPLICATE if again else self._remember(ids[at], key, content)
            before = content
            if sighting is Sighting.CONFLICT:
                conflicts += 1
            elif sighting is Sighting.DUPLICATE and self.drops:
                dropped.append(at)
        return conflicts, dropped

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._contents)

    def _look(self, event_id: str, key: int, content: int, slot: int | None) -> Sighting:
        if slot is None:
            return self._look_beyond(event_id, key, content)
        known = self._contents[slot] in (content, _ANY)
        if not known and self._came_on_this_connection(slot):
            return Sighting.CONFLICT  # an id that came twice here names no event, whatever came before
        if not known and self._buckets and not self.meaningless:
            known = self._has(content)
        return Sighting.DUPLICATE if known else Sighting.CONFLICT

    def _has(self, content: int) -> bool:
        """Whether any event of the window has this content: one id may have several, at the speed of memory."""
        return content.to_bytes(8, sys.byteorder, signed=True) in self._contents.tobytes()

    def _came_on_this_connection(self, slot: int) -> bool:
        age = (self._count - 1 - slot) % len(self._keys)
        return self._mode == "auto" and age < self._on_this_connection

    def _look_beyond(self, event_id: str, key: int, content: int) -> Sighting:
        """
        Return what is known of an id that is not in the window.

        While ids rise, those that have left the window are known by their rank, so that a server that replays
        its whole backlog repeats nothing, however long it is.  Only a connection that was asked to resume can be
        replaying, and only if it began where this stream began, with the events that are known from there.  One
        that goes on further down with ids that were seen long ago may be a server that has lost its tail and
        numbers anew: losing a real event is worse than repeating one.
        """
        first = self._first
        looks = self._beyond and self._replaying and not self._buckets
        if not (looks and first and first[0] <= key <= self._gone):
            return Sighting.NEW
        if event_id[0] == "0" and _SHORTER[len(event_id)] > first[0]:
            return Sighting.NEW  # no number of this run: the first one was written with fewer digits
        at = bisect_left(first, key)
        if at < len(first) and first[at] == key:
            return Sighting.DUPLICATE if self._first_contents[at] == content else Sighting.CONFLICT
        return Sighting.DUPLICATE if self._replays_all else Sighting.NEW

    def _find(self, key: int) -> int | None:
        """Return the slot of the youngest event with this key, `None` if there is none."""
        keys, buckets = self._keys, self._buckets
        if buckets:
            gone = self._count - len(keys)
            place = buckets[(key if key < 0 else hash(str(key))) & len(buckets) - 1]
            while place > gone:
                slot = (place - 1) % self._window
                if keys[slot] == key:
                    return slot
                place = self._older[slot]
            return None
        if key > self._top or not keys:
            return None
        oldest = self._count % len(keys)
        if key >= keys[0]:  # the younger part of the ring, which is all of it until it wraps round
            slot = bisect_right(keys, key, 0, oldest or len(keys)) - 1
        else:
            slot = bisect_right(keys, key, oldest, len(keys)) - 1
        return slot if slot >= 0 and keys[slot] == key else None

    def _put(self, key: int, content: int) -> None:
        keys, contents, slot = self._keys, self._contents, self._count % self._window
        self._count += 1
        if slot == len(keys):
            keys.append(key)
            contents.append(content)
        else:
            self._gone = keys[slot]
            keys[slot], contents[slot] = key, content
        if self._buckets and len(keys) <= len(self._buckets) and self._count <= _LAST_PLACE:
            self._link(key, self._count)
        elif self._buckets:
            self._make_index()

    def _add(self, keys: array[int], contents: array[int]) -> None:
        """Put events of rising ids into the ring: 0.05 us for each."""
        self._risen += len(keys)
        self._top = keys[-1]
        self._on_this_connection += len(keys)
        first = _FIRST - len(self._first)
        if first:
            self._first.extend(keys[:first])
            self._first_contents.extend(contents[:first])
        done = room = self._window - len(self._keys)
        if room:
            self._keys.extend(keys[:room])
            self._contents.extend(contents[:room])
            if len(self._keys) == self._window:  # without what arrays keep in reserve
                self._keys, self._contents = array("q", self._keys), array("q", self._contents)
        while done < len(keys):
            start = (self._count + done) % self._window
            stop = min(start + len(keys) - done, self._window)
            self._gone = self._keys[stop - 1]
            self._keys[start:stop] = keys[done : done + stop - start]
            self._contents[start:stop] = contents[done : done + stop - start]
            done += stop - start
        self._count += len(keys)

    def _make_index(self) -> None:
        keys, size = self._keys, _FEWEST_BUCKETS
        while size < min(2 * len(keys), self._window):
            size *= 2
        self._buckets, self._older = (
            array("I", bytes(4 * size)),
            array("I", bytes(4 * min(size, self._window))),
        )
        if keys:  # the places begin anew
            self._count = len(keys) + self._count % len(keys)
        for place in range(self._count - len(keys), self._count):
            self._link(keys[place % self._window], place + 1)

    def _link(self, key: int, place: int) -> None:
        """Put an event at the head of the chain of its bucket."""
        bucket = (key if key < 0 else hash(str(key))) & len(self._buckets) - 1
        self._older[(place - 1) % self._window] = self._buckets[bucket]
        self._buckets[bucket] = place


def _key(event_id: str) -> int:
    """
    Return the rank of an id: its place among all texts of ASCII digits, shorter ones first; or a negative hash.

    Numbers rise by it, whether or not zeros keep them at one width, and no two texts have the same.
    """
    digits = len(event_id)
    fits = digits < _MAX_DIGITS or (digits == _MAX_DIGITS and event_id <= _HIGHEST)
    if fits and event_id.isdecimal() and event_id.isascii():
        return int(event_id) + _SHORTER[digits]
    return hash(event_id) | _OPAQUE


def _keys(ids: Sequence[str]) -> tuple[array[int], bool]:
    """Return the keys of ids, and whether they rise."""
    digits, text = len(ids[0]), "".join(ids)
    if not (text.isdecimal() and text.isascii()):
        if not any(map(str.isdecimal, ids)):
            return array("q", list(map(_OPAQUE.__or__, map(hash, ids)))), False
    elif digits < _MAX_DIGITS and set(map(len, ids)) == {digits}:
        first, last = _key(ids[0]), _key(ids[-1])
        rising = all(map(lt, ids, ids[1:]))
        if rising and last - first == len(ids) - 1:
            # As many texts of one width as there are numbers between the ends: to convert them takes 0.25 us each.
            return array("q", range(first, last + 1)), True
        return array("q", list(map(_SHORTER[digits].__add__, map(int, ids)))), rising
    keys = array("q", map(_key, ids))
    return keys, all(map(lt, keys, keys[1:]))
