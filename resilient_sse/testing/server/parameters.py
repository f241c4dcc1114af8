"""What a request may ask for, and what it is told when it makes no sense."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import anyio
from starlette.requests import ClientDisconnect

from resilient_sse.testing.server.checks import check_event, check_text, check_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

__all__ = ["BadRequestError", "Publication", "StreamParameters", "accepts_gzip", "read_publication"]

DEFAULT_USER = "default"

_INTEGER = re.compile(r"-?[0-9]+")
_MAX_DIGITS = 18  # below 2**63, which is what SQLite and Redis can number

_MAX_BODY = 1024 * 1024

# A client reads no answer before it has sent its body; so much, and for so long, it may.
_MAX_DRAINED = 64 * _MAX_BODY
_DRAIN_SECONDS = 10.0
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
            BadRequestError: A cursor is no integer, or one too large, or the user's id is too long.
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
        BadRequestError: It is too large, no such object, or something in it is not what it must be.
        ClientDisconnect: The publisher hung up before the end of it.
    """
    body = await _read_body(request)
    try:
        given: Any = json.loads(body, parse_constant=_no_number, parse_float=_finite)
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
        try:
            data = json.dumps(data, separators=(",", ":"))
        except RecursionError:
            raise BadRequestError("data is nested too deeply") from None
    try:
        check_text("data", data)
        check_event(event)
        check_user(user)
    except (TypeError, ValueError) as error:
        raise BadRequestError(str(error)) from None
    return Publication(data, event, user)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    parts = request.stream()
    async for part in parts:
        body += part
        if len(body) > _MAX_BODY:
            await _drain(parts)
            raise BadRequestError(f"the body is larger than {_MAX_BODY} bytes", 413)
    return bytes(body)


async def _drain(parts: AsyncIterator[bytes]) -> None:
    """Take what is left of a body: a connection closed with it unread is reset, and the answer is lost."""
    left = _MAX_DRAINED
    with suppress(ClientDisconnect), anyio.move_on_after(_DRAIN_SECONDS):
        async for part in parts:
            left -= len(part)
            if left < 0:
                return


def _no_number(name: str) -> NoReturn:
    raise BadRequestError(f"JSON has no {name}; send null, or a string")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequestError(f"the number {text[:_EXCERPT]} is too large; send it as a string")
    return number


def _user(user: str) -> str:
    try:
        check_user(user)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    return user


def _cursor(name: str, value: str | None) -> int | None:
    """Read an id; an empty one is none, as the standard has it."""
    if not value:
        return None
    if not _INTEGER.fullmatch(value):
        raise BadRequestError(f"{name} must be an integer, not {value[:_EXCERPT]!r}")
    if len(value.removeprefix("-")) > _MAX_DIGITS:
        text = f"{name} must be an integer of at most {_MAX_DIGITS} digits, not {value[:_EXCERPT]!r}"
        raise BadRequestError(text)
    return int(value)
