"""One request and its redirects, as one async generator: the response first, then its bytes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from httpx_sse import aconnect_sse

from resilient_sse._core.errors import HandshakeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from resilient_sse._client.request import PreparedRequest

__all__ = ["exchange"]

_MAX_REDIRECTS = 10
_SEE_OTHER = 303
_REDIRECTS: Final = frozenset({301, 302, _SEE_OTHER, 307, 308})
_BECOMES_GET: Final = frozenset({301, 302, _SEE_OTHER})


async def exchange(
    client: httpx.AsyncClient, request: PreparedRequest, *, encoding: str, options: dict[str, Any]
) -> AsyncGenerator[httpx.Response | bytes]:
    """
    Send *request*, follow its redirects, and yield the final response and then the raw bytes of its body.

    Closing the generator closes the connection; so does cancelling it, and so does the event loop when it is
    dropped unfinished.  Redirects are followed here and not by httpx, which would hand the caller's own
    headers to whatever origin an answer names.

    Args:
        client: Who sends it.
        request: What to send.
        encoding: The value of `Accept-Encoding`.
        options: Further arguments of `client.stream`: auth, timeout, extensions.

    Raises:
        HandshakeError: A redirect that must not be followed.
    """
    method, url, content = request.method, httpx.URL(request.url), request.content
    own = _own_headers(request, encoding)
    headers = _merged(own, request.headers)
    home = _origin(url)
    for hop in count():
        async with aconnect_sse(
            client, method, str(url), headers=headers, content=content, follow_redirects=False, **options
        ) as source:
            response = source.response
            if response.status_code not in _REDIRECTS:
                yield response  # noqa: ASYNC119 - its owner closes this generator
                async for chunk in response.aiter_raw():
                    yield chunk  # noqa: ASYNC119 - as above
                return
            if hop == _MAX_REDIRECTS:
                raise _refused(response, f"is the last of more than {_MAX_REDIRECTS}")
            url = _target(url, response)
            if response.status_code in _BECOMES_GET and method != "HEAD":
                method, content = "GET", None
            if _origin(url) != home and not isinstance(client, _Stranger):
                if content is not None:
                    raise _refused(response, "leads the request's body to another origin")
                # From here on nothing of the caller's is sent, not even back to the first origin.
                client, headers = cast("httpx.AsyncClient", _Stranger(client)), own
                options = {**options, "auth": None}


class _Stranger:
    """
    What `aconnect_sse` needs of a client, for another origin: it sends just what it is given.

    `httpx.AsyncClient.stream` would add the client's default headers, its cookies and its credentials.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: httpx.Headers,
        timeout: httpx.Timeout,  # noqa: ASYNC109 - httpx's own name for it, passed through
        extensions: dict[str, Any],
        content: None,
        auth: None,
        follow_redirects: bool,
    ) -> AsyncGenerator[httpx.Response]:
        request = httpx.Request(
            method,
            url,
            headers=headers,
            content=content,
            extensions={**extensions, "timeout": timeout.as_dict()},
        )
        response = await self._client.send(request, stream=True, auth=auth, follow_redirects=follow_redirects)
        try:
            yield response
        finally:
            await response.aclose()


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
    if request.cursor:
        # As bytes: httpx refuses a str that is not ASCII, and ids are UTF-8 by the standard.
        headers.append((b"Last-Event-ID", request.cursor.encode("utf-8")))
    return _Settled(headers)


def _merged(own: httpx.Headers, caller: list[tuple[bytes, bytes]]) -> httpx.Headers:
    """Let the caller's headers win, but for the id: a stale one would repeat or lose events."""
    names = {name.lower() for name, _ in caller}
    kept = [(name, value) for name, value in own.raw if name.lower() not in names or _is_id(name)]
    added = [(name, value) for name, value in caller if not (_is_id(name) and "last-event-id" in own)]
    return _Settled([*kept, *added])


def _is_id(name: bytes) -> bool:
    return name.lower() == b"last-event-id"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _target(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    try:
        target = url.join(location) if location.strip() else None
    except httpx.InvalidURL:
        target = None
    if target is None:
        raise _refused(response, "has no usable Location")
    if target.scheme not in ("http", "https") or not target.host:
        raise _refused(response, f"leads to the scheme {target.scheme[:20]!r}")
    return target


def _refused(response: httpx.Response, why: str) -> HandshakeError:
    status = response.status_code
    return HandshakeError(
        f"the server's redirect (status {status}) {why}", status=status, headers=dict(response.headers)
    )
