"""What stands behind a hole in a numbered stream, held back until the hole is filled or given up."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.parser import Block

__all__ = ["NOTHING", "Delivery", "Holdback", "Queued"]

Delivery: TypeAlias = ServerSentEvent | Comment | Gap | Opened | Disconnected | Closed
Queued: TypeAlias = Block | Delivery


NOTHING: deque[Any] = deque()
"""For what is always empty where nobody needs it: an empty deque takes 760 bytes."""


class Holdback:
    """
    A run of items in the order of their numbers; what has none stays behind the block it follows.

    It holds what one read brought, per hole: the connection is dropped as soon as a hole shows.

    Args:
        number: Returns the number of an item, or `None`.
    """

    __slots__ = (
        "_items",
        "_number",
        "connection",
    )

    def __init__(self, number: Callable[[Queued], int | None]) -> None:
        self._number = number
        self._items: deque[Queued] = NOTHING
        self.connection = 0
        """The connection that brought the items."""

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._items)

    def hold(self, items: deque[Queued], connection: int) -> None:
        """Hold *items* as well."""
        self.connection = connection
        if not self._items:
            self._items = deque(items)
            return
        groups: list[tuple[int, list[Queued]]] = []
        for item in (*items, *self._items):
            number = self._number(item)
            if number is None and groups:
                groups[-1][1].append(item)
            else:
                groups.append((-sys.maxsize if number is None else number, [item]))
        groups.sort(key=lambda group: group[0])
        self._items = deque(item for _, group in groups for item in group)

    @property
    def last_number(self) -> int:
        """The highest number held."""
        for item in reversed(self._items):
            number = self._number(item)
            if number is not None:
                return number
        return -sys.maxsize

    def release(self, up_to: int | None = None) -> deque[Queued]:
        """Give back all, or what is numbered *up_to* or lower."""
        kept: deque[Queued] = deque()
        while up_to is not None and self._items and self.last_number > up_to:
            kept.appendleft(self._items.pop())
        released, self._items = self._items, kept
        return released

    def due(self, high: int | None, coming: int | None) -> Queued | None:
        """
        Give back the next item if its turn has come.

        Args:
            high: The last contiguous number; what is held with a lower one was replayed, and is dropped.
            coming: The number of what waits in the queue, which goes first if it is the same.
        """
        while self._items:
            number = self._number(self._items[0])
            if number is None or high is None or (number == high + 1 and coming != number):
                return self._items.popleft()
            if number > high:
                return None
            self._items.popleft()
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
