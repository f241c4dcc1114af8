"""What is asked of the server at each attempt: the fixed parts, and the parts evaluated afresh."""

from __future__ import annotations

import inspect
import json as jsonlib
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from urllib.parse import quote_plus, unquote, unquote_plus, urlencode, urlsplit, urlunsplit

from resilient_sse._core.errors import HandshakeError

__all__ = ["Content", "HeaderValues", "ParamValues", "PreparedRequest", "RequestTemplate"]

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
class PreparedRequest:
    """
    One attempt's request.

    Attributes:
        method: The method, in upper case.
        url: The complete URL.
        headers: The caller's headers as bytes; ours are not among them.
        content: The body, if any.
        cursor: The id to resume after, if any.
    """

    method: str
    url: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]], repr=False)
    content: bytes | AsyncIterable[bytes] | None = field(default=None, repr=False)
    cursor: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """
    The request of a stream, from which each attempt's is prepared.

    What is not a function is copied, as it will be sent: what the caller changes later changes nothing.

    Raises:
        TypeError: An argument has the wrong type, or both *content* and *json* are given.
        ValueError: The URL, the method, or a header is unusable.
    """

    url: str
    method: str = "GET"
    headers: HeaderValues | Callable[[], HeaderValues | Awaitable[HeaderValues]] | None = None
    params: ParamValues | Callable[[], ParamValues | Awaitable[ParamValues]] | None = None
    content: Content | None = None
    json: Any = None
    resume_param: str | None = None

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not isinstance(self.method, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"method must be a string, not {self.method!r}")
        if not self.method.isascii() or not self.method.isalpha():
            raise ValueError(f"method must be an HTTP method such as GET, not {self.method!r}")
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
        if self.resume_param is not None and not self.resume_param:
            raise ValueError("resume_param must be the name of a query parameter or None, not ''")
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

    @property
    def fresh_credentials(self) -> bool:
        """Whether the headers are evaluated anew at each attempt."""
        return callable(self.headers)

    async def prepare(self, cursor: str | None) -> PreparedRequest:
        """
        Evaluate what is evaluated at each attempt.

        Raises:
            HandshakeError: A header cannot be sent.
            Exception: Whatever the caller's own functions raise.
        """
        given = await _evaluated(self.headers)
        try:
            headers = _header_list(given)
        except ValueError as exc:
            raise HandshakeError(f"the request cannot be sent: {exc}") from None
        params = _param_list(await _evaluated(self.params))
        if self.json is not None and not any(name.lower() == b"content-type" for name, _ in headers):
            headers.insert(0, (b"Content-Type", b"application/json"))
        return PreparedRequest(
            method=self.method.upper(),
            url=self._resolve(params, cursor),
            headers=headers,
            content=await self._body(),
            cursor=cursor,
        )

    async def _body(self) -> bytes | AsyncIterable[bytes] | None:
        if self.json is not None:
            return cast("bytes", self.json)
        content: Any = await _evaluated(self.content)
        return content.encode() if isinstance(content, str) else content

    def _resolve(self, params: list[tuple[str, str]], cursor: str | None) -> str:
        """Merge *params* behind the URL's own query, and replace the resume parameter where there is one."""
        parts = urlsplit(self.url)
        query = "&".join(part for part in (parts.query, urlencode(params)) if part)
        if self.resume_param is not None and cursor is not None:
            query = _replaced(query, self.resume_param, cursor)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _replaced(query: str, name: str, value: str) -> str:
    """Set one parameter in place; the others keep their order and spelling, which parsing would not promise."""
    pair = f"{quote_plus(name)}={quote_plus(value)}"
    kept: list[str] = []
    for part in filter(None, query.split("&")):
        if unquote_plus(part.partition("=")[0]) != name:
            kept.append(part)
        elif pair not in kept:
            kept.append(pair)
    return "&".join(kept if pair in kept else [*kept, pair])


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
    if not usable or any(c.isspace() or not c.isprintable() for c in url):
        scheme, colon, _ = url.strip().partition(":")
        raise ValueError(
            "url must be an absolute http:// or https:// URL with a host and no spaces; "
            f"this one begins with {(scheme + colon)[:20]!r}"
        )


async def _evaluated(value: Any) -> Any:  # noqa: ANN401 - a value, or a function sync or async that returns one
    result = value() if callable(value) else value
    return await result if inspect.isawaitable(result) else result


def _header_list(headers: HeaderValues | None) -> list[tuple[bytes, bytes]]:
    given: Any = () if headers is None else headers
    pairs = given.items() if isinstance(headers, Mapping) else given
    rendered: list[tuple[bytes, bytes]] = []
    for key, text in _pairs("headers", pairs):
        name = _header_bytes(key, "a name")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"headers: {key!r} is no name of a header")
        value = _header_bytes(text, f"the value of {key!r}")
        if _UNSENDABLE.search(value):  # not shown: it may be a secret
            raise ValueError(
                f"headers: the value of {key!r} has a line end, a control character or a space at an end"
            )
        rendered.append((name, value))
    return rendered


def _param_list(params: ParamValues | None) -> list[tuple[str, str]]:
    given: Any = () if params is None else params
    pairs = given.items() if isinstance(params, Mapping) else given
    rendered: list[tuple[str, str]] = []
    for name, value in _pairs("params", pairs):
        kept: object = value
        several = isinstance(kept, Iterable) and not isinstance(kept, (str, bytes, Mapping))
        values: Iterable[Any] = value if several else (value,)  # as in httpx, several repeat the name
        rendered += [(str(name), _param_text(each)) for each in values]
    return rendered


def _pairs(name: str, values: Iterable[Any]) -> list[tuple[Any, Any]]:
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a mapping, a sequence of pairs, or a function that returns one")
    try:
        return [(key, value) for key, value in values]
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a mapping, a sequence of pairs, or a function that returns one"
        ) from None


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
