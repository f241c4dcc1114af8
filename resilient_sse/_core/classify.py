"""What an answer or a failure means: retry, stop or raise, and how long the server asked to be left alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    ResilientSSEError,
    StreamError,
)
from resilient_sse._core.states import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["default_verdict", "is_event_stream", "is_for_a_moment", "reason_of", "retry_after_seconds"]

_NO_CONTENT = 204
_UNAUTHORIZED = 401
_GONE = 410
_CLIENT_ERRORS = 400
_SERVER_ERRORS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Centuries; int() of a longer digit string costs time that the server decides.
_SECONDS_DIGITS = 10

_TRANSIENT = frozenset(
    {
        408,  # Request Timeout
        409,  # Conflict: the server still holds our dead connection
        425,  # Too Early
        429,  # Too Many Requests
    }
)

# Servers, CDNs and gateways invent what they need from 500 to 599; these two speak of the request for good.
_PERMANENT = frozenset(
    {
        501,  # Not Implemented
        505,  # HTTP Version Not Supported
    }
)

# A deploy answers 404 for a moment; before the stream has ever worked it means a wrong URL.
_TRANSIENT_ONCE_PROVEN = frozenset({404})

# One value of a list; a comma inside quotes parts nothing.
_VALUE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++')
_MEDIA_TYPE = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;|$)", re.IGNORECASE
)


def default_verdict(error: ResilientSSEError, *, proven: bool, fresh_credentials: bool) -> Verdict:
    """
    Decide about a failure by the default table.

    Args:
        error: The failure.
        proven: Whether this stream has been connected before.
        fresh_credentials: Whether the next attempt would carry credentials that may differ.
    """
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


def is_for_a_moment(error: BadStatusError) -> bool:
    """Whether the status says that asking again later may help, or a `Retry-After` beside it does."""
    status = error.status
    if status in _TRANSIENT or (_SERVER_ERRORS <= status < _SERVER_ERRORS + 100 and status not in _PERMANENT):
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
