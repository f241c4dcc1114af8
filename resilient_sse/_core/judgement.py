"""By what events are judged: the settings, and which ids can resume a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from resilient_sse._core.checks import answered_at_once, event_types
from resilient_sse._core.cursor import CursorFunction
from resilient_sse._core.dedup import Dedup
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.sequence import Numbering

__all__ = ["EventFilter", "IntakeOptions", "Total", "Until", "usable_as_cursor"]

EventFilter: TypeAlias = Iterable[str] | Callable[[ServerSentEvent], bool]
Total: TypeAlias = Callable[[ServerSentEvent], int | None]
Until: TypeAlias = str | Callable[[ServerSentEvent], bool]

_MAX_CURSOR_BYTES = 4096

# No control characters anywhere, no space at the edges; lone surrogates cannot be UTF-8.
_CURSOR = re.compile(
    r"[^\x00-\x20\x7f\ud800-\udfff](?:[^\x00-\x1f\x7f\ud800-\udfff]*[^\x00-\x20\x7f\ud800-\udfff])?"
)


def usable_as_cursor(event_id: str) -> bool:
    """Whether a header can carry *event_id*: no control characters, no edge spaces, at most 4 KiB of UTF-8."""
    if _CURSOR.fullmatch(event_id) is None:
        return False
    return len(event_id) <= _MAX_CURSOR_BYTES // 4 or len(event_id.encode("utf-8")) <= _MAX_CURSOR_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """
    How events are judged; the names are those of `ResilientStream`.

    A type that is asked for by name is no heartbeat.

    Raises:
        TypeError: Event types are no strings.
    """

    last_event_id: str | None = None
    dedup: Dedup = "auto"
    dedup_window: int = 1000
    sequence: Numbering | None = None
    heartbeat_events: frozenset[str] = frozenset({"heartbeat"})
    events: EventFilter | None = None
    until: Until | None = None
    total: Total | None = None
    cursor: CursorFunction | None = None
    error_events: EventFilter | None = None

    def __post_init__(self) -> None:
        named: set[str] = {self.until} if isinstance(self.until, str) else set()
        if self.events is not None and not callable(self.events):
            kinds = event_types("events", self.events)
            object.__setattr__(self, "events", kinds)
            named |= kinds
        if self.error_events is not None and not callable(self.error_events):
            kinds = event_types("error_events", self.error_events)
            object.__setattr__(self, "error_events", kinds or None)
            named |= kinds
        heartbeats = event_types("heartbeat_events", self.heartbeat_events) - named
        object.__setattr__(self, "heartbeat_events", heartbeats)

    @property
    def looks_at_each(self) -> bool:
        """Whether something set here looks at single events, which must then be judged one by one."""
        asked = (self.sequence, self.events, self.until, self.error_events, self.cursor)
        return any(each is not None for each in asked)

    def wants(self, event: ServerSentEvent) -> bool:
        """Whether *event* passes the filter."""
        wanted = self.events
        if wanted is None:
            return True
        return bool(answered_at_once("events", wanted(event))) if callable(wanted) else event.event in wanted

    def is_error(self, event: ServerSentEvent) -> bool:
        """Whether the server says by *event* that the stream has failed."""
        named = self.error_events
        if callable(named):
            return bool(answered_at_once("error_events", named(event)))
        return named is not None and event.event in named

    def ends_with(self, event: ServerSentEvent) -> bool:
        """Whether the stream is complete with *event*."""
        until = self.until
        if until is None:
            return False
        if isinstance(until, str):
            return event.event == until
        return bool(answered_at_once("until", until(event)))
