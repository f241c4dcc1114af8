"""What is asked of the server at each attempt: the fixed parts, and the parts evaluated afresh."""

from __future__ import annotations

import asyncio
import inspect
import json as jsonlib
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, TypeAlias, cast
from urllib.parse import quote_plus, unquote, unquote_plus, urlencode, urljoin, urlsplit, urlunsplit

from resilient_sse._client.backends import misread_cancellation
from resilient_sse._client.log import origin
from resilient_sse._core.checks import check
from resilient_sse._core.errors import HandshakeError, NotResumableError
from resilient_sse._core.events import Opened
from resilient_sse._core.options import SPENT_BODY

HeaderValues: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
Primitive: TypeAlias = str | int | float | bool | None
ParamValues: TypeAlias = Mapping[str, Primitive | Iterable[Primitive]] | Iterable[tuple[str, Primitive]]
Content: TypeAlias = str | bytes | AsyncIterable[bytes] | Callable[[], "bytes | Awaitable[bytes]"]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1: what a header's name is made of
_UNSENDABLE = re.compile(
    rb"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$"
)  # and section 5.5: what its value may not hold

# RFC 9110 section 9.2.1: these ask for nothing but an answer, so asking again does no harm.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """
    What the next request changes against the first, to go on where the stream was lost.

    What is left out stays as it was: `Resume()` sends the first request again.

    Attributes:
        url: Another URL; a relative one is resolved against the stream's.  The stream's *params* are not added.
            On another origin nothing of the caller's is sent: no headers, credentials or cookies.
        method: Another method; then the first request's body is not sent.
        params: Query parameters; each takes the place of those with its name.
        headers: Headers; each takes the place of those with its name.
        content: Another body.
        json: Another body, as JSON.
        last_event_id: The value of the `Last-Event-ID` header, which is not sent otherwise.
        lossy: Whether the answer cannot bring what was missed: one `Gap` is reported when it has come.
    """

    url: str | None = None
    method: str | None = None
    params: ParamValues | None = field(default=None, repr=False)
    headers: HeaderValues | None = field(default=None, repr=False)
    content: str | bytes | None = field(default=None, repr=False)
    json: Any = field(default=None, repr=False)
    last_event_id: str | None = None
    lossy: bool = False


_UNCHANGED = Resume()

ResumeFunction: TypeAlias = Callable[[str | None, Opened | None], "Resume | Awaitable[Resume | None] | None"]
"""
Says how to resume, given the position and the head of the last answer; either may be `None`, not both.

It returns `None` if it knows no way: then a request of a safe method is sent as at first, and any other raises
`NotResumableError`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRequest:
    """
    One attempt's request.

    Attributes:
        method: The method, in upper case.
        url: The complete URL.
        headers: The caller's headers as bytes; ours are not among them.
        content: The body, if any.
        cursor: The id it asks to resume after, if any.
        last_event_id: The value of that header, if it is to be sent.
        at_home: Whether it goes to the origin of the stream's URL, and may carry what is the caller's.
        lossy: Whether events are lost although it succeeds.
    """

    method: str
    url: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]], repr=False)
    content: bytes | AsyncIterable[bytes] | None = field(default=None, repr=False)
    cursor: str | None = field(default=None, repr=False)
    last_event_id: str | None = field(default=None, repr=False)
    at_home: bool = True
    lossy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """
    The request of a stream, from which each attempt's is prepared.

    What is not a function is copied, as it will be sent: what the caller changes later changes nothing.
    """

    url: str
    method: str = "GET"
    headers: HeaderValues | Callable[[], HeaderValues | Awaitable[HeaderValues]] | None = None
    params: ParamValues | Callable[[], ParamValues | Awaitable[ParamValues]] | None = None
    content: Content | None = None
    json: Any = None
    resume_param: str | None = None
    resume: ResumeFunction | None = None

    def __post_init__(self) -> None:
        _check_url(self.url)
        method = "an HTTP method such as GET"
        check("method", self.method, str, method, lambda name: name.isascii() and name.isalpha())
        if self.content is not None and self.json is not None:
            raise TypeError("give content or json, not both")
        content = self.content
        if content is not None and not (
            isinstance(content, (str, bytes, AsyncIterable)) or callable(content)
        ):
            raise TypeError(
                "content must be bytes, a string, an async iterable of bytes, or a function that returns bytes, "
                f"not {type(content).__name__}; for a JSON value use json="
            )
        parameter = "the name of a query parameter or None"
        check("resume_param", self.resume_param, (str, NoneType), parameter, lambda name: name != "")
        if self.resume is not None and self.resume_param is not None:
            raise TypeError("give resume or resume_param, not both")
        if self.resume is not None and not callable(self.resume):
            raise TypeError(
                f"resume must be a function of the position and the last answer, not {self.resume!r}"
            )
        if not callable(self.headers):
            object.__setattr__(self, "headers", _header_list(self.headers))
        if not callable(self.params):
            object.__setattr__(self, "params", _param_list(self.params))
        if self.json is not None:
            object.__setattr__(self, "json", _json_bytes(self.json))

    @property
    def userinfo(self) -> tuple[str, str] | None:
        """The user and password written in the URL; they are not sent as a part of it, nor logged."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")

    @property
    def repeatable(self) -> bool:
        """Whether the method is safe, so that the request may be sent again whatever has happened."""
        return self.method.upper() in _SAFE_METHODS

    @property
    def replayable_body(self) -> bool:
        """Whether the body can be produced more than once."""
        return not isinstance(self.content, AsyncIterable)

    async def prepare(self, cursor: str | None, answer: Opened | None = None) -> PreparedRequest:
        """
        Evaluate what is evaluated at each attempt.

        Args:
            cursor: The position to resume after.
            answer: The head of the last answer.
        """
        change = await self._change(cursor, answer)
        lossy = change is None and cursor is not None
        change = change or _UNCHANGED
        if change.content is not None and change.json is not None:
            raise TypeError("resume: give content or json, not both")
        headers: Any = await _evaluated(self.headers)
        try:
            headers = _header_list(headers) if callable(self.headers) else headers
            added = _header_list(change.headers)
        except ValueError as exc:
            raise HandshakeError(f"the request cannot be sent: {exc}") from None
        if change.url is None:
            url = _merged(self.url, _param_list(await _evaluated(self.params)))
        else:
            try:
                url = urljoin(self.url, change.url)
                _check_url(url)
            except ValueError as exc:  # as a rule a server has named it
                raise HandshakeError(f"resume: {exc}") from None
            url = _merged(url, [])
        for name, value in _param_list(change.params):
            url = _replaced(url, name, value)
        replaced = {name.lower() for name, _ in added}
        headers = [*(pair for pair in headers if pair[0].lower() not in replaced), *added]
        content = await self._body(change, again=answer is not None)
        is_json = change.json is not None or (change.content is None and self.json is not None)
        if is_json and content is not None and b"content-type" not in {name.lower() for name, _ in headers}:
            headers.insert(0, (b"Content-Type", b"application/json"))
        return PreparedRequest(
            method=(change.method or self.method).upper(),
            url=url,
            headers=headers,
            content=content,
            cursor=None if lossy or change.lossy else change.last_event_id or cursor,
            last_event_id=change.last_event_id,
            at_home=change.url is None or origin(url) == origin(self.url),
            lossy=lossy or change.lossy,
        )

    async def _change(self, cursor: str | None, answer: Opened | None) -> Resume | None:
        """Ask the caller's function, if there is something to resume, and take care that nothing is done twice."""
        if self.resume is None or (cursor is None and answer is None):
            if cursor is None:
                return _UNCHANGED
            if self.resume_param is None:
                return Resume(last_event_id=cursor)
            return Resume(last_event_id=cursor, params={self.resume_param: cursor})
        change: Any = self.resume(cursor, answer)
        if inspect.isawaitable(change):
            change = await change
        if change is None and not self.repeatable:
            raise NotResumableError(
                "resume knows no way to go on from here, and sending the request again could repeat its work"
            )
        if change is not None and not isinstance(change, Resume):
            raise TypeError(f"resume must return a Resume or None, not {change!r}")
        return change

    async def _body(self, change: Resume, *, again: bool) -> bytes | AsyncIterable[bytes] | None:
        if change.json is not None:
            return _json_bytes(change.json)
        content: Any = change.content
        if content is None and change.method is None:
            if self.json is not None:
                return cast("bytes", self.json)
            content = await _evaluated(self.content)
            if again and isinstance(content, AsyncIterable):
                raise NotResumableError(SPENT_BODY)
        return content.encode() if isinstance(content, str) else content


def _merged(url: str, params: list[tuple[str, str]]) -> str:
    """Put *params* behind the URL's own query; user information and fragment are left out."""
    if not params and "@" not in url and "#" not in url:
        return url
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(params)) if part)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _replaced(url: str, name: str, value: str) -> str:
    """Set one parameter in place; the others keep their order and spelling, which parsing would not promise."""
    parts = urlsplit(url)
    pair = f"{quote_plus(name)}={quote_plus(value)}"
    kept: list[str] = []
    for part in filter(None, parts.query.split("&")):
        if unquote_plus(part.partition("=")[0]) != name:
            kept.append(part)
        elif pair not in kept:
            kept.append(pair)
    return urlunsplit(parts._replace(query="&".join(kept if pair in kept else [*kept, pair])))


def _json_bytes(value: Any) -> bytes:  # noqa: ANN401 - any value that JSON can express
    try:
        return jsonlib.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"json cannot be encoded: {exc}") from None


def _check_url(url: str) -> None:
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"url must be a string, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in url or not url.isprintable():
        scheme, colon, _ = url.strip().partition(":")
        raise ValueError(
            "url must be an absolute http:// or https:// URL with a host and no spaces; "
            f"this one begins with {(scheme + colon)[:20]!r}"
        )


async def _evaluated(value: Any) -> Any:  # noqa: ANN401 - a value, or a function sync or async that returns one
    if not callable(value):
        return value
    try:
        result = value()
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as exc:
        if not misread_cancellation():
            raise
        raise RuntimeError("what a function given to the stream waited for was cancelled") from exc


def _header_list(headers: HeaderValues | None) -> list[tuple[bytes, bytes]]:
    rendered: list[tuple[bytes, bytes]] = []
    for key, text in _pairs("headers", headers):
        name, value = _header_bytes(key, "a name"), _header_bytes(text, f"the value of {key!r}")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"headers: {key!r} is no name of a header")
        if _UNSENDABLE.search(value):  # not shown: it may be a secret
            raise ValueError(
                f"headers: the value of {key!r} has a line end, a control character or a space at an end"
            )
        rendered.append((name, value))
    return rendered


def _param_list(params: ParamValues | None) -> list[tuple[str, str]]:
    rendered: list[tuple[str, str]] = []
    for name, value in _pairs("params", params):
        kept: object = value
        several = isinstance(kept, Iterable) and not isinstance(kept, (str, bytes, Mapping))
        values: Iterable[Any] = value if several else (value,)  # as in httpx, several repeat the name
        rendered += [(str(name), _param_text(each)) for each in values]
    return rendered


def _pairs(name: str, values: object) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping, or of what holds pairs; none of `None`."""
    given: Any = () if values is None else values
    pairs = given.items() if isinstance(values, Mapping) else given
    with suppress(TypeError, ValueError):
        if not isinstance(pairs, (str, bytes)):
            return [(key, value) for key, value in pairs]
    raise TypeError(f"{name} must be a mapping, a sequence of pairs, or a function that returns one")


def _header_bytes(value: object, what: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"headers: {what} must be a string, not {type(value).__name__}")
    return value.encode("utf-8")


def _param_text(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, (bytes, Mapping)):  # their text would be Python's, which no server reads
        raise TypeError(f"params: a value must be a string, a number or several of them, not {kind}")
    # As httpx writes them: true and false in lower case, nothing for None.
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
