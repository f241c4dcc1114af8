"""How a stream is, in one record: for readiness checks and for people who look."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from resilient_sse._core.states import Reason, StreamState

__all__ = ["StreamHealth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """
    A stream's condition at one moment.

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
        return {
            **facts,
            "ok": self.ok,
            "silent_for": self.silent_for,
            "eventless_for": self.eventless_for,
        }
