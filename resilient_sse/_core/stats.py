"""What a stream has counted so far, and how it is at this moment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from resilient_sse._core.states import Reason, StreamState

if TYPE_CHECKING:
    from resilient_sse._core.states import StateChange


@dataclass(slots=True, kw_only=True)
class StreamStats:
    """
    The figures of one stream; `ResilientStream.stats` returns a copy, which no longer changes.

    `received == delivered + duplicates + heartbeats + filtered` at any moment.

    Times are seconds on the event loop's clock (`anyio.current_time()`), `None` while there is nothing to tell.

    Attributes:
        received: Events dispatched by the server, whatever became of them.
        delivered: Events for the consumer, also those that `on_invalid` left out.
        duplicates: Events dropped because they had been received before.
        heartbeats: Events of a heartbeat type.
        filtered: Events that the `events` filter held back.
        id_conflicts: Events that bore a known id with other content; they are delivered.
        invalid: Delivered events whose data could not be decoded, whatever `on_invalid` made of them.
        unusable_ids: Ids that no header can carry; the last good one stays the resume point.
        partial: Blocks cut by the end of a connection and thrown away.
        gaps: Gaps reported.
        lost: Events known to be lost.
        unknown_losses: Gaps of which nobody can know how many events they hold.
        numbered: Delivered or filtered events whose ids took part in the checks of `sequence`.
        declared_total: How many events the server says it has sent before the one that completed the stream.
        stalls: Connections given up because of silence.
        connections: Connections opened.
        reconnects: Connections opened after the first.
        failed_attempts: Attempts to open a connection that failed.
        connection_errors: Losses of a connection that a state change showed.
        server_errors: Answers that are no event stream, shown likewise.
        retries_exhausted: How often the retry budget was spent.
        callback_errors: Exceptions raised by callbacks, observers and `messages`.
        bytes_received: Body bytes as they came from the network, before decompression.
        started_at: When the stream was first iterated.
        connected_at: When the present or last connection was opened.
        last_byte_at: When bytes last arrived.
        last_event_at: When an event was last delivered; where whole reads are judged at once, when its read came.
        time_to_first_event: From `started_at` to the first delivered event.
        last_recovery: From the last loss of the connection to the first new event after it.
    """

    received: int = 0
    delivered: int = 0
    duplicates: int = 0
    heartbeats: int = 0
    filtered: int = 0
    id_conflicts: int = 0
    invalid: int = 0
    unusable_ids: int = 0
    partial: int = 0
    gaps: int = 0
    lost: int = 0
    unknown_losses: int = 0
    numbered: int = 0
    declared_total: int | None = None
    stalls: int = 0
    connections: int = 0
    reconnects: int = 0
    failed_attempts: int = 0
    connection_errors: int = 0
    server_errors: int = 0
    retries_exhausted: int = 0
    callback_errors: int = 0
    bytes_received: int = 0
    started_at: float | None = None
    connected_at: float | None = None
    last_byte_at: float | None = None
    last_event_at: float | None = None
    time_to_first_event: float | None = None
    last_recovery: float | None = None

    @property
    def completion(self) -> float | None:
        """
        The share of the sent events that arrived, in percent; `None` where nobody can know.

        What was sent is told by the server (`total`), or shown by ids that count without a break (`sequence`);
        events without a number are then left out.
        """
        sent, arrived = known_events(self)
        return arrived / sent * 100 if sent else None

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the figures by name."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the figures as one JSON object."""
        return json.dumps(self.to_dict())


def known_events(stats: StreamStats) -> tuple[int, int]:
    """Return how many events were sent and how many of them arrived; zeros where nobody can know."""
    total = stats.declared_total
    if total is not None:  # it counts what came before the completing event
        return total, max(min(stats.delivered + stats.filtered - 1, total), 0)
    return (0, 0) if stats.unknown_losses else (stats.numbered + stats.lost, stats.numbered)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """
    A stream's condition at one moment: for readiness checks and for people who look.

    Times are seconds on the event loop's clock (`anyio.current_time()`), `None` while there is nothing to tell.

    Attributes:
        state: Where it stands.
        since: When it came to stand there, `None` before the first change; an attempt that fails leaves it.
        reason: Why the last change happened, `None` before the first one.
        attempt: Failed attempts in a row, 0 while it is well.
        last_byte_at: When bytes last arrived.
        last_event_at: When an event was last delivered.
        last_error: The kind of the last failure, with its status if it was an answer; never its text, which may
            quote what must not be shown.
        opening: Whether an answer is being waited for, be it in state `WAITING`.
        at: The moment.
    """

    state: StreamState
    since: float | None = None
    reason: Reason | None = None
    attempt: int = 0
    last_byte_at: float | None = None
    last_event_at: float | None = None
    last_error: str | None = None
    opening: bool = False
    at: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether a connection is up; silence that has not lasted too long counts as up."""
        return self.state in (StreamState.CONNECTED, StreamState.WAITING) and not self.opening

    @property
    def silent_for(self) -> float | None:
        """Seconds since the last byte."""
        return None if self.last_byte_at is None else self.at - self.last_byte_at

    @property
    def eventless_for(self) -> float | None:
        """Seconds since the last delivered event."""
        return None if self.last_event_at is None else self.at - self.last_event_at

    def to_dict(self) -> dict[str, str | int | float | bool | None]:
        """Return everything by name, ready for JSON."""
        facts = asdict(self)
        facts["state"] = self.state.value
        facts["reason"] = None if self.reason is None else self.reason.value
        return {**facts, "ok": self.ok, "silent_for": self.silent_for, "eventless_for": self.eventless_for}


def health_after(health: StreamHealth, change: StateChange) -> StreamHealth:
    """Return the condition that *change* leads to, as far as a change tells it."""
    since, last_error = health.since, health.last_error
    if change.new is not health.state or since is None:
        since = change.at
    if change.error is not None:
        last_error = type(change.error.__cause__ or change.error).__name__
        last_error += f" {change.status}" if change.status else ""
    return StreamHealth(
        state=change.new, since=since, reason=change.reason, attempt=change.attempt, last_error=last_error
    )
