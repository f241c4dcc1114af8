"""What a request asks for, what is noted of it, and how often one user may ask."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, cast

from starlette.requests import Request

from resilient_sse.testing.checks import check_seconds, check_text, check_whole, shown

DEFAULT_USER = "default"

_MAX_USER = 256  # characters
_CURSOR = re.compile(r"-?[0-9]{1,18}")  # below 2**63, which is what SQLite and Redis can number
_EXCERPT = 40
_MAX_BODY = 1024 * 1024


class BadRequestError(Exception):
    """The request makes no sense: the text says why, and it is answered with *status*."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True, kw_only=True)
class ServerCounters:
    """The server's figures."""

    connections: int = 0  #: Streams opened, and faulty answers given instead of one.
    published: int = 0  #: Events published, heartbeats with ids and completion events included.
    events_sent: int = 0  #: Events written to streams, replayed ones included, heartbeats without ids not.
    replayed: int = 0  #: Those of them that came before the stream had caught up with the store.
    heartbeats: int = 0  #: Heartbeats written.
    truncated: int = 0  #: Notices that history was gone.
    slow_client_disconnects: int = 0  #: Streams ended because their reader did not keep up.
    rate_limited: int = 0  #: Requests answered 429.
    bad_requests: int = 0  #: Requests answered 400.
    unavailable: int = 0  #: Requests answered 503 because the store could not be read.
    faults: int = 0  #: Faults played.

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request for a stream that was understood."""

    at: float  #: When, on the server's monotonic clock, in seconds.
    user: str
    header_cursor: int | None = None  #: The id in `Last-Event-ID`, `None` without one.
    query_cursor: int | None = None  #: The id in the query, `None` without one.
    cursor: int | None = None  #: The one that counted, `None` for neither.
    status: int = 0  #: The status of the answer; 0 until there is one.
    first_id: int | None = None  #: The id of the first event that was sent on it, `None` while there is none.
    fault: str = ""  #: The name of the fault played instead of, or on, the answer; `""` for none.


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests for a stream, for each user, *per* so many seconds."""

    requests: int
    per: float = 60.0

    def __post_init__(self) -> None:
        check_whole("requests", self.requests, least=1)
        check_seconds("per", self.per)

    def wait(self, admitted: dict[str, deque[float]], user: str, now: float) -> int:
        """
        Admit a request of *user* at *now* and return 0, or return for how many whole seconds to wait.

        *admitted* is when the last ones of each user were, who came last at the end; a user who has not come for
        long is forgotten.  The window slides: no two windows' worth may come at once.
        """
        while admitted and now - next(iter(admitted.values()))[-1] >= self.per:
            del admitted[next(iter(admitted))]
        times = admitted.get(user) or deque[float]()
        while times and now - times[0] >= self.per:
            times.popleft()
        if len(times) == self.requests:
            # Rounded up: a client that waits as told must find the door open.
            return max(math.ceil(times[0] + self.per - now), 1)
        times.append(now)
        admitted.pop(user, None)
        admitted[user] = times
        return 0


def read_request(request: Request, at: float) -> RequestRecord:
    """Read a request for a stream that came at the time *at*; `BadRequestError` says what is wrong with it."""
    query = request.query_params
    user = query.get("user_id", DEFAULT_USER)
    try:
        check_user(user)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    header = _cursor("the Last-Event-ID header", request.headers.get("last-event-id"))
    asked = _cursor("last_event_id", query.get("last_event_id"))
    # The header wins: a reconnecting client renews it, a URL it does not.
    cursor = asked if header is None else header
    return RequestRecord(at=at, user=user, header_cursor=header, query_cursor=asked, cursor=cursor)


async def read_publication(request: Request) -> dict[str, Any]:
    """
    Read a request to publish, and return the arguments of `ReferenceServer.publish`.

    It is a JSON object with `data`, and maybe `event` and `user_id`; `BadRequestError` says what is wrong with it.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        # uvicorn reads the rest: a publisher reads no answer before it has sent everything.
        if len(body) > _MAX_BODY:
            raise BadRequestError(f"the body is larger than {_MAX_BODY} bytes", 413)
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or "data" not in given:
        raise BadRequestError("the body must be a JSON object with the key 'data'")
    told = cast("dict[str, Any]", given)
    data, event, user = told["data"], told.get("event"), told.get("user_id", DEFAULT_USER)
    try:
        if not isinstance(data, str):
            data = json.dumps(data, separators=(",", ":"), allow_nan=False)
        check_publication(data, event, user)
    except (TypeError, ValueError) as error:
        raise BadRequestError(str(error)) from None
    except RecursionError:
        raise BadRequestError("data is nested too deeply") from None
    return {"data": data, "event": event, "user_id": user}


def check_user(user: object) -> None:
    """Check a user's id; errors as of `ReferenceServer.publish`."""
    check_text("user_id", user)
    if (length := len(str(user))) > _MAX_USER:
        raise ValueError(f"user_id must not be longer than {_MAX_USER} characters; this one has {length}")


def check_publication(data: object, event: object, user: object) -> None:
    """Check what is to be published; errors as of `ReferenceServer.publish`."""
    if not isinstance(data, str):
        raise TypeError(f"data must be a string, not {shown(data)}; json.dumps makes one of other values")
    check_text("data", data)
    if event is not None:
        check_text("event", event, line=True)
    check_user(user)


def accepts_gzip(request: Request) -> bool:
    """Tell whether the client takes gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, quality = part.replace(" ", "").partition(";q=")
        if coding in ("gzip", "*"):
            return not quality or quality.strip("0.") != ""
    return False


def _cursor(name: str, value: str | None) -> int | None:
    """Read an id; an empty one is none, as the standard has it."""
    if not value:
        return None
    if not _CURSOR.fullmatch(value):
        text = f"{name} must be an integer of at most 18 digits, not {value[:_EXCERPT]!r}"
        raise BadRequestError(text)
    return int(value)
