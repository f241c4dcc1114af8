"""The client of a stream that was given none: over our own transport, unless somebody has to see what passes."""

from __future__ import annotations

import os
import re
import types
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies

import httpcore
import httpx

from resilient_sse._client.transport.http1 import StreamTransport, Unanswered
from resilient_sse._client.transport.library import PROXY_SETTINGS
from resilient_sse._core.errors import HandshakeError

if TYPE_CHECKING:
    import ssl

__all__ = ["is_patched", "own_client", "tls_context"]

# What mocks, recorders and tracing instruments put something of their own in the place of.
_SEAMS: Final[tuple[tuple[type[Any], tuple[str, ...]], ...]] = (
    (httpx.AsyncClient, ("send", "_send_single_request", "_init_transport", "_transport_for_url")),
    (httpx.AsyncHTTPTransport, ("__init__", "handle_async_request")),
    (httpcore.AsyncConnectionPool, ("handle_async_request",)),
    (httpcore.AsyncHTTPConnection, ("handle_async_request",)),
    (httpcore.AsyncHTTP11Connection, ("handle_async_request",)),
)

_PROXIES = PROXY_SETTINGS | {"NO_PROXY"}
_MAX_PORT = 65535


@cache
def tls_context() -> ssl.SSLContext:
    """
    Make the one TLS context of the process, with httpx's trust: each costs about 30 ms and 900 KB.

    Raises:
        HandshakeError: The environment names certificates that cannot be read.
    """
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
    cookies: httpx.Cookies, uds: str | None, unanswered: Unanswered | None = None
) -> httpx.AsyncClient:
    """
    Make a client for one connection, to the Unix socket of this path if there is one.

    Proxies that the environment names are used as httpx uses them, with its own transport.

    Raises:
        HandshakeError: The environment names a proxy or certificates that cannot be used.
    """
    options: dict[str, Any] = {"headers": {"User-Agent": _user_agent()}, "cookies": cookies}
    try:
        if is_patched():
            if uds is not None:
                options["transport"] = httpx.AsyncHTTPTransport(verify=tls_context(), uds=uds)
            return _httpx_client(**options)
        proxies = getproxies()
        proxied = [proxies[kind] for kind in ("http", "https", "all") if kind in proxies and uds is None]
        for proxy in proxied:
            _check_proxy(proxy)
        # There is no public way to ask httpx for its reading of the environment, only to make it read.
        mounts = getattr(_httpx_client(), "_mounts", {}) if proxied else {}
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        names = ", ".join(sorted({name for name in os.environ if name.upper() in _PROXIES}))
        raise HandshakeError(f"the proxy settings {names} cannot be used: {exc}") from exc
    return httpx.AsyncClient(
        transport=StreamTransport(tls_context, uds=uds, unanswered=unanswered),
        mounts={pattern.pattern: transport for pattern, transport in mounts.items()},
        **options,
    )


def _check_proxy(value: str) -> None:
    """Raise for what httpx would take for the name of a host, and ask the network for in vain."""
    url = httpx.URL(value if "://" in value else f"http://{value}")
    if not re.fullmatch(r"[\w.:-]+", url.host) or (url.port or 0) > _MAX_PORT:
        raise ValueError("it names no host and port")


def _httpx_client(**options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - as httpx takes them
    return httpx.AsyncClient(
        verify=tls_context(),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        **options,
    )
