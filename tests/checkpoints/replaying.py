"""A server for consumers that are killed: it sends whatever lies behind the given event, for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Replaying(BaseHTTPRequestHandler):
    """Sends the events behind the given one, for ever or up to the last."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        number = int(self.headers.get("Last-Event-ID", "0"))
        pause = threading.Event()
        try:
            while number < 1_000_000:
                number += 1
                self.wfile.write(b"id: %d\ndata: %d\n\n" % (number, number))
                pause.wait(0.0005)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def replaying() -> Iterator[str]:
    """Run the server, and give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replaying)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/events"
    server.shutdown()
    thread.join()
    server.server_close()
