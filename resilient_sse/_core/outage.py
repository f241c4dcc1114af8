"""Failures in a row: what each one means, whether another attempt follows, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_sse._core.backoff import Pacing
from resilient_sse._core.checks import answered_at_once
from resilient_sse._core.classify import default_verdict, reason_of, retry_after_seconds
from resilient_sse._core.errors import (
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
)
from resilient_sse._core.states import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from resilient_sse._core.options import StreamOptions

__all__ = ["HOW_TO_END", "Decision", "Outage", "refusal_to_resend"]

_UNAUTHORIZED = 401

HOW_TO_END = '; if its answers end so, pass on_eof="complete", or until= for their last event'
"""What to do about an answer that ended cleanly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    What follows a failure.

    Attributes:
        verdict: Retry, stop, or raise.
        error: The failure, or the error to raise because of it.
        reason: Why, for the state change.
        attempt: The number of the next attempt, if there is one.
        delay: Seconds until then.
    """

    verdict: Verdict
    error: ResilientSSEError
    reason: Reason
    attempt: int = 0
    delay: float = 0.0


class Outage:
    """
    The failures since the stream was last well; empty while it is.

    `attempt` belongs to the stream and not to a connection: it returns to zero by `end`, when a connection has
    brought a new event or has held for longer than the longest delay.  A bare 200 proves nothing; servers that
    accept and close at once would otherwise be stormed.

    Args:
        options: The settings.
        random: Draws from [0, 1): the source of jitter.
    """

    def __init__(self, options: StreamOptions, *, random: Callable[[], float]) -> None:
        self._options = options
        self._refused_credentials = False
        self._asked_at = -math.inf
        self.pacing = Pacing(options.backoff, max_server_delay=options.max_server_delay, random=random)
        self.attempt = 0
        """Attempts that followed a failure since the outage began: the part of the budget that is spent."""
        self.began_at: float | None = None
        """When it began, `None` outside an outage."""
        self._last = (0, self.began_at, self.pacing.series)  # as the present connection has ended it

    def begin(self, now: float) -> None:
        """Take note of a failure; the first one begins the outage."""
        if self.began_at is None:
            self.began_at = now

    def end(self) -> None:
        """Be well again."""
        if self.began_at is not None:
            self._last = (self.attempt, self.began_at, self.pacing.series)
        self.attempt = 0
        self.began_at = None
        self.pacing.reset()

    def relapse(self) -> None:
        """Go on with the outage that the present connection has ended: what it brought was no sign of health."""
        self.attempt, self.began_at, self.pacing.series = self._last

    def renew(self) -> None:
        """Begin anew, because the program asks again after the stream gave up."""
        self.end()
        self._refused_credentials = False

    @property
    def spent(self) -> bool:
        """Whether another failure would be the last."""
        return self._options.max_retries is not None and self.attempt >= self._options.max_retries

    def accepted(self) -> None:
        """Take note that the server has accepted the credentials."""
        self._refused_credentials = False
        self._last = (self.attempt, self.began_at, self.pacing.series)

    def decide(
        self,
        error: ResilientSSEError,
        *,
        proven: bool,
        obstacle: str | None,
        now: float,
        wall: datetime,
        answered: bool = False,
    ) -> Decision:
        """
        Decide about a failure.

        Args:
            error: What happened.
            proven: Whether the stream has been connected before.
            obstacle: Why the request must not be sent again, if so.
            now: The time, on the clock of the event loop.
            wall: The time, by the calendar.
            answered: Whether this is the clean end of a connection that brought something: servers that poll by
                design do that, which is paced, and neither a failure nor a part of the budget.
        """
        if answered:
            self.end()
        else:
            self.begin(now)
        reason = reason_of(error)
        verdict = self._verdict(error, proven=proven)
        if verdict is not Verdict.RETRY:
            return Decision(verdict=verdict, error=error, reason=reason)
        if obstacle is not None:
            refusal = refusal_to_resend(obstacle, after=error)
            return Decision(verdict=Verdict.RAISE, error=refusal, reason=reason)
        if answered:
            delay = self.pacing.delay(1)
            return Decision(verdict=verdict, error=error, reason=reason, attempt=1, delay=delay)
        if self.spent:
            elapsed = now - (now if self.began_at is None else self.began_at)
            spent = RetriesExhaustedError(attempts=self.attempt + 1, elapsed=elapsed, last=str(error))
            spent.__cause__ = error
            return Decision(verdict=Verdict.RAISE, error=spent, reason=Reason.RETRIES)
        self.attempt += 1
        self._heed(error, wall)
        delay = self.pacing.delay(self.attempt)
        return Decision(verdict=verdict, error=error, reason=reason, attempt=self.attempt, delay=delay)

    def interrupt(self, *, paced: bool, obstacle: str | None, now: float) -> Decision:
        """Decide about a connection that the program itself cut: no failure, and no part of the budget."""
        self.begin(now)
        cut = ConnectionLostError(Reason.RESTART)
        if obstacle is not None:
            refusal = refusal_to_resend(obstacle, after=cut)
            return Decision(verdict=Verdict.RAISE, error=refusal, reason=Reason.RESTART)
        delay = self.pacing.delay(1) if paced else 0.0
        number = max(self.attempt, 1)
        return Decision(verdict=Verdict.RETRY, error=cut, reason=Reason.RESTART, attempt=number, delay=delay)

    def asked_again(self, now: float) -> bool:
        """Take note that the program wants a new connection; return whether it has wanted one just before."""
        again = now - self._asked_at <= self.pacing.settle_after
        self._asked_at = now
        return again

    def _heed(self, error: ResilientSSEError, wall: datetime) -> None:
        if isinstance(error, HandshakeError):
            seconds = retry_after_seconds(error.headers, now=wall)
            if seconds is not None:
                self.pacing.retry_after(seconds)

    def _verdict(self, error: ResilientSSEError, *, proven: bool) -> Verdict:
        classify = self._options.classify
        verdict = answered_at_once("classify", classify(error)) if classify else None
        if verdict is not None:
            if not isinstance(verdict, Verdict):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"classify must return a Verdict or None, not {verdict!r}")
            return verdict
        fresh = self._options.fresh_credentials and not self._refused_credentials
        self._refused_credentials = isinstance(error, BadStatusError) and error.status == _UNAUTHORIZED
        return default_verdict(error, proven=proven, fresh_credentials=fresh)


def refusal_to_resend(obstacle: str, *, after: ResilientSSEError | None = None) -> NotResumableError:
    """Return the error that tells why the request is not sent again *after* a failure."""
    if isinstance(after, ConnectionLostError) and after.reason is Reason.EOF:
        obstacle += HOW_TO_END
    refusal = NotResumableError(obstacle)
    refusal.__cause__ = after
    return refusal
