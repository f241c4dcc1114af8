"""What the server has counted and noted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Counters", "RequestRecord"]


@dataclass(slots=True, kw_only=True)
class Counters:
    """
    The server's figures.

    Attributes:
        connections: Streams opened, and faulty answers given instead of one.
        published: Events published, heartbeats with ids and completion events included.
        events_sent: Events written to streams, replayed ones included, heartbeats without ids not.
        replayed: Those of them that came out of the store.
        heartbeats: Heartbeats written.
        truncated: Notices that history was gone.
        slow_client_disconnects: Streams ended because their reader did not keep up.
        rate_limited: Requests answered 429.
        bad_requests: Requests answered 400.
        unavailable: Requests answered 503 because the store could not be read.
        faults: Faults played.
    """

    connections: int = 0
    published: int = 0
    events_sent: int = 0
    replayed: int = 0
    heartbeats: int = 0
    truncated: int = 0
    slow_client_disconnects: int = 0
    rate_limited: int = 0
    bad_requests: int = 0
    unavailable: int = 0
    faults: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """
    One request for a stream that was understood.

    Attributes:
        at: When, on the server's monotonic clock, in seconds.
        user: The user.
        header_cursor: The id in `Last-Event-ID`, `None` without one.
        query_cursor: The id in the query, `None` without one.
        cursor: The one that counted, `None` for neither.
        status: The status of the answer; 0 until there is one.
        first_id: The id of the first event that was sent on it, `None` while there is none.
        fault: The name of the fault played instead of, or on, the answer; `""` for none.
    """

    at: float
    user: str
    header_cursor: int | None = None
    query_cursor: int | None = None
    cursor: int | None = None
    status: int = 0
    first_id: int | None = None
    fault: str = ""
