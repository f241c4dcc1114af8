"""What a request may ask for, and what it is told when it makes no sense."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["BadRequestError", "Publication", "StreamParameters", "accepts_gzip", "read_publication"]

DEFAULT_USER = "default"

# Below 2**63, which is what SQLite and Redis can number.
_INTEGER = re.compile(r"-?[0-9]{1,18}")

_MAX_USER = 256
_MAX_BODY = 1024 * 1024
_EXCERPT = 40


class BadRequestError(Exception):
    """
    The request makes no sense; the text says why.

    Args:
        text: Why.
        status: The status to answer with.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class StreamParameters:
    """
    What a request for a stream asks for.

    Attributes:
        user: Whose stream.
        header: The id in `Last-Event-ID`, `None` without one.
        query: The id in the query, `None` without one.
    """

    user: str
    header: int | None
    query: int | None

    @property
    def cursor(self) -> int | None:
        """The id to resume after.  The header wins: a reconnecting client renews it, a URL it does not."""
        return self.query if self.header is None else self.header

    @classmethod
    def of(cls, request: Request) -> StreamParameters:
        """
        Read a request.

        Raises:
            BadRequestError: A cursor is no integer, or the user's id is too long.
        """
        query = request.query_params
        return cls(
            _user(query.get("user_id", DEFAULT_USER)),
            _cursor("the Last-Event-ID header", request.headers.get("last-event-id")),
            _cursor("last_event_id", query.get("last_event_id")),
        )


@dataclass(frozen=True, slots=True)
class Publication:
    """
    What a request to publish carries.

    Attributes:
        data: The text.
        event: The event type, or `None`.
        user: For whom.
    """

    data: str
    event: str | None
    user: str


async def read_publication(request: Request) -> Publication:
    """
    Read a request to publish: a JSON object with `data`, and maybe `event` and `user_id`.

    Raises:
        BadRequestError: It is too large, no such object, or its event type is not one line.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise BadRequestError(f"the body is larger than {_MAX_BODY} bytes", 413)
    try:
        given: Any = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise BadRequestError("the body must be a JSON object with the key 'data'") from None
    if not isinstance(given, dict) or "data" not in given:
        raise BadRequestError("the body must be a JSON object with the key 'data'")
    return _publication(cast("dict[str, Any]", given))


def accepts_gzip(request: Request) -> bool:
    """Tell whether the client takes gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, parameter = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _publication(given: dict[str, Any]) -> Publication:
    data, event, user = given["data"], given.get("event"), given.get("user_id", DEFAULT_USER)
    if not isinstance(data, str):
        data = json.dumps(data, separators=(",", ":"))
    if not (event is None or (isinstance(event, str) and not re.search(r"[\r\n]", event))):
        raise BadRequestError("event must be a string of one line, or null")
    if not isinstance(user, str):
        raise BadRequestError("user_id must be a string")
    try:
        f"{data}{event}{user}".encode()
    except UnicodeEncodeError:
        raise BadRequestError("half a surrogate pair cannot be sent as UTF-8") from None
    return Publication(data, event, _user(user))


def _user(user: str) -> str:
    if len(user) > _MAX_USER:
        raise BadRequestError(f"user_id must not be longer than {_MAX_USER} characters")
    return user


def _cursor(name: str, value: str | None) -> int | None:
    """Read an id; an empty one is none, as the standard has it."""
    if not value:
        return None
    if not _INTEGER.fullmatch(value):
        raise BadRequestError(f"{name} must be an integer, not {value[:_EXCERPT]!r}")
    return int(value)
