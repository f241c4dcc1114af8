"""Which ids can be positions, and those that the caller's own function reads from events that have none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from resilient_sse._core.events import ServerSentEvent, make_event
from resilient_sse._core.parser import Block

CursorFunction: TypeAlias = Callable[[ServerSentEvent], "str | None"]
"""Returns the id to resume after from an event, or `None` if the event does not move the position."""

_MAX_DIGITS = 40  # int() of a long digit string costs time that the server decides
_COUNTED = re.compile(rf"(|.*[^0-9A-Za-z])([0-9]{{1,{_MAX_DIGITS}}})", re.DOTALL)

_MAX_CURSOR_BYTES = 4096

# No control characters anywhere, no space at the edges; lone surrogates cannot be UTF-8.
_CURSOR = re.compile(
    r"[^\x00-\x20\x7f\ud800-\udfff](?:[^\x00-\x1f\x7f\ud800-\udfff]*[^\x00-\x20\x7f\ud800-\udfff])?"
)


def usable_as_cursor(event_id: str) -> bool:
    """Whether a header can carry *event_id*: no control characters, no edge spaces, at most 4 KiB of UTF-8."""
    if event_id.isascii() and event_id.isalnum():  # the usual ones, at a fifth of the cost
        return len(event_id) <= _MAX_CURSOR_BYTES
    if _CURSOR.fullmatch(event_id) is None:
        return False
    return len(event_id) <= _MAX_CURSOR_BYTES // 4 or len(event_id.encode("utf-8")) <= _MAX_CURSOR_BYTES


@dataclass(slots=True)
class PlacedBlock(Block):
    """A block whose `id` is the position that the caller's function has given it; *own_id* was written in it."""

    own_id: str | None = None


class CursorReader:
    """
    Gives blocks their positions, and knows what a server sends again.

    Of several events at one position, or none, ids tell no repetition.  So where a connection has resumed,
    contents are compared: what came since the position moved comes again in its order, until something differs;
    and at the very position that was resumed from, what is known by its content was sent before.  *window* events
    are remembered.
    """

    def __init__(self, function: CursorFunction, window: int) -> None:
        self._function = function
        self._window = window
        self._contents: deque[int] = deque(maxlen=window)
        self._since: list[int] = []
        self._matched: int | None = None
        self._resumed_at: str | None = None
        self._position = self._last = ""
        self._opaque = False

    def connected(self, position: str, *, resumed: bool) -> None:
        self._position = self._last = position
        self._matched = 0 if resumed else None
        self._resumed_at = position if resumed else None

    def place(self, block: Block) -> PlacedBlock:
        """Ask the caller's function, which may raise, for the position of a block."""
        if block.data is None:
            return PlacedBlock(retry=block.retry)
        event = make_event(block.event or "message", block.data, block.id, self._last, block.retry, 1)
        position = self._function(event)
        if not (position is None or isinstance(position, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"cursor must return a string or None, not {position!r}")
        self._last = position or self._last
        return PlacedBlock(block.event, block.data, position or None, block.retry, block.id)

    def comes_again(self, position: str | None, kind: str, data: str) -> bool:
        """Whether an event was delivered before, as far as its position leaves that open."""
        content = hash((kind, data))
        if position:
            return position == self._resumed_at and content in self._contents
        matched = self._matched
        if matched is None or matched >= len(self._since) or self._since[matched] != content:
            return False
        self._matched = matched + 1
        return True

    def delivered(self, position: str | None, kind: str, data: str) -> None:
        """Remember an event; its position, if it has one, was `moved` to."""
        content = hash((kind, data))
        self._contents.append(content)
        if position:
            return
        if self._matched is not None:  # what this connection has not repeated will not come any more
            del self._since[self._matched :]
            self._matched = None
        if len(self._since) < self._window:
            self._since.append(content)

    def moved(self, position: str) -> None:
        if self._position and position and _compared(self._position, position) is None:
            self._opaque = True
        self._since.clear()
        self._matched = None
        self._position = position

    def falls_back(self, position: str, *, conflicts: bool = False) -> str | None:
        """Return the position in force if the new one, which *conflicts* if another event had it, is older."""
        # Positions are opaque, but while each counts at its end and begins like the one before, they are compared.
        order = None if self._opaque else _compared(self._position, position)
        older = conflicts and position != self._position if order is None else order < 0
        return self._position if older and self._position else None


def _compared(before: str, now: str) -> int | None:
    """Return by how much a position is higher than the one before, `None` if nobody knows."""
    first, second = _COUNTED.fullmatch(before), _COUNTED.fullmatch(now)
    if first and second and first[1] == second[1]:
        return int(second[2]) - int(first[2])
    return 0 if before == now else None
