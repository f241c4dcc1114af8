"""What an answer or a failure means: retry, stop or raise, and how long the server asked to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    ResilientSSEError,
)
from resilient_sse._core.states import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["default_verdict", "is_event_stream", "reason_of", "retry_after_seconds"]

_NO_CONTENT = 204
_UNAUTHORIZED = 401
_SERVER_ERRORS = 500

# Centuries; int() of a longer digit string costs time that the server decides.
_SECONDS_DIGITS = 10

_TRANSIENT = frozenset(
    {
        408,  # Request Timeout
        425,  # Too Early
        429,  # Too Many Requests
        500,  # Internal Server Error
        502,  # Bad Gateway
        503,  # Service Unavailable
        504,  # Gateway Timeout
        409,  # Conflict: the server still holds our dead connection
    }
)

# A deploy answers 404 for a moment; before the stream has ever worked it means a wrong URL.
_TRANSIENT_ONCE_PROVEN = frozenset({404})


def default_verdict(error: ResilientSSEError, *, proven: bool, fresh_credentials: bool) -> Verdict:
    """
    Decide about a failure by the default table.

    Args:
        error: The failure.
        proven: Whether this stream has been connected before.
        fresh_credentials: Whether the next attempt would carry credentials that may differ.
    """
    if isinstance(error, ConnectionLostError):
        return Verdict.RETRY
    if isinstance(error, BadStatusError):
        status = error.status
        if status == _NO_CONTENT:
            # The standard: a client "can be told to stop reconnecting using the HTTP 204 No Content response".
            return Verdict.STOP
        if status in _TRANSIENT or (proven and status in _TRANSIENT_ONCE_PROVEN):
            return Verdict.RETRY
        if status == _UNAUTHORIZED and fresh_credentials:
            return Verdict.RETRY
    return Verdict.RAISE


def reason_of(error: BaseException) -> Reason:
    """Return the reason that states and statistics give for *error*."""
    if isinstance(error, ConnectionLostError):
        return error.reason
    if isinstance(error, BadStatusError):
        return Reason.SERVER if error.status >= _SERVER_ERRORS else Reason.STATUS
    if isinstance(error, BadContentTypeError):
        return Reason.CONTENT_TYPE
    return Reason.PROTOCOL


def is_event_stream(content_type: str) -> bool:
    """Whether a `Content-Type` has the essence `text/event-stream`, whatever its case and parameters."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """
    Read `Retry-After`, in seconds or as an HTTP date.

    A date is taken relative to the answer's own `Date`, so that the two clocks need not agree; *now* stands in
    where there is none.  Returns `None` when the header is absent or makes no sense.
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
