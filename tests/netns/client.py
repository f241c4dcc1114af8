"""An httpx client whose connections lie in a namespace, while the program that uses it does not."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import anyio
import httpcore
import httpx
from anyio.abc import SocketStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from tests.netns.namespace import Namespace

__all__ = ["client_in"]


def client_in(namespace: Namespace) -> httpx.AsyncClient:
    """
    Make a client for streams of this process that lead through a network: `ResilientStream(url, client=...)`.

    It has as many connections as are wanted, asks no proxy, and speaks no TLS.

    Args:
        namespace: Where its connections begin.
    """
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(  # pyright: ignore[reportPrivateUsage]
        network_backend=_Backend(namespace), max_connections=None, max_keepalive_connections=0
    )
    return httpx.AsyncClient(transport=transport, trust_env=False)


class _Backend(httpcore.AsyncNetworkBackend):
    """Makes connections in a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[object] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        sock = self._namespace.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            with anyio.fail_after(timeout):
                await _connect(sock, host, port)
            return _Stream(await SocketStream.from_socket(sock))
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(f"no answer from {host} within {timeout:g} s") from error
            if isinstance(error, OSError):
                raise httpcore.ConnectError(str(error)) from error
            raise

    @override
    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _connect(sock: socket.socket, host: str, port: int) -> None:
    """
    Connect without blocking the loop.

    Raises:
        OSError: It failed.
    """
    sock.setblocking(False)
    try:
        sock.connect((host, port))
    except BlockingIOError:
        await anyio.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code)) from None


class _Stream(httpcore.AsyncNetworkStream):
    """A connection, with the errors of httpcore."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with anyio.fail_after(timeout):
                return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error.__cause__ or error)) from error

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with anyio.fail_after(timeout):
                await self._stream.send(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error.__cause__ or error)) from error

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    @override
    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        await self.aclose()
        raise httpcore.UnsupportedProtocol("no TLS in a namespace; use http://")

    @override
    def get_extra_info(self, info: str) -> object:
        return None
