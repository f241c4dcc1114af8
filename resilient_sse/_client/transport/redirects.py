"""One request and its redirects, up to the response that is meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from httpx_sse import aconnect_sse

from resilient_sse._client.backends import CLOSE_SECONDS, finish
from resilient_sse._client.log import origin, redacted
from resilient_sse._client.transport.clients import (
    AnyClient,
    PlainClient,
    PlainResponse,
    library_of,
    proxy_of,
)
from resilient_sse._client.transport.errors import AFTER_REDIRECT, OVER_PROXY
from resilient_sse._client.transport.http1 import MAX_PORT, ResponseStream
from resilient_sse._core.errors import HandshakeError, NotResumableError

if TYPE_CHECKING:
    from resilient_sse._client.request import PreparedRequest

_MAX_REDIRECTS = 10
_SEE_OTHER = 303
_REDIRECTS: Final = frozenset({301, 302, _SEE_OTHER, 307, 308})
_BECOMES_GET: Final = frozenset({301, 302, _SEE_OTHER})


async def exchange(
    client: AnyClient,
    request: PreparedRequest,
    url: httpx.URL,
    *,
    encoding: str,
    options: dict[str, Any],
) -> httpx.Response:
    """
    Send *request*, follow its redirects, and return the final response with its body unread.

    Redirects are followed here and not by httpx, which would hand the caller's own headers to whatever origin
    an answer names.

    Args:
        client: Who sends it.
        request: What to send.
        url: Its URL, parsed.
        encoding: The value of `Accept-Encoding`.
        options: The `extensions` of the request, and `auth` if it is not the client's.
    """
    method, content = request.method, request.content
    own = _own_headers(request, encoding)
    headers = _merged(own, request.headers) if request.headers else own
    first, at_home = url, request.at_home
    if not at_home:
        if content is not None:
            raise HandshakeError("resume= leads the request's body to another origin")
        headers, options = own, {**options, "auth": None}
    history: list[httpx.Response] = []
    for hop in count():
        sender: Any = SimpleNamespace(stream=partial(_sent, client, at_home))
        try:
            async with aconnect_sse(
                sender, method, cast("str", url), headers=headers, content=content, **options
            ) as source:
                response = source.response
        except Exception as exc:
            if proxy := proxy_of(client, url):
                exc.add_note(f"{OVER_PROXY} {proxy}")
            if history:
                exc.add_note(f"{AFTER_REDIRECT} {redacted(str(url))}")
            raise
        if response.status_code not in _REDIRECTS:
            response.history = history
            return response
        history.append(response)
        await finish(response.aclose, within=CLOSE_SECONDS)
        if hop == _MAX_REDIRECTS:
            raise _refused(response, f"is the last of more than {_MAX_REDIRECTS}")
        url = _target(url, response)
        if response.status_code in _BECOMES_GET and method != "HEAD":
            method, content = "GET", None
        if isinstance(content, AsyncIterable):
            raise NotResumableError(
                "the server redirects the request, and its body was an iterator and is spent; "
                "pass bytes or a function that returns them"
            )
        if at_home and origin(str(url)) != origin(str(first)):
            if content is not None:
                raise _refused(response, "leads the request's body to another origin")
            # From here on nothing of the caller's is sent, not even back to the first origin.
            at_home, headers, options = False, own, {**options, "auth": None}
    raise AssertionError  # pragma: no cover - count() does not end


@asynccontextmanager
async def _sent(
    client: Any,  # noqa: ANN401 - any of `AnyClient`, whose methods are alike
    at_home: bool,
    method: str,
    url: httpx.URL,
    *,
    headers: httpx.Headers,
    content: Any,  # noqa: ANN401 - as httpx takes it
    extensions: dict[str, Any],
    **auth: Any,  # noqa: ANN401 - as httpx takes it, if it is given at all
) -> AsyncGenerator[httpx.Response]:
    """
    Send a request for `aconnect_sse`, without what `httpx.AsyncClient.stream` would do beyond it.

    Away from the first origin that would add the client's default headers, its cookies and its credentials.  And
    leaving its block would close the response, which belongs to the caller.
    """
    raw = headers.raw  # what any library takes, with repeated names and bytes beyond ASCII
    options: dict[str, Any] = {"headers": raw, "content": content, "extensions": extensions}
    response: Any  # what is used of it is the same in all libraries
    if isinstance(client, PlainClient):
        response = await client.ask(method, url, **options, at_home=at_home)
    else:
        library = library_of(client)
        target: Any = url if library is httpx else str(url)
        make = client.build_request if at_home else library.Request
        request: Any = make(method, target, **options)
        response = await client.send(request, stream=True, follow_redirects=False, **auth)
        stream = response.extensions.get(ResponseStream.EXTENSION)
        if stream is not None and not response.is_stream_consumed:
            # Around the stream httpx wraps generators, and a generator that is cancelled is at its end.
            response = PlainResponse(response.status_code, dict(response.headers.items()), url, stream)
    yield response


class _Settled(httpx.Headers):
    """Headers in which the first value stands: httpx-sse writes `no-store` into what it is given."""

    def __setitem__(self, key: str, value: str) -> None:
        if key not in self:
            super().__setitem__(key, value)


def _own_headers(request: PreparedRequest, encoding: str) -> httpx.Headers:
    headers = [
        (b"Accept", b"text/event-stream"),
        (b"Cache-Control", b"no-cache"),
        (b"Accept-Encoding", encoding.encode()),
    ]
    if request.last_event_id:
        # As bytes: httpx refuses a str that is not ASCII, and ids are UTF-8 by the standard.
        headers.append((b"Last-Event-ID", request.last_event_id.encode("utf-8")))
    return _Settled(headers)


def _merged(own: httpx.Headers, caller: list[tuple[bytes, bytes]]) -> httpx.Headers:
    """Let the caller's headers win, but for the id: a stale one would repeat or lose events."""
    names = {name.lower() for name, _ in caller}
    kept = [(name, value) for name, value in own.raw if name.lower() not in names or _is_id(name)]
    added = [(name, value) for name, value in caller if not (_is_id(name) and "last-event-id" in own)]
    return _Settled([*kept, *added])


def _is_id(name: bytes) -> bool:
    return name.lower() == b"last-event-id"


def _target(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    try:
        target = url.join(location) if location.strip() else None
    except httpx.InvalidURL:
        target = None
    if target is None:
        raise _refused(response, "has no usable Location")
    if target.port is not None and not 0 < target.port <= MAX_PORT:
        raise _refused(response, "leads to a port that does not exist")
    if target.scheme not in ("http", "https") or not target.host:
        raise _refused(response, f"leads to the scheme {target.scheme[:20]!r}")
    return target


def _refused(response: httpx.Response, why: str) -> HandshakeError:
    status = response.status_code
    return HandshakeError(
        f"the server's redirect (status {status}) {why}",
        status=status,
        headers=dict(response.headers.items()),
    )
