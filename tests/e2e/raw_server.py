"""
A TCP server for what a real HTTP server refuses to do: resets, half answers, bytes one at a time, silence.

Each connection has a thread of its own, in which a behaviour runs: a function of the `Peer`.  Whatever a
behaviour waits for is bounded, and ends when the server is stopped.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from resilient_sse.testing import event

PATIENCE = 20.0
"""Seconds that a server waits for its client at most."""

EVENT_STREAM = "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"

_RESET = struct.pack("ii", 1, 0)
_GRACE = 0.2
_POLL = 0.02


@dataclass(kw_only=True)
class Request:
    """What a client asked for; names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def cursor(self) -> str | None:
        """The id to resume after."""
        return self.headers.get("last-event-id")


class Peer:
    """The server's end of one connection; `number` counts the server's connections from 1."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.request = Request(method="", target="")
        self.left_at: float | None = None
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.sendall(data)

    def head(self, *headers: str, status: str = "200 OK", version: str = "1.1") -> None:
        """Send the status line and the headers."""
        self.send("\r\n".join((f"HTTP/{version} {status}", *headers, "", "")).encode())

    def open(self, *headers: str) -> None:
        """Begin an event stream in chunks."""
        self.head(EVENT_STREAM, CHUNKED, *headers)

    def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """End a chunked body as it should end; the connection stays open."""
        self.send(b"0\r\n\r\n")

    def answer(self, status: str, *headers: str, body: bytes = b"") -> None:
        """Send a complete answer."""
        self.head(*headers, f"Content-Length: {len(body)}", status=status)
        self.send(body)

    def half_close(self) -> None:
        """Close this direction only."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    def hold(self) -> bool:
        """Keep silent until the client has closed its end; return whether it did."""
        try:
            while self._sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        self.left_at = time.monotonic()
        return True

    def is_live(self) -> bool:
        """Tell whether the client still holds the connection, after a short wait for its farewell."""
        sock = self._sock
        if self.left_at is not None or sock.fileno() < 0:
            return False
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            try:
                if not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return False
            except BlockingIOError:
                time.sleep(_POLL / 10)
            except OSError:
                return False
        return True

    def begin(self, tls: ssl.SSLContext | None) -> None:
        """Make TLS, if wanted, and read the request."""
        if tls is not None:
            self._sock = tls.wrap_socket(self._sock, server_side=True)
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = self._sock.recv(65536)
            if not more:
                raise ConnectionError("no request")
            raw += more
        head, _, body = raw.partition(b"\r\n\r\n")
        line, *rest = head.decode("utf-8", "replace").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        while len(body) < int(headers.get("content-length", "0")):
            body += self._sock.recv(65536)
        self.request = Request(method=method, target=target, headers=headers, body=body)

    def close(self) -> None:
        """Close the connection, whatever waits for it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


Behaviour: TypeAlias = Callable[[Peer], object]


def hello(peer: Peer) -> None:
    """Send one event and stay."""
    peer.open()
    peer.chunk(event("hello", id=str(peer.number)))
    peer.hold()


class RawServer:
    """
    A listening socket whose n-th connection is served by the n-th behaviour; the last one serves the rest.

    Args:
        behaviours: What happens to each connection after its request was read.
        host: The address to listen on.
        port: The port to listen on; 0 for a free one.
        tls: The context to make TLS with; `None` for plain TCP.
        unread: Run the behaviours at once, without TLS or a request.
    """

    def __init__(
        self,
        *behaviours: Behaviour,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        unread: bool = False,
    ) -> None:
        self._behaviours = behaviours
        self._tls = tls
        self._unread = unread
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []
        self._listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
        self._listener.settimeout(_POLL)
        self.port: int = self._listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        self.origin = f"{'https' if tls else 'http'}://{name}:{self.port}"
        self.url = f"{self.origin}/stream"
        self.peers: list[Peer] = []
        """Every connection, in the order of acceptance."""
        self.served: list[Peer] = []
        """Those over which a request came."""
        self.overlaps = 0
        """Connections that were accepted while an earlier one was still held by its client."""
        self.watch_overlaps = False

    @property
    def requests(self) -> list[Request]:
        """Every request so far."""
        return [peer.request for peer in self.served]

    def __enter__(self) -> Self:
        """Begin to accept connections."""
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and fail if a behaviour has failed."""
        self.stop()
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads; harmless when done before."""
        self._stopping.set()
        for peer in list(self.peers):
            peer.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a behaviour did not end"
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock, len(self.peers) + 1)
            if self.watch_overlaps:
                self.overlaps += any(earlier.is_live() for earlier in self.peers)
            self.peers.append(peer)
            self._start(self._serve, peer)
        for peer in self.peers:  # one may have come after `stop` went through them
            peer.close()

    def _serve(self, peer: Peer) -> None:
        behaviour = self._behaviours[min(peer.number, len(self._behaviours)) - 1]
        try:
            if not self._unread:
                peer.begin(self._tls)
                self.served.append(peer)
            behaviour(peer)
        except OSError:
            pass  # the client has left, or the server was stopped
        except Exception as exc:  # noqa: BLE001 - carried to the test
            self._failures.append(exc)
        finally:
            peer.close()
