"""What a stream has counted so far."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["StreamStats"]


@dataclass(slots=True, kw_only=True)
class StreamStats:
    """
    The figures of one stream; `ResilientStream.stats` returns a copy, which no longer changes.

    `received == delivered + duplicates + heartbeats + filtered` at any moment.

    Times are seconds on the event loop's clock (`anyio.current_time()`), `None` while there is nothing to tell.

    Attributes:
        received: Events dispatched by the server, whatever became of them.
        delivered: Events handed to the consumer.
        duplicates: Events dropped because they had been received before.
        heartbeats: Events of a heartbeat type.
        filtered: Events that the `events` filter held back.
        id_conflicts: Events that bore a known id with other content; they are delivered.
        unusable_ids: Ids that no header can carry; the last good one stays the resume point.
        partial: Blocks cut by the end of a connection and thrown away.
        gaps: Gaps reported.
        lost: Events known to be lost.
        stalls: Connections given up because of silence.
        connections: Connections opened.
        reconnects: Connections opened after the first.
        failed_attempts: Attempts to open a connection that failed.
        callback_errors: Exceptions raised by callbacks and observers.
        bytes_received: Body bytes as they came from the network, before decompression.
        started_at: When the stream was first iterated.
        connected_at: When the present or last connection was opened.
        last_byte_at: When bytes last arrived.
        last_event_at: When an event was last delivered.
        time_to_first_event: From `started_at` to the first delivered event.
        last_recovery: From the last loss of the connection to the first new event after it.
    """

    received: int = 0
    delivered: int = 0
    duplicates: int = 0
    heartbeats: int = 0
    filtered: int = 0
    id_conflicts: int = 0
    unusable_ids: int = 0
    partial: int = 0
    gaps: int = 0
    lost: int = 0
    stalls: int = 0
    connections: int = 0
    reconnects: int = 0
    failed_attempts: int = 0
    callback_errors: int = 0
    bytes_received: int = 0
    started_at: float | None = None
    connected_at: float | None = None
    last_byte_at: float | None = None
    last_event_at: float | None = None
    time_to_first_event: float | None = None
    last_recovery: float | None = None

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the figures by name."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the figures as one JSON object."""
        return json.dumps(self.to_dict())
