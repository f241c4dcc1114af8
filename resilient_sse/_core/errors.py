"""
Every error the library raises for what happens on the wire, as one tree.

```text
ResilientSSEError
├── HandshakeError              the answer cannot become a stream
│   ├── BadStatusError          its status says so
│   └── BadContentTypeError     it is not text/event-stream
├── ConnectionLostError         a connection failed; seen as a cause
├── StreamError                 an event of the stream says that it failed
├── DecodeError                 the data of an event is not what `decode` takes
├── LimitExceededError          the server sent more than a limit allows
├── RetriesExhaustedError       the retry budget is spent
├── NotResumableError           sending the request again would not be faithful
├── CheckpointError             a position could not be loaded or saved
└── RelayError                  a relay cannot go on: its log is another's
```

Wrong arguments raise `ValueError` or `TypeError`, and using a stream wrongly raises `RuntimeError`: those are
mistakes of the program, not of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_sse._core.events import ServerSentEvent
    from resilient_sse._core.states import Reason


class ResilientSSEError(Exception):
    """
    The root: catch this to catch everything the library raises about a stream.

    Attributes:
        wire: The last lines that came over the wire, without payloads, if `flight_recorder` keeps any.
    """

    wire: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling although constructors take facts by keyword (a worker may send errors home)."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class HandshakeError(ResilientSSEError):
    """
    The server's answer cannot become an event stream, or the request cannot be sent at all.

    Attributes:
        status: The status of the answer; `None` when there was none.
        headers: The headers of the answer, names in lower case; empty when there was none.
        body_excerpt: The start of the body, at most 16 KiB, read for at most two seconds.
        redirected_to: Where redirects have led, without its query; `None` if there were none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body_excerpt: str = "",
        redirected_to: str | None = None,
    ) -> None:
        super().__init__(message + (f", after a redirect to {redirected_to[:200]}" if redirected_to else ""))
        self.status = status
        self.headers: Mapping[str, str] = dict(headers or {})
        self.body_excerpt = body_excerpt
        self.redirected_to = redirected_to


class _Answer(TypedDict):
    headers: Mapping[str, str]
    body_excerpt: NotRequired[str]
    redirected_to: NotRequired[str | None]


class BadStatusError(HandshakeError):
    """The answer's status is not the 200 or 201 of an event stream."""

    status: int

    def __init__(self, *, status: int, **answer: Unpack[_Answer]) -> None:
        text = f"the server answered with status {status} instead of an event stream"
        super().__init__(text, status=status, **answer)


class BadContentTypeError(HandshakeError):
    """
    The answer is a 200 or 201, but not of media type `text/event-stream`.

    Attributes:
        content_type: The `Content-Type` of the answer; empty when it had none.
    """

    status: int

    def __init__(self, content_type: str, *, status: int, **answer: Unpack[_Answer]) -> None:
        sent = repr(content_type[:200]) if content_type else "no Content-Type"
        super().__init__(f"expected text/event-stream, the server sent {sent}", status=status, **answer)
        self.content_type = content_type


class ConnectionLostError(ResilientSSEError):
    """
    One connection failed or ended.

    It is found as the `error` of a state change and as the cause of `RetriesExhaustedError`, and it is what
    `classify` is asked about; the iterator itself does not raise it.

    Attributes:
        reason: What happened, as the same closed set the states and statistics use.
        detail: More of it, in words for an operator; empty if there is no more.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"connection lost: {reason.value}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.detail = detail


class StreamError(ResilientSSEError):
    """
    The server has said by an event that the stream failed: one that `error_events` names.

    It goes the way of a failed attempt: it is retried with the delays of `backoff`, unless `classify` decides
    otherwise.

    Attributes:
        event: That event.
    """

    def __init__(self, event: ServerSentEvent) -> None:
        super().__init__(f"the server has sent an error: an event of type {event.event[:40]!r}")
        self.event = event


class DecodeError(ResilientSSEError):
    """
    The data of an event is not what `decode` takes; what that has raised is the `__cause__`.

    Asking for the next event goes on behind this one, and commits it as it would any other.  If the error leaves
    the block of the stream, it is not committed.

    Attributes:
        event: That event, as it came.
    """

    def __init__(self, event: ServerSentEvent, error: Exception) -> None:
        which = "an event without an id" if event.id is None else f"the event with the id {event.id[:80]!r}"
        super().__init__(
            f"decode has raised {type(error).__name__} for {which}, of type {event.event[:40]!r}; "
            "on_invalid says what to do with such events"
        )
        self.event = event


class LimitExceededError(ResilientSSEError):
    """
    The server sent an event larger than `max_event_bytes`.

    Reconnecting would only fetch the same event again, so the stream stops here; raise the limit to go on.

    Attributes:
        limit_bytes: The limit that was passed, in bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        text = f"an event of more than {limit_bytes} bytes, the most that max_event_bytes allows"
        super().__init__(f"the server sent {text}")
        self.limit_bytes = limit_bytes


class RetriesExhaustedError(ResilientSSEError):
    """
    The retry budget is spent; the last failure is chained as `__cause__`.

    Iterating the same stream again starts a new outage and resumes from its last event id.

    Attributes:
        attempts: Requests that failed in a row.
        elapsed: Seconds from the first of these failures to the last.
    """

    def __init__(self, *, attempts: int, elapsed: float, last: str = "") -> None:
        noun = "attempt" if attempts == 1 else "attempts"
        detail = f"; the last: {last}" if last else ""
        super().__init__(f"gave up after {attempts} failed {noun} in {elapsed:.1f} s{detail}")
        self.attempts = attempts
        self.elapsed = elapsed


class NotResumableError(ResilientSSEError):
    """
    The connection was lost, and sending the request again could repeat its effect or its events.

    Raised for methods other than GET when something was delivered and no event id can resume it, or when the
    body cannot be sent twice.
    """


class CheckpointError(ResilientSSEError):
    """
    A position could not be loaded or saved.

    Attributes:
        key: The key of the position in its store.
    """

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


def moved(key: str) -> CheckpointError:
    """Return the error for a save over a position that somebody else has moved."""
    return CheckpointError(
        "another consumer has moved this position; give each a checkpoint_key of its own", key=key
    )
