"""
The streams of this process, and what is told of each.

Theory of operation.  A stream counts for itself, in `StreamStats`, and tells its observer what changes; the
observer writes down the latest of it.  An event costs the call of a function that returns at once.  The register
holds observers weakly: a stream that is collected leaves it.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from resilient_sse._core.errors import HandshakeError
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse._core.stats import StreamStats

if TYPE_CHECKING:
    from resilient_sse._core.ports import Fact, Observer

__all__ = ["EventTime", "Named", "Register", "describe"]

EventTime: TypeAlias = Callable[[ServerSentEvent], float]
"""Reads from an event when it was made, in seconds since 1970; a server of yours may say so in the data."""

_NAME_LENGTH: Final = 200

_COUNTED: Final = tuple(field.name for field in fields(StreamStats) if field.type == "int")
_read: Final[Callable[[object], tuple[int, ...]]] = attrgetter(*_COUNTED)


class Followed:
    """The observer of one stream, and the latest of what it was told."""

    __slots__ = (
        "__weakref__",
        "_event_time",
        "_register",
        "attempt",
        "due",
        "lag",
        "last_error",
        "name",
        "number",
        "reason",
        "since",
        "state",
        "stats",
    )

    def __init__(
        self, register: Register, stats: StreamStats, number: int, name: str, event_time: EventTime | None
    ) -> None:
        self._register = register
        self._event_time = event_time
        self.stats: StreamStats = stats
        self.number: int = number
        self.name: str = name
        self.state: StreamState = StreamState.CONNECTING
        self.since: float | None = None
        self.reason: str | None = None
        self.attempt: int = 0
        self.due: float | None = None
        self.lag: float | None = None
        self.last_error: str | None = None

    def __call__(self, fact: Fact, /) -> None:
        """Take note of *fact*."""
        if isinstance(fact, ServerSentEvent):
            if self._event_time is not None:
                lag = time.time() - self._event_time(fact)
                self.lag = lag if math.isfinite(lag) else None
        elif isinstance(fact, StateChange):
            if fact.new is not self.state or self.since is None:
                self.since = fact.at  # the next attempt of the same outage is no news
            self.state, self.attempt = fact.new, fact.attempt
            self.reason = fact.reason.value
            self.due = None if fact.delay is None else fact.at + fact.delay
            if fact.error is not None:
                self.last_error = _kind(fact.error, fact.status)
            if fact.new is StreamState.ERROR:
                self._register.failed += 1


class Named:
    """
    An instrument that gives its streams a name.

    Args:
        register: Where the streams are shown.
        name: The name; streams may share one.
        event_time: Tells when an event was made.
    """

    def __init__(self, register: Register, name: str | None, event_time: EventTime | None) -> None:
        self._register = register
        self._name = None if name is None else name[:_NAME_LENGTH]
        self._event_time = event_time

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream."""
        return self._register.follow(stats, self._name, self._event_time)


class Register:
    """
    The streams of a process that are alive.

    Attributes:
        attached: How many there have been.
        failed: How often one of them has given up.
    """

    def __init__(self) -> None:
        self._followed: weakref.WeakValueDictionary[int, Followed] = weakref.WeakValueDictionary()
        self.attached: int = 0
        self.failed = 0

    def follow(self, stats: StreamStats, name: str | None, event_time: EventTime | None) -> Followed:
        """Return the observer of a new stream, which is shown for as long as the observer lives."""
        self.attached += 1
        number = self.attached
        followed = Followed(self, stats, number, name or f"stream-{number}", event_time)
        self._followed[number] = followed
        return followed

    def streams(self) -> list[Followed]:
        """Return the streams that are alive, the oldest first."""
        return list(self._followed.values())


def describe(followed: Followed, now: float) -> dict[str, Any]:
    """
    Return what is told of a stream, ready for JSON: figures, names and kinds, no text that a server has sent.

    Args:
        followed: The stream.
        now: The time on the event loop's clock.
    """
    stats = followed.stats
    return {
        "number": followed.number,
        "name": followed.name,
        "state": followed.state.value,
        "state_for": _between(followed.since, now),
        "started_for": _between(stats.started_at, now),
        "silent_for": _between(stats.last_byte_at, now),
        "eventless_for": _between(stats.last_event_at, now),
        "lag": _rounded(followed.lag),
        "reason": followed.reason,
        "attempt": followed.attempt,
        "next_attempt_in": None if followed.due is None else _rounded(max(followed.due - now, 0.0)),
        "last_error": followed.last_error,
        "last_recovery": _rounded(stats.last_recovery),
        "completion": stats.completion,
        "stats": dict(zip(_COUNTED, _read(stats), strict=True)),
    }


def _kind(error: BaseException, status: int | None) -> str:
    """Name an error as `StreamHealth.last_error` does; its text may quote what must not be shown."""
    cause = error.__cause__ or error
    if status is None and isinstance(cause, HandshakeError):
        status = cause.status
    return type(cause).__name__ + (f" {status}" if status else "")


def _between(then: float | None, now: float) -> float | None:
    return None if then is None else _rounded(now - then)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
