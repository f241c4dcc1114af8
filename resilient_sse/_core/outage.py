"""Failures: what one means, whether another attempt follows a row of them, and when."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from resilient_sse._core.backoff import Pacing
from resilient_sse._core.checks import answered_at_once
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
    StreamError,
)
from resilient_sse._core.states import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resilient_sse._core.options import StreamOptions

_NO_CONTENT = 204
_UNAUTHORIZED = 401
_GONE = 410
_CLIENT_ERRORS = 400
_SERVER_ERRORS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Centuries; int() of a longer digit string costs time that the server decides.
_SECONDS_DIGITS = 10

_TRANSIENT = frozenset({408, 409, 425, 429})  # a 409: the server still holds our dead connection
# Servers, CDNs and gateways invent what they need from 500 on; these two speak of the request for good.
_PERMANENT = frozenset({501, 505})
# A deploy answers 404 for a moment; before the stream has ever worked it means a wrong URL.
_TRANSIENT_ONCE_PROVEN = frozenset({404})

# One value of a list; a comma inside quotes parts nothing.
_VALUE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++')
_MEDIA_TYPE = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;|$)", re.IGNORECASE
)

HOW_TO_END = '; if its answers end so, pass on_eof="complete", or until=: an event type, or a function'
"""What to do about an answer that ended cleanly."""


class Decision(NamedTuple):
    """What follows a failure."""

    verdict: Verdict
    error: ResilientSSEError
    """The failure, or the error to raise because of it."""
    reason: Reason
    attempt: int = 0
    """The number of the next attempt, if there is one."""
    delay: float = 0.0
    """Seconds until then."""


class Outage:
    """
    The failures since the stream was last well; empty while it is.

    It belongs to the stream, and ends when a connection has brought a new event or has held for long enough.  A
    bare 200 proves nothing; servers that accept and close at once would otherwise be stormed.
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
        self._last: tuple[int, float | None, Iterator[float] | None] = (0, None, None)  # before its end

    def begin(self, now: float) -> None:
        if self.began_at is None:
            self.began_at = now

    def end(self) -> None:
        """Reset: the stream is well again."""
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
        """Record that there is a connection, by which the server has accepted the credentials."""
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
        Decide about a failure; *proven*: the stream was connected before; *obstacle*: why it must not ask again.

        *answered* is the clean end of a connection that brought something, as of servers that poll: no failure.
        """
        if answered:
            self.end()
        else:
            self.begin(now)
        reason, attempt = reason_of(error), 1
        verdict = self._verdict(error, proven=proven)
        if verdict is not Verdict.RETRY:
            return Decision(verdict, error, reason)
        if obstacle is not None:
            return Decision(Verdict.RAISE, refusal_to_resend(obstacle, after=error), reason)
        if not answered:
            if self.spent:
                elapsed = now - (now if self.began_at is None else self.began_at)
                spent = RetriesExhaustedError(attempts=self.attempt + 1, elapsed=elapsed, last=str(error))
                spent.__cause__ = error
                return Decision(Verdict.RAISE, spent, Reason.RETRIES)
            self.attempt += 1
            attempt = self.attempt
            if isinstance(error, HandshakeError):
                self.pacing.retry_after(retry_after_seconds(error.headers, now=wall))
        return Decision(verdict, error, reason, attempt, self.pacing.delay(attempt))

    def interrupt(self, *, paced: bool, obstacle: str | None, now: float) -> Decision:
        """Decide about a connection that the program itself cut: no failure, and no part of the budget."""
        self.begin(now)
        cut = ConnectionLostError(Reason.RESTART)
        if obstacle is not None:
            return Decision(Verdict.RAISE, refusal_to_resend(obstacle, after=cut), Reason.RESTART)
        delay = self.pacing.delay(1) if paced else 0.0
        return Decision(Verdict.RETRY, cut, Reason.RESTART, max(self.attempt, 1), delay)

    def asked_again(self, now: float) -> bool:
        """Record that the program wants a new connection; return whether it has wanted one just before."""
        again = now - self._asked_at <= self.pacing.settle_after
        self._asked_at = now
        return again

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


def default_verdict(error: ResilientSSEError, *, proven: bool, fresh_credentials: bool) -> Verdict:
    """Decide by the default table; *fresh_credentials* tells that the next attempt may carry others."""
    match error:
        case BadStatusError(status=status) if status == _NO_CONTENT:
            # The standard: a client "can be told to stop reconnecting using the HTTP 204 No Content response".
            return Verdict.STOP
        case BadStatusError(status=status) if status == _UNAUTHORIZED:
            passes = fresh_credentials
        case BadStatusError():
            passes = is_for_a_moment(error) or (proven and error.status in _TRANSIENT_ONCE_PROVEN)
        case BadContentTypeError():
            passes = proven  # a maintenance page, a captive portal
        case _:
            passes = isinstance(error, ConnectionLostError | StreamError)
    return Verdict.RETRY if passes else Verdict.RAISE


def is_of_the_server(error: Exception) -> bool:
    """Whether a failure is retried for any stream, and so tells that the server is unwell: no 403, nor a 404."""
    if not isinstance(error, ResilientSSEError):
        return False
    return default_verdict(error, proven=False, fresh_credentials=False) is Verdict.RETRY


def is_for_a_moment(error: BadStatusError) -> bool:
    """Whether the status says that asking again later may help, or a `Retry-After` beside it does."""
    status = error.status
    # RFC 9110, section 15: a status that is none "as if it had a 5xx (Server Error) status code".
    if status in _TRANSIENT or (status >= _SERVER_ERRORS and status not in _PERMANENT):
        return True
    # RFC 9110, section 15.5.14, of a 413: "generate a Retry-After header field to indicate that it is temporary";
    # limits of requests are told by a 403 with one.
    told = _CLIENT_ERRORS <= status < _SERVER_ERRORS and status not in {_UNAUTHORIZED, _GONE}
    return told and retry_after_seconds(error.headers, now=_EPOCH) is not None


def reason_of(error: BaseException) -> Reason:
    """Return the reason that states and statistics give for *error*."""
    if isinstance(error, ConnectionLostError):
        return error.reason
    if isinstance(error, BadStatusError):
        return Reason.SERVER if error.status >= _SERVER_ERRORS else Reason.STATUS
    if isinstance(error, BadContentTypeError):
        return Reason.CONTENT_TYPE
    if isinstance(error, StreamError):
        return Reason.SERVER
    return Reason.PROTOCOL


def is_event_stream(content_type: str) -> bool:
    """
    Whether a `Content-Type` has the essence `text/event-stream`, whatever its case and parameters.

    Of one sent more than once the last value counts that is a media type at all, as the Fetch standard has it.
    """
    types = [
        found[1].lower() for value in _VALUE.findall(content_type) if (found := _MEDIA_TYPE.match(value))
    ]
    return next((kind for kind in reversed(types) if kind != "*/*"), "") == "text/event-stream"


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """
    Return `Retry-After` in seconds, `None` if it is absent or makes no sense.

    A date counts from the answer's own `Date`, so that the two clocks need not agree, and else from *now*.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value.lstrip("0")[:_SECONDS_DIGITS] or 0)
    then = _http_date(value)
    if then is None:
        return None
    sent = _http_date(headers.get("date", "")) or now
    return max((then - sent).total_seconds(), 0.0)


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
