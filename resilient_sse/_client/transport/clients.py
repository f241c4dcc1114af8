"""The clients that streams are given, of httpx or of httpx2, and the one that is made where none is given."""

from __future__ import annotations

import os
import re
import ssl
import sys
import types
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.request import getproxies

import httpcore
import httpx

from resilient_sse._client.transport.http1 import MAX_PORT, Asked, StreamTransport, Unanswered
from resilient_sse._core.checks import check_callable
from resilient_sse._core.errors import HandshakeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from resilient_sse._client.transport.http1 import ResponseStream

Client: TypeAlias = "httpx.AsyncClient | httpx2.AsyncClient"
Signer: TypeAlias = "Callable[[httpx.Request], httpx.Request] | Callable[[httpx2.Request], httpx2.Request]"
Auth: TypeAlias = "httpx.Auth | httpx2.Auth | tuple[str | bytes, str | bytes] | Signer"

AnyClient: TypeAlias = "Client | PlainClient"

PROXY_SETTINGS: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
"""The environment variables that name a proxy, in either case."""


class PlainResponse:
    """
    What is used of an `httpx.Response`, over our own transport.

    With its request, httpx's takes 15 us, and 3 KiB for as long as the stream is open.
    """

    __slots__ = ("headers", "history", "status_code", "stream", "url")

    def __init__(
        self, status_code: int, headers: Mapping[str, str], url: httpx.URL, stream: ResponseStream
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.url = url
        self.stream = stream
        self.history: list[Any] = []

    async def aclose(self) -> None:
        """Close the connection."""
        await self.stream.aclose()


class PlainClient:
    """
    What a stream needs of a client where nothing asks for the rest: credentials, proxies or instruments.

    An `httpx.AsyncClient` costs 0.3 ms and 9 KiB more for each connection.
    """

    __slots__ = ("_transport", "cookies")

    def __init__(self, transport: StreamTransport, cookies: httpx.Cookies | None) -> None:
        self._transport = transport
        self.cookies = cookies

    async def ask(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: list[tuple[bytes, bytes]],
        content: Any,  # noqa: ANN401 - as httpx takes it
        extensions: dict[str, Any],
        at_home: bool,
    ) -> PlainResponse:
        """
        Send a request with the headers that httpx would send, and keep the cookies of the answer.

        Args:
            method: The method, in upper case.
            url: The URL.
            headers: The headers but for those that httpx adds.
            content: The body, if any.
            extensions: As httpx has them, and `header_wait` for the head of the response.
            at_home: Whether it may carry cookies, and who asks.
        """
        given = {name.lower() for name, _ in headers}
        ours = ((b"Connection", b"keep-alive"), (b"User-Agent", _user_agent().encode())) if at_home else ()
        headers = [*(each for each in ours if each[0].lower() not in given), *headers]
        cookies, body = self.cookies if at_home else None, None
        if content is None and method == "GET" and not cookies and b"host" not in given:
            headers.insert(0, (b"Host", url.netloc))
        else:
            request = httpx.Request(method, str(url), headers=headers, content=content, cookies=cookies)
            headers, body = request.headers.raw, cast("httpx.AsyncByteStream", request.stream)
        head, stream = await self._transport.ask(Asked(method, url, headers), body, extensions)
        named = dict(httpx.Headers(head.headers.raw_items()).items())
        answer = PlainResponse(head.status_code, named, url, stream)
        if "set-cookie" in answer.headers:
            self.cookies = self.cookies or httpx.Cookies()
            self.cookies.extract_cookies(
                httpx.Response(200, headers=head.headers.raw_items(), request=httpx.Request(method, str(url)))
            )
        return answer

    async def aclose(self) -> None:
        """There is nothing to close: what is open belongs to responses."""


def library_of(client: object) -> Any:  # noqa: ANN401 - two modules with the same names
    """Return the module that a client comes from; httpx2 is never imported for that."""
    if isinstance(client, PlainClient):
        return httpx
    for kind in type(client).__mro__:
        if kind.__name__ == "AsyncClient" and kind.__module__ in ("httpx", "httpx2"):
            return sys.modules[kind.__module__]
    raise TypeError(f"client must be an AsyncClient of httpx or httpx2, or None, not {client!r}")


def check_client(client: object, auth: object, uds: object) -> None:
    """Check what is handed on to the library."""
    if uds is not None and not isinstance(uds, str):
        raise TypeError(f"uds must be the path of a Unix socket as a string, or None, not {uds!r}")
    if uds == "":
        raise ValueError("uds must be the path of a Unix socket or None, not ''")
    if uds is not None and client is not None:
        raise ValueError("uds is for streams without client=; give the client's transport the path")
    library = httpx if client is None else library_of(client)
    if not (auth is None or isinstance(auth, (library.Auth, tuple))):
        what = f"an {library.__name__}.Auth, a pair of user and password, or a function of the request"
        check_callable("auth", auth, what=what)


def proxy_of(client: AnyClient, url: httpx.URL) -> str:
    """
    Name the proxy through which *client* asks *url*, and the setting that says so; `""` if there is none.

    There is no public way to ask for it.
    """
    find: Callable[[httpx.URL], object] | None = getattr(client, "_transport_for_url", None)
    pool = getattr(find and find(url), "_pool", None)
    proxy: Any = getattr(pool, "_proxy_url", None)
    if proxy is None:
        return ""
    host, port = proxy.host.decode(), proxy.port or {b"https": 443, b"http": 80}.get(proxy.scheme, 1080)
    settings = [
        name
        for name, value in os.environ.items()
        if name.upper() in PROXY_SETTINGS and host in value.lower() and str(proxy.port or "") in value
    ]
    return f"{host}:{port} ({', '.join(sorted(settings)) or 'client='})"


# What mocks, recorders and tracing instruments put something of their own in the place of.
_SEAMS: Final[tuple[tuple[type[Any], tuple[str, ...]], ...]] = (
    (httpx.AsyncClient, ("send", "_send_single_request", "_init_transport", "_transport_for_url")),
    (httpx.AsyncHTTPTransport, ("__init__", "handle_async_request")),
    (httpcore.AsyncConnectionPool, ("handle_async_request",)),
    (httpcore.AsyncHTTPConnection, ("handle_async_request",)),
    (httpcore.AsyncHTTP11Connection, ("handle_async_request",)),
)

_PROXIES = PROXY_SETTINGS | {"NO_PROXY"}


@cache
def tls_context() -> ssl.SSLContext:
    """Make the one TLS context of the process, with httpx's trust: each costs about 30 ms and 900 KB."""
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if os.environ.get(name)]
    try:
        folders = os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)
        if "SSL_CERT_DIR" in named and not any(map(os.path.isdir, folders)):
            raise NotADirectoryError(
                "no such directory"
            )  # OpenSSL would trust nobody, and say so at each attempt
        context = httpx.create_ssl_context()
    except OSError as exc:
        paths = " or ".join(f"{name}={os.environ[name]}" for name in named)
        what = f"the file or directory of {paths}" if named else "the system's certificates"
        raise HandshakeError(f"{what} cannot be used: {exc}") from exc
    # Python up to 3.11.2 takes a connection that is cut for one that has ended.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def _user_agent() -> str:
    return f"resilient-sse/{version('resilient-sse')}"


def is_patched() -> bool:
    """
    Whether somebody has replaced a method of httpx or httpcore through which requests pass.

    A method of theirs is a plain function that was compiled from the file of its module; a wrapper of any make is
    not.  Nothing is remembered from the time of import: the patch may have come first.
    """
    for kind, names in _SEAMS:
        for name in names:
            method = vars(kind).get(name)
            if method is None and name.startswith("_"):
                continue  # a private name may go
            if type(method) is not types.FunctionType or method.__code__.co_filename != _file_of(kind):
                return True
    return False


def _file_of(kind: type[Any]) -> str:
    # Classes that httpx exports say "httpx" for their module; a method that nobody patches knows better.
    return str(vars(kind)["aclose"].__code__.co_filename)


def own_client(
    cookies: httpx.Cookies | None,
    uds: str | None,
    unanswered: Unanswered | None = None,
    *,
    plain: bool = True,
) -> httpx.AsyncClient | PlainClient:
    """
    Make a client for one connection, to the Unix socket of this path if there is one.

    With *plain* it may be one that knows of no credentials.

    Proxies that the environment names are used as httpx uses them, with its own transport.
    """
    options: dict[str, Any] = {"headers": {"User-Agent": _user_agent()}, "cookies": cookies}
    try:
        if is_patched():
            if uds is not None:
                options["transport"] = httpx.AsyncHTTPTransport(verify=tls_context(), uds=uds)
            return _httpx_client(**options)
        proxies = _proxies()
        proxied = [proxies[kind] for kind in ("http", "https", "all") if kind in proxies and uds is None]
        for proxy in proxied:
            _check_proxy(proxy)
        # There is no public way to ask httpx for its reading of the environment, only to make it read.
        mounts = getattr(_httpx_client(), "_mounts", {}) if proxied else {}
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        names = ", ".join(sorted({name for name in os.environ if name.upper() in _PROXIES}))
        raise HandshakeError(f"the proxy settings {names} cannot be used: {exc}") from exc
    transport = StreamTransport(tls_context, uds=uds, unanswered=unanswered)
    if plain and not mounts:
        return PlainClient(transport, cookies)
    return httpx.AsyncClient(
        transport=transport,
        mounts={pattern.pattern: transport for pattern, transport in mounts.items()},
        **options,
    )


def _proxies() -> dict[str, str]:
    # getproxies() looks at each variable twice, 0.1 ms of an opening; Linux has no other place for proxies.
    # Below os.environb lies a dictionary of bytes; iterating over that itself takes a fifth of the time.
    if (
        sys.platform == "linux"
        and b"_proxy" not in b" ".join(getattr(os.environ, "_data", os.environb)).lower()
    ):
        return {}
    return getproxies()


def _check_proxy(value: str) -> None:
    """Raise for what httpx would take for the name of a host, and ask the network for in vain."""
    url = httpx.URL(value if "://" in value else f"http://{value}")
    if not re.fullmatch(r"[\w.:-]+", url.host) or (url.port or 0) > MAX_PORT:
        raise ValueError("it names no host and port")


def _httpx_client(**options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - as httpx takes them
    return httpx.AsyncClient(
        verify=tls_context(),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        **options,
    )
