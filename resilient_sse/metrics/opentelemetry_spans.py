"""
One span for each attempt to connect.

Theory of operation.  A span covers an attempt up to the accepted response or its failure, and no longer: a stream
may last for days.  The change of state that ends an attempt says when it began and how long it took, so spans are
made then, with their times given.  Facts are timed by the clock of the event loop, spans by the calendar.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind, StatusCode

from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Opened
from resilient_sse._core.outage import reason_of
from resilient_sse._core.states import Reason, StateChange, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Tracer

    from resilient_sse._core.ports import Fact
    from resilient_sse._core.stats import StreamStats

__all__ = ["SPAN_NAME", "Attempts", "address_attributes"]

SPAN_NAME: Final = "SSE connect"

_PORTS: Final = {"http": 80, "https": 443}


def address_attributes(url: str) -> dict[str, str | int]:
    """Return what a span tells of *url*, an instrument's, named as OpenTelemetry's conventions for HTTP say."""
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    return {"url.full": url, "server.address": parts.hostname or "", "server.port": port}


@dataclass(slots=True)
class _Attempt:
    """An attempt that is over, in nanoseconds of the calendar, and what its span tells."""

    begin: int
    end: int
    attributes: dict[str, str | int | bool]
    connection: int = 0


class Attempts:
    """
    Makes the spans of one stream.

    Args:
        stats: The stream's figures.
        tracer: Makes spans.
        attributes: What every span of this stream tells.
    """

    def __init__(self, stats: StreamStats, tracer: Tracer, attributes: Mapping[str, str | int]) -> None:
        self._stats = stats
        self._tracer = tracer
        self._attributes = attributes
        self.last_event_id = ""
        """The id in force after the last event, `""` for none; never told to anyone."""
        self._number = 0
        self._reason: Reason | None = None
        self._accepted: _Attempt | None = None

    def take(self, fact: Fact) -> None:
        """Take note of *fact*."""
        if isinstance(fact, StateChange):
            self._changed(fact)
        elif isinstance(fact, Opened):
            attempt = self._accepted
            if attempt is not None and attempt.connection == fact.connection:
                attempt.attributes["sse.client.resume"] = fact.last_event_id is not None
                self._tell_accepted()

    def _changed(self, change: StateChange) -> None:
        if change.attempted_at is not None:
            self._over(change, change.attempted_at)
        elif not change.is_up:
            self._tell_accepted()  # without `resume`: the notice of the opening was discarded, or is held back
        if change.new is StreamState.RECONNECTING:
            self._number, self._reason = change.attempt, change.reason
        elif change.new is StreamState.ERROR:
            self._number, self._reason = 0, change.reason

    def _over(self, change: StateChange, begin: float) -> None:
        """Take note of the end of an attempt."""
        if change.is_up:
            attempt = self._attempt(change, begin, "accepted")
            attempt.connection = self._stats.connections
            attempt.attributes["sse.client.connection"] = self._stats.connections
            self._accepted = attempt
        elif change.reason is Reason.COMPLETE:
            self._tell(self._attempt(change, begin, "ended"))
        elif change.reason in (Reason.CLOSED, Reason.RESTART):
            self._tell(self._attempt(change, begin, "cut"))
        else:
            self._tell(self._attempt(change, begin, "failed"), error=_error_type(change))

    def _attempt(self, change: StateChange, begin: float, outcome: str) -> _Attempt:
        # Observers are told at once, before any callback is awaited: it is `change.at` now.
        first = time.time_ns() - _nanoseconds(change.at - begin)
        attributes: dict[str, str | int | bool] = {**self._attributes, "sse.client.attempt": self._number}
        attributes["sse.client.outcome"] = outcome
        if self._reason is not None:
            attributes["sse.client.reason"] = self._reason.value
        if outcome != "accepted" and self.last_event_id:
            attributes["sse.client.resume"] = True  # without one, only the notice of an opening can tell
        if change.status is not None:
            attributes["http.response.status_code"] = int(change.status)
        return _Attempt(first, first + _nanoseconds(change.attempted_for or 0.0), attributes)

    def _tell_accepted(self) -> None:
        attempt, self._accepted = self._accepted, None
        if attempt is not None:
            self._tell(attempt)

    def _tell(self, attempt: _Attempt, *, error: str | None = None) -> None:
        if error is not None:
            attempt.attributes["error.type"] = error
        span = self._tracer.start_span(
            SPAN_NAME, kind=SpanKind.CLIENT, attributes=attempt.attributes, start_time=attempt.begin
        )
        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(attempt.end)


def _error_type(change: StateChange) -> str:
    """Name the failure: by its status if it has one that is no stream's, else by its reason."""
    cause = change.error.__cause__ if change.error is not None else None
    reason = change.reason
    if reason is Reason.RETRIES and isinstance(cause, ResilientSSEError):
        reason = reason_of(cause)
    if reason in (Reason.STATUS, Reason.SERVER) and change.status is not None:
        return str(int(change.status))
    return reason.value


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
