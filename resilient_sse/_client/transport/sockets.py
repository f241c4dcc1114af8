"""
The socket under one stream: bytes wait here until they are read, and no read that is cut loses any.

On asyncio they are taken from the system when they arrive: one callback a read, no future where bytes are at
hand, no pausing and resuming around each wait (two system calls).  Above 256 KiB the socket is left alone until
the consumer has caught up, and TCP pushes back.  Elsewhere anyio's streams are read when asked.

TLS is made in memory: that of asyncio, and of uvloop, sets 256 KiB aside for each connection, for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket as sockets
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import anyio
import httpx
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from resilient_sse._client.backends import Alarm, on_asyncio

HIGH_BYTES: Final = 256 * 1024
LOW_BYTES: Final = 64 * 1024

# What one read hands on at most: its bytes are decoded and parsed without a turn for others.
_STEP_BYTES: Final = 64 * 1024

# The most that one record of TLS can hold.
_RECORD_BYTES: Final = 16 * 1024

# Probes find a peer that has vanished where no limit on silence does; a minute of silence, then three in a minute.
# Each system has some of them.
_PROBES: Final = tuple(
    (getattr(sockets, level), getattr(sockets, option), value)
    for level, option, value in (
        ("SOL_SOCKET", "SO_KEEPALIVE", 1),
        ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
        ("IPPROTO_TCP", "TCP_KEEPINTVL", 20),
        ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
        ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 120_000),  # milliseconds
        ("IPPROTO_TCP", "TCP_NODELAY", 1),
    )
    if hasattr(sockets, option)
)


class Arrived:
    """
    What has arrived over a socket.

    Attributes:
        ended: Whether the peer has ended its side, or the connection has failed; what arrived before is kept.
        error: Why it failed.
        cut: Whether it has ended without the end of TLS: somebody may have cut the answer short.
        until: The moment at which a wait ends without anything, on `clock`; `wake` makes it the past.
        clock: The clock of the event loop.
        parts: What has arrived, as it did.
    """

    __slots__ = ("_paused", "_size", "clock", "cut", "ended", "error", "parts", "until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ended = self.cut = False
        self.error: Exception | None = None
        self.until = math.inf
        self.clock = clock
        self.parts: deque[bytes] = deque()
        self._size: int = 0
        self._paused = False

    @property
    def ready(self) -> bool:
        """Whether a read has something to return."""
        return bool(self.parts) or self.ended

    def take(self) -> bytes:
        """Return the next bytes that have arrived, at most 64 KiB, or nothing."""
        if not self.parts:
            return b""
        data = self.parts.popleft()
        if len(data) > _STEP_BYTES:
            self.parts.appendleft(data[_STEP_BYTES:])
            data = data[:_STEP_BYTES]
        self._size -= len(data)
        if self._paused and self._size <= LOW_BYTES:
            self._paused = False
            self.resume()
        return data

    def resume(self) -> None:
        """Take from the system again what arrives: enough of what was there has been read."""


class AsyncioSocket(Arrived, asyncio.Protocol):
    """A socket of asyncio."""

    __slots__ = (
        "_alarm", "_closed", "_loop", "_received", "_tls", "_to_send", "_transport", "_waiter", "_writable",
    )  # fmt: skip

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(self._loop.time)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: Any = None
        self._tls: ssl.SSLObject | None = None

    def wait(self) -> Awaitable[None]:
        """
        Wait for more, and until `until` at most.

        A part of a record, or one that brings no bytes, ends a wait as well; whoever waits on looks at the clock.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise httpx.ReadError("the connection belongs to an event loop that has ended")
        self._waiter = waiter = self._loop.create_future()
        self._alarm.set(self.until)
        return waiter

    def wake(self) -> None:
        """End the present wait, and those of the same read."""
        self.until = -math.inf
        self._end_wait()

    def resume(self) -> None:
        self._transport.resume_reading()

    async def send(self, data: bytes) -> None:
        """
        Send *data*, as fast as the peer takes it.

        A failure is not told here: a server may refuse a request before it has come to its end.
        """
        if self._tls is not None:
            await self._encrypt(self._tls, data)
        elif not self.ended:
            self._transport.write(data)
        if self._writable is not None:
            await self._writable

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Make TLS with the server of this name."""
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=name)
        early, self._size = b"".join(self.parts), 0
        self.parts.clear()
        self._decrypt(self._tls, early)  # a read begins the handshake, and goes on with it
        while self._tls.version() is None:
            if self.ended:
                try:
                    raise self.error or ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF in the handshake")
                finally:
                    self.error = None  # its traceback leads back here
            await self.wait()

    def abort(self) -> None:
        """Close at once; callable from any thread, and when the event loop has ended."""
        self._alarm.cancel()
        if self._transport is None or self._loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._transport.abort()
        else:
            with contextlib.suppress(RuntimeError):  # it may be closed by now
                self._loop.call_soon_threadsafe(self._transport.abort)

    async def aclose(self) -> None:
        """Close, and return when it is closed."""
        self.abort()
        if self._transport is not None and asyncio.get_running_loop() is self._loop:
            await asyncio.shield(self._closed)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._alarm = Alarm(self._loop, self.wake)  # a circle, which uvloop would leave if it did not connect
        _configure(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if data:
            self.parts.append(data)
            self._size += len(data)
        if self._size > HIGH_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._end_wait()

    def eof_received(self) -> None:
        self.cut = self._tls is not None and not self.ended
        self.ended = True
        self._end_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended:  # a reset behind the end takes nothing back
            self.ended, self.error = True, exc
        self._alarm.cancel()  # who was to abort it may have been cancelled
        self._end_wait()
        self.resume_writing()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        """Return what *data* brings; an end, or a failure, is recorded."""
        parts: list[bytes] = []
        try:
            for begin in range(0, len(data) or 1, _RECORD_BYTES):  # at once, it would keep as much memory
                self._received.write(data[begin : begin + _RECORD_BYTES])
                with contextlib.suppress(ssl.SSLWantReadError):
                    while not self.ended:
                        part = tls.read(_RECORD_BYTES)
                        parts.append(part)
                        self.ended = not part  # by the peer's close_notify, behind which nothing counts
                        if not self._received.pending:
                            break
        except ssl.SSLError as exc:
            self._fail(exc)
        self._flush()
        if self.ended:
            self._transport.close()  # or what is still sent would be kept
        return b"".join(parts)

    async def _encrypt(self, tls: ssl.SSLObject, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self.ended:
            try:
                rest = rest[tls.write(rest) :]
                self._flush()
            except ssl.SSLWantReadError:  # the server makes the handshake anew
                self._flush()
                await self.wait()
            except ssl.SSLError as exc:
                self._fail(exc)

    def _flush(self) -> None:
        data = self._to_send.read()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _fail(self, exc: Exception) -> None:
        self.ended, self.error = True, exc.with_traceback(None)  # it would lead back here

    def _end_wait(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class AnyioSocket(Arrived):
    """
    A socket of any other event loop: there a read can be cancelled without losing anything.

    One that is answering a KeyUpdate of TLS in that moment loses the connection, by anyio; the stream resumes.
    """

    __slots__ = ("_scope", "_stream")

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(anyio.current_time)
        self._stream = stream
        self._scope: anyio.CancelScope | None = None

    async def wait(self) -> None:
        try:
            with anyio.CancelScope(deadline=self.until) as self._scope:
                try:
                    data = await self._stream.receive(_STEP_BYTES)
                except anyio.get_cancelled_exc_class() as exc:
                    exc.__traceback__ = (
                        None  # a function of anyio's in it refers to it: a circle with the stream
                    )
                    raise
                self.parts.append(data)
                self._size += len(data)
        except anyio.EndOfStream:
            self.ended = True
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as exc:
            self.cut = isinstance(exc.__cause__, ssl.SSLEOFError)
            self.ended, self.error = True, None if self.cut else exc
        finally:
            self._scope = None

    def wake(self) -> None:
        self.until = -math.inf
        if self._scope is not None:
            self._scope.cancel()

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        self._stream = await TLSStream.wrap(
            self._stream, server_side=False, hostname=name, ssl_context=context
        )

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(data)

    def abort(self) -> None:
        self._stream.extra(SocketAttribute.raw_socket).close()  # noqa: S610 - not Django's

    async def aclose(self) -> None:
        if isinstance(self._stream, TLSStream):
            self._stream.standard_compatible = False  # a silent peer would be waited for
        await self._stream.aclose()


Socket: TypeAlias = AsyncioSocket | AnyioSocket


class Address(NamedTuple):
    """Where a connection leads: a host and a port, or the path of a Unix socket instead."""

    host: str
    port: int
    uds: str | None = None


async def connect(
    address: Address,
    *,
    context: ssl.SSLContext | None,
    timeout: float | None,  # noqa: ASYNC109 - one for each of two steps
) -> Socket:
    """
    Connect, and make TLS if there is a *context*.

    Args:
        address: Where to.
        context: How to make TLS.
        timeout: Seconds for the connection, and as many for TLS.
    """
    make = _connect_asyncio if on_asyncio() else _connect_anyio
    try:
        socket = await make(address, timeout)
    except (OSError, UnicodeError) as exc:
        raise _in_words(exc, "connection", timeout) from exc
    if context is None:
        return socket
    try:
        # The error of fail_after would keep the socket, in a circle.
        with anyio.move_on_after(timeout) as scope:
            await socket.start_tls(context, address.host)
    except BaseException as exc:
        socket.abort()
        if isinstance(exc, (OSError, ValueError, anyio.BrokenResourceError)):  # a name that is none
            raise _in_words(exc, "TLS handshake", timeout) from exc
        raise
    if scope.cancelled_caught:
        socket.abort()
        raise _in_words(TimeoutError(), "TLS handshake", timeout)
    return socket


async def _connect_asyncio(address: Address, timeout: float | None) -> Socket:  # noqa: ASYNC109 - its caller's
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):  # anyio's takes three times as long
        if address.uds is not None:
            _, socket = await loop.create_unix_connection(AsyncioSocket, address.uds)
        elif isinstance(loop, asyncio.BaseEventLoop):
            _, socket = await loop.create_connection(
                AsyncioSocket, address.host, address.port, happy_eyeballs_delay=_head_start(address.host)
            )
        else:  # uvloop knows no race between addresses, and tries one after the other
            _, socket = await loop.create_connection(AsyncioSocket, address.host, address.port)
    return socket


async def _connect_anyio(address: Address, timeout: float | None) -> Socket:  # noqa: ASYNC109 - its caller's
    with anyio.fail_after(timeout):
        if address.uds is not None:
            return AnyioSocket(await anyio.connect_unix(address.uds))
        stream = await anyio.connect_tcp(address.host, address.port)
    _configure(stream.extra(SocketAttribute.raw_socket))  # noqa: S610 - not Django's
    return AnyioSocket(stream)


def _head_start(host: str) -> float | None:
    """Return the seconds that one address has before the next is tried; an address has no rivals, and no race."""
    is_address = ":" in host or host.replace(".", "").isdigit()
    return None if is_address else 0.25  # what anyio and RFC 8305 take


def _configure(sock: Any) -> None:  # noqa: ANN401 - a socket, or what a test has instead
    if sock is None:
        return
    for probe in _PROBES:
        try:
            sock.setsockopt(*probe)
        except OSError:  # a Unix socket knows none but the first
            continue


def _in_words(exc: Exception, what: str, timeout: float | None) -> httpx.TransportError:
    if isinstance(exc, TimeoutError) and timeout is not None:
        return httpx.ConnectTimeout(f"no {what} in {timeout:g} s")
    return httpx.ConnectError(str(exc))
