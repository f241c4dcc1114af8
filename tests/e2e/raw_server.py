"""
A TCP server for what a real HTTP server refuses to do: resets, half answers, bytes one at a time, silence.

Each connection has a thread of its own, in which a behaviour runs: a function of the `Peer`.  Whatever a
behaviour waits for is bounded, and ends when the server is stopped.
"""

import contextlib
import os
import socket
import socketserver
import struct
import sys
import threading
import time
from dataclasses import dataclass, field

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
    def cursor(self):
        """The id to resume after."""
        return self.headers.get("last-event-id")


class Peer:
    """The server's end of one connection; `number` counts the server's connections from 1."""

    def __init__(self, sock, number):
        self.number = number
        self.request = Request(method="", target="")
        self.left_at = None
        self._sock = sock

    def send(self, data):
        """Send bytes as they are."""
        self._sock.sendall(data)

    def head(self, *headers, status="200 OK", version="1.1"):
        """Send the status line and the headers."""
        self.send("\r\n".join((f"HTTP/{version} {status}", *headers, "", "")).encode())

    def open(self, *headers):
        """Begin an event stream in chunks."""
        self.head(EVENT_STREAM, CHUNKED, *headers)

    def chunk(self, data):
        """Send one chunk."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self):
        """End a chunked body as it should end; the connection stays open."""
        self.send(b"0\r\n\r\n")

    def answer(self, status, *headers, body=b""):
        """Send a complete answer."""
        self.head(*headers, f"Content-Length: {len(body)}", status=status)
        self.send(body)

    def half_close(self):
        """Close this direction only."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Close with RST instead of FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    def hold(self):
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

    def is_live(self):
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

    def begin(self, tls):
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

    def close(self):
        """Close the connection, whatever waits for it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def hello(peer):
    """Send one event and stay."""
    peer.open()
    peer.chunk(event("hello", id=str(peer.number)))
    peer.hold()


class RawServer(socketserver.ThreadingTCPServer):
    """
    A listening socket whose n-th connection is served by the n-th behaviour; the last one serves the rest.

    Args:
        behaviours: What happens to each connection after its request was read.
        host: The address to listen on.
        port: The port to listen on; 0 for a free one.
        tls: The context to make TLS with; `None` for plain TCP.
        unread: Run the behaviours at once, without TLS or a request.
    """

    request_queue_size = 512
    allow_reuse_address = os.name == "posix"

    def __init__(self, *behaviours, host="127.0.0.1", port=0, tls=None, unread=False):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), socketserver.BaseRequestHandler)
        self._behaviours, self._tls, self._unread = behaviours, tls, unread
        self._failures = []
        self.port = self.socket.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        self.origin = f"{'https' if tls else 'http'}://{name}:{self.port}"
        self.url = f"{self.origin}/stream"
        self.peers = []
        """Every connection, in the order of acceptance."""
        self.served = []
        """Those over which a request came."""

    @property
    def requests(self):
        """Every request so far."""
        return [peer.request for peer in self.served]

    def __enter__(self):
        """Begin to accept connections."""
        threading.Thread(target=self.serve_forever, args=(_POLL,)).start()
        return self

    def __exit__(self, *_):
        """Stop, and fail if a behaviour has failed."""
        self.stop()
        for failure in self._failures:
            raise failure or AssertionError

    def stop(self):
        """Close the port and every connection, and wait for the threads; harmless when done before."""
        self.shutdown()
        for peer in self.peers:
            peer.close()
        self.server_close()

    # What socketserver calls: the last three in a thread of the connection's

    def process_request(self, request, client_address):
        """Begin to serve a connection."""
        request.settimeout(PATIENCE)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers.append(Peer(request, len(self.peers) + 1))
        super().process_request(self.peers[-1], client_address)  # type: ignore[arg-type]

    def finish_request(self, request, client_address):
        """Serve it; it is no failure if the client has left, or the server was stopped."""
        peer = request
        with contextlib.suppress(OSError):
            if not self._unread:
                peer.begin(self._tls)
                self.served.append(peer)
            self._behaviours[min(peer.number, len(self._behaviours)) - 1](peer)

    def shutdown_request(self, request):
        """Close it."""
        request.close()

    def handle_error(self, request, client_address):
        """Keep what a behaviour has raised for the test."""
        self._failures.append(sys.exception())
