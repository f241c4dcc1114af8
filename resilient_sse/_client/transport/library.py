"""The libraries whose clients a stream can be given: httpx, and httpx2, which has classes of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx

from resilient_sse._core.checks import check_callable

if TYPE_CHECKING:
    import httpx2

__all__ = ["Auth", "Client", "check_client", "library_of", "proxy_of"]

Client: TypeAlias = "httpx.AsyncClient | httpx2.AsyncClient"
Signer: TypeAlias = "Callable[[httpx.Request], httpx.Request] | Callable[[httpx2.Request], httpx2.Request]"
Auth: TypeAlias = "httpx.Auth | httpx2.Auth | tuple[str | bytes, str | bytes] | Signer"

PROXY_SETTINGS: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
"""The environment variables that name a proxy, in either case."""


def library_of(client: object) -> Any:  # noqa: ANN401 - two modules with the same names
    """
    Return the module that a client comes from; httpx2 is never imported for that.

    Raises:
        TypeError: It is no async client of either.
    """
    for kind in type(client).__mro__:
        if kind.__name__ == "AsyncClient" and kind.__module__ in ("httpx", "httpx2"):
            return sys.modules[kind.__module__]
    raise TypeError(f"client must be an AsyncClient of httpx or httpx2, or None, not {client!r}")


def check_client(client: object, auth: object, uds: object) -> None:
    """
    Check what is handed on to the library.

    Raises:
        TypeError: It is of no use there.
        ValueError: *uds* says where a client leads that was given.
    """
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


def proxy_of(client: Client, url: httpx.URL) -> str:
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
        if name.upper() in PROXY_SETTINGS and host in value and str(port) in value
    ]
    return f"{host}:{port} ({', '.join(sorted(settings)) or 'client='})"
