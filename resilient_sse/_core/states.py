"""The states of a stream, why they change, and the record that callbacks are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class StreamState(Enum):
    """Where a stream stands.  `session.TRANSITIONS` lists every way between the states."""

    CONNECTING = "connecting"
    """The first connection is being made."""
    CONNECTED = "connected"
    """Bytes are arriving, or may."""
    WAITING = "waiting"
    """Silent for longer than `waiting_after`; nothing was given up yet."""
    RECONNECTING = "reconnecting"
    """The connection was lost; the next attempt is waiting or under way."""
    ERROR = "error"
    """Given up: retries are spent, or the answer is one that retrying cannot mend."""
    CLOSED = "closed"
    """Over, and staying so."""


class Reason(Enum):
    """Why something happened: one closed set for states, statistics, logs and metrics."""

    OPENED = "opened"
    """A response was accepted, or bytes came back."""
    EOF = "eof"
    """The server ended the response cleanly."""
    RESET = "reset"
    """The connection broke: reset, or closed in the middle of a message."""
    STALL = "stall"
    """Nothing arrived for as long as `waiting_after` or `stall_timeout` allows."""
    EVENT_TIMEOUT = "event_timeout"
    """No event arrived for as long as `event_timeout` allows, although bytes may have."""
    CONNECT = "connect"
    """No connection, or no response headers in time."""
    STATUS = "status"
    """A status below 500 other than that of a stream."""
    CONTENT_TYPE = "content_type"
    """A 200 or 201 of another media type."""
    PROTOCOL = "protocol"
    """Something that is not HTTP, or breaks its rules, or passes a limit."""
    SERVER = "server"
    """A status of 500 or more, or an event that `error_events` names."""
    RESTART = "restart"
    """`restart()` was called, or a read was cancelled from outside."""
    AGE = "age"
    """Reserved: a connection has no maximum age, so nothing gives it."""
    GAP = "gap"
    """Numbered events are missing, and the server is asked for them again."""
    CIRCUIT = "circuit"
    """The circuit breaker is open: the next attempt waits, although it is due."""
    COMPLETE = "complete"
    """The stream reached its end: `until`, `on_eof="complete"`, status 204, or `Verdict.STOP`."""
    CLOSED = "closed"
    """`aclose()` was called."""
    RETRIES = "retries"
    """The retry budget is spent."""


class Verdict(Enum):
    """What to do about a failure: the answer of `classify`."""

    RETRY = "retry"
    """Reconnect, within the retry budget."""
    STOP = "stop"
    """End the stream without an error."""
    RAISE = "raise"
    """Raise the error out of the iterator at once."""


class Category(Enum):
    """What kind of error a person was shown."""

    CONNECTION_LOST = "connection_lost"
    """Recoverable: a reset, a refusal, a clean end, a stall."""
    SERVER_ERROR = "server_error"
    """Perhaps not: an answer that is no event stream."""
    MAX_RETRIES = "max_retries_exceeded"
    """Not without the program's doing: the retry budget is spent."""


_LOST = {Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.CONNECT}
_SERVER = {Reason.PROTOCOL, Reason.STATUS, Reason.CONTENT_TYPE, Reason.SERVER}
_CATEGORIES = {
    **dict.fromkeys(_LOST, Category.CONNECTION_LOST),
    **dict.fromkeys(_SERVER, Category.SERVER_ERROR),
    Reason.RETRIES: Category.MAX_RETRIES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """
    One transition, as callbacks receive it.

    Attributes:
        old: The state before.
        new: The state after.
        reason: Why.
        attempt: Failed attempts in this outage; while reconnecting, the number of the attempt announced.
        max_retries: The budget, or `None` for no limit.
        delay: Seconds until the announced attempt; `None` unless *new* is `RECONNECTING`.
        error: What was caught, if anything was.
        status: The status of the response that caused the change, if there was one.
        headers: The headers of that response, names in lower case.
        message: A text for people, from the `messages` catalogue.
        at: When, in seconds on the event loop's clock (`anyio.current_time()`).
        attempted_at: When the attempt began that this change ends, on that clock; `None` if it ends none.
        attempted_for: How long that attempt took, in seconds.  One that was cancelled ended then, and the change
            comes when the stream is asked again or closed.
    """

    old: StreamState
    new: StreamState
    reason: Reason
    attempt: int = 0
    max_retries: int | None = None
    delay: float | None = None
    error: BaseException | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    message: str = ""
    at: float = 0.0
    attempted_at: float | None = None
    attempted_for: float | None = None

    @property
    def was_up(self) -> bool:
        """Whether a connection was up before; silence while an answer was waited for is not up."""
        waited = self.old is StreamState.WAITING and self.attempted_at is None
        return waited or self.old is StreamState.CONNECTED

    @property
    def is_up(self) -> bool:
        """Whether a connection is up now."""
        waits = self.new is StreamState.WAITING and self.old is StreamState.CONNECTED
        return waits or self.new is StreamState.CONNECTED

    @property
    def category(self) -> Category | None:
        """The kind of error that this change shows, `None` if it shows none: a loss that the program wanted."""
        if self.new not in (StreamState.RECONNECTING, StreamState.ERROR):
            return None
        return _CATEGORIES.get(self.reason)
