"""What a server may do wrong over HTTP, each once on demand: `Faults(Reset(after=3), Status(503))`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from starlette.responses import RedirectResponse, Response

from resilient_sse.testing.server.checks import check_text, check_whole, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from resilient_sse.testing.server.peer import Peer
    from resilient_sse.testing.server.reader import Block

__all__ = ["Fault", "Faults", "RedirectLoop", "Status", "WrongType"]

LOOP_PATH = "/api/v1/loop"
"""A route that leads to itself."""

# What uvicorn can answer with, and no answer but these is a final one.
_STATUSES = range(200, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    Something a server does wrong with one request.

    A fault of one's own overrides `answer`, to answer with something else than a stream, or `shape`, to send
    something else than what there is to send.
    """

    content_encoding: ClassVar[str | None] = None
    """What the answer claims to be encoded as; the body is then left to `shape`."""

    @property
    def name(self) -> str:
        """How records call it."""
        return type(self).__name__

    def answer(self, request: Request) -> Response | None:
        """Return the answer, or `None` to answer with a stream."""
        del request
        return None

    def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncIterator[Block]:
        """Return what is sent instead of *blocks*."""
        del peer, user
        return blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing(Fault):
    """
    A fault that lets events pass before it strikes.

    Args:
        after: How many.

    Raises:
        TypeError: *after* is no whole number.
        ValueError: *after* is negative.
    """

    after: int = 1

    def __post_init__(self) -> None:
        check_whole("after", self.after, least=0)

    async def passed(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Block]:
        """Yield blocks up to the last event that may pass."""
        left = self.after
        while left:
            try:
                block = await anext(blocks)
            except StopAsyncIteration:
                return
            yield block
            left -= block[0] is not None


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """
    Answer with a status and no stream.

    Args:
        status: The status.
        retry_after: The `Retry-After` header: seconds, or an HTTP date; `None` (the default) sends none.
        body: The body.

    Raises:
        TypeError: A value is of the wrong kind.
        ValueError: *status* is not between 200 and 599, or *retry_after* is negative, or cannot be in a header.
    """

    status: int
    retry_after: int | str | None = None
    body: str = "a fault was asked for\n"

    def __post_init__(self) -> None:
        check_whole("status", self.status, least=_STATUSES.start)
        if self.status not in _STATUSES:
            raise ValueError(f"status must be at most {_STATUSES.stop - 1}, not {self.status!r}")
        if isinstance(self.retry_after, str):
            _check_header("retry_after", self.retry_after)
        elif self.retry_after is not None:
            check_whole("retry_after", self.retry_after, least=0)
        check_text("body", self.body)

    def answer(self, request: Request) -> Response | None:
        """Return the answer."""
        del request
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        bodyless = self.status in (204, 304)
        return Response(
            None if bodyless else self.body, self.status, headers, None if bodyless else "text/plain"
        )


@dataclass(frozen=True, slots=True)
class WrongType(Fault):
    """
    Answer 200 with something that is no event stream, as a login page does.

    Args:
        content_type: Its type.
        body: Its body.

    Raises:
        TypeError: A value is no text.
        ValueError: *content_type* cannot be in a header.
    """

    content_type: str = "text/html"
    body: str = "<!doctype html><title>Please log in</title>"

    def __post_init__(self) -> None:
        _check_header("content_type", self.content_type)
        check_text("body", self.body)

    def answer(self, request: Request) -> Response | None:
        """Return the answer."""
        del request
        return Response(self.body, media_type=self.content_type)


@dataclass(frozen=True, slots=True)
class RedirectLoop(Fault):
    """Redirect to a place that redirects to itself."""

    def answer(self, request: Request) -> Response | None:
        """Return the answer."""
        del request
        return RedirectResponse(LOOP_PATH)


class Faults:
    """
    A script of faults: one for each request for a stream, in order; `None` stands for a request that is served.

    Args:
        faults: The faults.
        then: What follows the last one: `None` (the default) serves all further requests, a fault strikes each.

    Raises:
        TypeError: Something is no fault.
    """

    def __init__(self, *faults: Fault | None, then: Fault | None = None) -> None:
        _check_faults("a fault", faults)
        _check_faults("then", [then])
        self._script: deque[Fault | None] = deque(faults)
        self.then = then

    def add(self, *faults: Fault | None) -> None:
        """
        Add to the end of the script; from any thread.

        Raises:
            TypeError: Something is no fault; nothing is added then.
        """
        _check_faults("a fault", faults)
        self._script.extend(faults)

    def next(self) -> Fault | None:
        """Take the fault for the next request."""
        return self._script.popleft() if self._script else self.then

    def __repr__(self) -> str:
        """Show what is left."""
        return f"<Faults {list(self._script)!r}, then {self.then!r}>"


def _check_faults(name: str, faults: Iterable[object]) -> None:
    for fault in faults:
        if fault is None or isinstance(fault, Fault):
            continue
        given, hint = shown(fault), ""
        if isinstance(fault, type) and issubclass(fault, Fault):
            hint = f"; put parentheses behind it: {fault.__name__}(...)"
        elif isinstance(fault, list | tuple):
            hint = "; give faults one by one: Faults(*faults)"
        raise TypeError(f"{name} must be one such as Status(503), or None, not {given}{hint}")


def _check_header(name: str, value: object) -> None:
    check_text(name, value)
    if isinstance(value, str) and not (value.isprintable() and value.isascii()):
        raise ValueError(f"{name} must be printable ASCII, not {shown(value)}")
