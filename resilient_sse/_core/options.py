"""The settings of a stream, grouped by concern and checked once, with the argument's name in every complaint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, get_args

from resilient_sse._core import messages
from resilient_sse._core.backoff import Backoff, Delays
from resilient_sse._core.checks import (
    check_callable,
    check_choice,
    check_count,
    check_seconds,
)
from resilient_sse._core.dedup import DEDUP_MODES
from resilient_sse._core.intake import IntakeOptions, usable_as_cursor
from resilient_sse._core.states import Verdict

if TYPE_CHECKING:
    from resilient_sse._core.errors import ResilientSSEError
    from resilient_sse._core.messages import Messages

__all__ = [
    "CONSERVATIVE",
    "SPENT_BODY",
    "Classify",
    "Liveness",
    "LivenessSettings",
    "OnEof",
    "Retry",
    "StallOn",
    "StreamOptions",
    "check_intake",
]

StallOn: TypeAlias = Literal["bytes", "frames", "events"]
OnEof: TypeAlias = Literal["reconnect", "complete"]
Classify: TypeAlias = "Callable[[ResilientSSEError], Verdict | None]"

SPENT_BODY = "the request body was an iterator and is spent; pass bytes or a function that returns them"
"""Why a request whose body was an iterator is not sent again."""

# The notice comes at this share of the stall timeout: 25 s of 30 s.
_WAITING_SHARE = 5 / 6


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
class Liveness:
    """How long silence may last."""

    connect_timeout: float | None = 10.0
    stall_timeout: float | None = 30.0
    waiting_after: float | None = None
    event_timeout: float | None = None
    stall_on: StallOn = "bytes"

    def __post_init__(self) -> None:
        check_seconds("connect_timeout", self.connect_timeout, positive=True)
        check_seconds("stall_timeout", self.stall_timeout, positive=True)
        if self.waiting_after != math.inf:  # the way to switch the notice off alone
            check_seconds("waiting_after", self.waiting_after)
        check_seconds("event_timeout", self.event_timeout, positive=True)
        check_choice("stall_on", self.stall_on, get_args(StallOn))
        if self.stall_timeout is not None and self.stall_timeout <= self.notice < math.inf:
            raise ValueError(
                f"waiting_after must be shorter than stall_timeout ({self.stall_timeout} s), "
                f"not {self.waiting_after!r}"
            )

    @property
    def notice(self) -> float:
        """Seconds of silence before the state becomes WAITING; infinite for never."""
        if self.waiting_after is not None:
            return self.waiting_after
        return math.inf if self.stall_timeout is None else self.stall_timeout * _WAITING_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What to do about failures, and how often."""

    backoff: Backoff | Delays = field(default_factory=Backoff)
    max_retries: int | None = 5
    max_server_delay: float = 60.0
    classify: Classify | None = None

    def __post_init__(self) -> None:
        if isinstance(self.backoff, type):
            raise TypeError(f"backoff must be an instance, such as Backoff(), not {self.backoff!r}")
        if not isinstance(self.backoff, Backoff):
            check_callable(
                "backoff", self.backoff, what="a Backoff or a function that returns delays in seconds"
            )
        check_count("max_retries", self.max_retries, least=0)
        check_seconds("max_server_delay", self.max_server_delay, positive=True, optional=False)
        if self.classify is not None:
            check_callable("classify", self.classify, what="a function of the error")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """
    Everything the session decides by.

    Attributes:
        intake: How events are judged.
        liveness: How long silence may last.
        retry: What to do about failures.
        on_eof: What a clean end of the response means.
        max_event_bytes: The largest event to accept.
        messages: The texts of state changes.
        flight_recorder: How many of the last lines of the wire are kept for the error that ends a stream.
        resumes: Whether the caller's own function says how to go on once there was an answer.
        repeatable: Whether the request may be sent again whatever has happened: its method is safe.
        replayable_body: Whether the body of the request can be produced again.
        fresh_credentials: Whether the next attempt may carry other credentials than the last.
    """

    intake: IntakeOptions = field(default_factory=IntakeOptions)
    liveness: Liveness = field(default_factory=Liveness)
    retry: Retry = field(default_factory=Retry)
    on_eof: OnEof = "reconnect"
    max_event_bytes: int | None = 16 * 1024 * 1024
    messages: Messages | None = None
    flight_recorder: int = 0
    resumes: bool = False
    repeatable: bool = True
    replayable_body: bool = True
    fresh_credentials: bool = False

    def __post_init__(self) -> None:
        check_choice("on_eof", self.on_eof, get_args(OnEof))
        check_count("max_event_bytes", self.max_event_bytes, least=1)
        check_count("flight_recorder", self.flight_recorder, least=0, optional=False)
        check_intake(self.intake)
        _check_messages(self.messages)
        if self.messages is not None and not callable(self.messages):
            object.__setattr__(self, "messages", dict(self.messages))

    def obstacle(self, *, dispatched: bool, resumable: bool, answered: bool = False) -> str | None:
        """
        Say why the request must not be sent again.

        Args:
            dispatched: Whether events came.
            resumable: Whether an id can resume them.
            answered: Whether the request was accepted before.
        """
        if self.resumes and answered:
            return None  # that is decided when the next request is made
        if not self.replayable_body:
            return SPENT_BODY
        if self.repeatable or resumable or not dispatched:
            return None
        return (
            "events were delivered and none had an id to resume from; sending the request again would repeat"
        )


def check_intake(options: IntakeOptions) -> None:
    """
    Check the arguments that decide about events.

    Raises:
        TypeError: One has the wrong type.
        ValueError: One is out of its range.
    """
    given = options.last_event_id
    if given is not None and not isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"last_event_id must be a string or None, not {given!r}")
    if given and not usable_as_cursor(given):
        raise ValueError(
            "last_event_id cannot be sent in a header: no control characters, no spaces at its ends, "
            f"at most 4 KiB; got {given[:80]!r}"
        )
    check_choice("dedup", options.dedup, DEDUP_MODES)
    check_count("dedup_window", options.dedup_window, least=1, optional=False)
    if options.sequence is not None:
        check_callable(
            "sequence", options.sequence, what="a function of the id, such as resilient_sse.integers"
        )
    if options.cursor is not None:
        check_callable("cursor", options.cursor, what="a function of the event that returns a string or None")
    if options.total is not None:
        check_callable("total", options.total, what="a function of the completing event")
        if options.until is None:
            raise ValueError("total is read from the event that completes the stream; give until=")
    if options.until is not None and not isinstance(options.until, str):
        check_callable("until", options.until, what="an event type or a function of the event")
    if callable(options.error_events):
        check_callable("error_events", options.error_events)
    if callable(options.events):
        check_callable(
            "events", options.events, what="a collection of event types or a function of the event"
        )


def _check_messages(texts: Messages | None) -> None:
    if texts is None:
        return
    if callable(texts):
        check_callable("messages", texts, what="a mapping or a function of the change")
        return
    if not isinstance(texts, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"messages must be a mapping or a callable, not {texts!r}")
    for key, template in texts.items():
        if key not in messages.DEFAULT_MESSAGES:
            known = ", ".join(messages.DEFAULT_MESSAGES)
            raise ValueError(f"messages: there is no text named {key!r}; the names are {known}")
        try:
            messages.render(template, attempt=1, max_retries=5, delay=1.0)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:
            raise ValueError(
                f"messages: the text {key!r} cannot be filled in ({exc!r}); it may use {{attempt}}, "
                "{max_retries}, {delay}, {error} and {reason}"
            ) from None
