"""What a stream says of itself: its state, each change of it with a text for people, and each recovery."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient_sse._core import messages
from resilient_sse._core.errors import HandshakeError, ResilientSSEError
from resilient_sse._core.health import StreamHealth
from resilient_sse._core.recorder import FlightRecorder
from resilient_sse._core.states import Category, StateChange, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_sse._core.options import StreamOptions
    from resilient_sse._core.recovery import Recovery
    from resilient_sse._core.states import Reason
    from resilient_sse._core.stats import StreamStats

__all__ = ["Journal"]


class Journal:
    """
    The state of one stream and the notices of it that were not told yet.

    Whether a transition is legal is the session's business; this only writes it down.

    Args:
        options: The texts, and the retry budget that some of them name.
        stats: Where errors that people were shown are counted, by category.
    """

    def __init__(self, options: StreamOptions, stats: StreamStats) -> None:
        self._options = options
        self._stats = stats
        self.state = StreamState.CONNECTING
        self.since: float | None = None
        """When the present state was entered, `None` for the first one."""
        self._attempted_at: float | None = None
        self._attempted_for: float | None = None
        self._reason: Reason | None = None
        self._attempt = 0
        self._last_error: str | None = None
        self.recorder = FlightRecorder(options.flight_recorder)
        """The last lines of the wire."""
        self.untold: list[StateChange | Recovery] = []
        """What callbacks and observers have not been told yet."""

    @property
    def opening(self) -> bool:
        """Whether an attempt to open a connection is under way."""
        return self._attempted_at is not None and self._attempted_for is None

    def attempting(self, now: float) -> None:
        """Take note that an attempt to open a connection begins; the next change of state ends it."""
        self._attempted_at, self._attempted_for = now, None

    def attempted(self, now: float) -> None:
        """Take note that the attempt is over already, although nothing comes of it yet."""
        if self._attempted_at is not None:
            self._attempted_for = now - self._attempted_at

    def changed(
        self,
        new: StreamState,
        reason: Reason,
        now: float,
        *,
        attempt: int,
        delay: float | None = None,
        error: BaseException | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Enter the state *new*; the arguments are the attributes of `StateChange`."""
        goes_on = new is StreamState.WAITING  # the attempt that is silent, if one is under way
        if self._attempted_for is None and not goes_on:
            self.attempted(now)
        answer = error if isinstance(error, HandshakeError) else getattr(error, "__cause__", None)
        if isinstance(answer, HandshakeError):
            status, headers = answer.status, answer.headers
        change = StateChange(
            old=self.state,
            new=new,
            reason=reason,
            attempt=attempt,
            max_retries=self._options.max_retries,
            delay=delay,
            error=error,
            status=status,
            headers=headers or {},
            at=now,
            attempted_at=None if goes_on else self._attempted_at,
            attempted_for=None if goes_on else self._attempted_for,
        )
        if not goes_on:
            self._attempted_at = self._attempted_for = None
        if new is not self.state or self.since is None:
            self.since = now
        self.state, self._reason, self._attempt = new, reason, attempt
        if error is not None:
            cause = error.__cause__ or error
            self._last_error = type(cause).__name__ + (f" {status}" if status else "")
        if new is StreamState.ERROR and isinstance(error, ResilientSSEError) and self.recorder.lines:
            error.wire = self.recorder.lines
        self._count(change.category)
        text, failed = messages.compose_or_default(change, self._options.messages)
        self._stats.callback_errors += failed
        self.untold.append(replace(change, message=text))

    def health(self, now: float) -> StreamHealth:
        """Return how the stream is."""
        return StreamHealth(
            state=self.state,
            since=self.since,
            reason=self._reason,
            attempt=self._attempt,
            last_byte_at=self._stats.last_byte_at,
            last_event_at=self._stats.last_event_at,
            last_error=self._last_error,
            opening=self.opening,
            at=now,
        )

    def recovered(self, recovery: Recovery) -> None:
        """Take note that events flow again."""
        self._stats.last_recovery = recovery.recovery
        self.untold.append(recovery)

    def _count(self, category: Category | None) -> None:
        match category:
            case Category.CONNECTION_LOST:
                self._stats.connection_errors += 1
            case Category.SERVER_ERROR:
                self._stats.server_errors += 1
            case Category.MAX_RETRIES:
                self._stats.retries_exhausted += 1
            case None:
                pass
