"""The settings of a stream, checked once, with the argument's name in every complaint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, get_args

from resilient_sse._core.backoff import Backoff, Delays
from resilient_sse._core.checks import (
    answered_at_once,
    check_callable,
    check_choice,
    check_count,
    check_seconds,
    event_types,
)
from resilient_sse._core.cursor import CursorFunction, usable_as_cursor
from resilient_sse._core.dedup import DEDUP_MODES, Dedup
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.messages import Messages, check_messages
from resilient_sse._core.sequence import Numbering
from resilient_sse._core.states import Verdict

if TYPE_CHECKING:
    from resilient_sse._core.errors import ResilientSSEError

StallOn: TypeAlias = Literal["bytes", "frames", "events"]
OnEof: TypeAlias = Literal["reconnect", "complete"]
EventFilter: TypeAlias = Iterable[str] | Callable[[ServerSentEvent], bool]
Total: TypeAlias = Callable[[ServerSentEvent], int | None]
Until: TypeAlias = str | Callable[[ServerSentEvent], bool]
Classify: TypeAlias = "Callable[[ResilientSSEError], Verdict | None]"

SPENT_BODY = "the request body was an iterator and is spent; pass bytes or a function that returns them"
"""Why a request whose body was an iterator is not sent again."""

_HEARTBEATS = frozenset({"heartbeat"})

# The notice comes at this share of the stall timeout: 25 s of 30 s.
_WAITING_SHARE = 5 / 6

_FUNCTIONS = {
    "cursor": "a function of the event that returns a string or None",
    "classify": "a function of the error",
    "sequence": "a function of the id, such as resilient_sse.integers",
    "total": "a function of the completing event",
}
_FILTERS = {"events": "a collection of event types or a function of the event", "error_events": "a function"}


class LivenessSettings(TypedDict, total=False):
    """The liveness arguments of `ResilientStream`, for presets: `ResilientStream(url, **CONSERVATIVE)`."""

    connect_timeout: float | None
    stall_timeout: float | None
    waiting_after: float | None
    event_timeout: float | None
    stall_on: StallOn


CONSERVATIVE: LivenessSettings = {"stall_timeout": 35.0, "waiting_after": 25.0}
"""For servers without heartbeats on slow links: the notice as usual, five seconds more before giving up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """
    Everything the session decides by: arguments of `ResilientStream`, and four facts about its request.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.
    """

    last_event_id: str | None = None
    cursor: CursorFunction | None = None
    connect_timeout: float | None = 10.0
    stall_timeout: float | None = 30.0
    waiting_after: float | None = None
    event_timeout: float | None = None
    stall_on: StallOn = "bytes"
    backoff: Backoff | Delays = field(default_factory=Backoff)
    max_retries: int | None = 5
    max_server_delay: float = 60.0
    classify: Classify | None = None
    dedup: Dedup = "auto"
    dedup_window: int = 1000
    sequence: Numbering | None = None
    heartbeat_events: InitVar[Iterable[str]] = ("heartbeat",)
    heartbeats: frozenset[str] = field(init=False)  # those that nobody asks for by name
    events: EventFilter | None = None
    until: Until | None = None
    error_events: EventFilter | None = ()
    total: Total | None = None
    on_eof: OnEof = "reconnect"
    max_event_bytes: int | None = 16 * 1024 * 1024
    messages: Messages | None = None
    flight_recorder: int = 0
    resumes: bool = False  # the caller's own function says how to go on once there was an answer
    repeatable: bool = True  # the method is safe: the request may be sent again whatever has happened
    replayable_body: bool = True
    fresh_credentials: bool = False  # the next attempt may carry other credentials than the last

    def __post_init__(self, heartbeat_events: Iterable[str]) -> None:
        given = self.last_event_id
        if given is not None and not isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"last_event_id must be a string or None, not {given!r}")
        if given and not usable_as_cursor(given):
            raise ValueError(
                "last_event_id cannot be sent in a header: no control characters, no spaces at its ends, "
                f"at most 4 KiB; got {given[:80]!r}"
            )
        for name in ("connect_timeout", "stall_timeout", "event_timeout"):
            check_seconds(name, getattr(self, name), positive=True)
        if self.waiting_after != math.inf:  # the way to switch the notice off alone
            check_seconds("waiting_after", self.waiting_after)
        check_choice("stall_on", self.stall_on, get_args(StallOn))
        if self.stall_timeout is not None and self.stall_timeout <= self.notice < math.inf:
            raise ValueError(
                f"waiting_after must be shorter than stall_timeout ({self.stall_timeout} s), "
                f"not {self.waiting_after!r}"
            )
        if isinstance(self.backoff, type):
            raise TypeError(f"backoff must be an instance, such as Backoff(), not {self.backoff!r}")
        if not isinstance(self.backoff, Backoff):
            check_callable(
                "backoff", self.backoff, what="a Backoff or a function that returns delays in seconds"
            )
        check_count("max_retries", self.max_retries, least=0)
        check_seconds("max_server_delay", self.max_server_delay, positive=True, optional=False)
        check_choice("dedup", self.dedup, DEDUP_MODES)
        check_count("dedup_window", self.dedup_window, least=1, optional=False)
        check_choice("on_eof", self.on_eof, get_args(OnEof))
        check_count("max_event_bytes", self.max_event_bytes, least=1)
        check_count("flight_recorder", self.flight_recorder, least=0, optional=False)
        for name, what in _FUNCTIONS.items():
            if (function := getattr(self, name)) is not None:
                check_callable(name, function, what=what)
        if self.total is not None and self.until is None:
            raise ValueError("total is read from the event that completes the stream; give until=")
        self._copy_event_types(heartbeat_events)
        check_messages(self.messages)
        if self.messages is not None and not callable(self.messages):
            object.__setattr__(self, "messages", dict(self.messages))

    def _copy_event_types(self, heartbeats: Iterable[str]) -> None:
        named: set[str] = set()
        if isinstance(self.until, str):
            named.add(self.until)
        elif self.until is not None:
            check_callable("until", self.until, what="an event type or a function of the event")
        for name, what in _FILTERS.items():
            if callable(given := getattr(self, name)):
                check_callable(name, given, what=what)
            elif given is not None:
                kinds = event_types(name, given)
                object.__setattr__(self, name, kinds or ())  # an empty set is 216 bytes, for each stream
                named |= kinds
        kinds = event_types("heartbeat_events", heartbeats) - named
        object.__setattr__(self, "heartbeats", _HEARTBEATS if kinds == _HEARTBEATS else kinds)  # as above

    @property
    def notice(self) -> float:
        """Seconds of silence before the state becomes WAITING; infinite for never."""
        if self.waiting_after is not None:
            return self.waiting_after
        return math.inf if self.stall_timeout is None else self.stall_timeout * _WAITING_SHARE

    @property
    def looks_at_each(self) -> bool:
        """Whether something set here looks at single events, which must then be judged one by one."""
        asked = (self.sequence, self.events, self.until, self.cursor)
        return self.error_events not in (None, ()) or any(each is not None for each in asked)

    @property
    def asks(self) -> bool:
        """Whether a function is asked about single events, and may raise, or one of them may be an error."""
        functions = callable(self.events) or callable(self.until) or self.total is not None
        return functions or bool(self.error_events)

    def wants(self, event: ServerSentEvent) -> bool:
        return self.events is None or _takes("events", self.events, event)

    def is_error(self, event: ServerSentEvent) -> bool:
        return bool(self.error_events) and _takes("error_events", self.error_events, event)

    def ends_with(self, event: ServerSentEvent) -> bool:
        until = self.until
        return until is not None and _takes("until", (until,) if isinstance(until, str) else until, event)


def _takes(name: str, wanted: EventFilter | None, event: ServerSentEvent) -> bool:
    """Whether event types, or a function, take *event*."""
    if callable(wanted):
        return bool(answered_at_once(name, wanted(event)))
    return wanted is not None and event.event in wanted
