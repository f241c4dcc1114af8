"""A server of numbered events for consumers that are killed: it sends what lies behind the given one, for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def replaying(pause: float = 0.0005) -> Iterator[str]:
    """Run the server, whose every path is a stream of an event in each pause, and give its URL."""

    class Replaying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            number = int(self.headers.get("Last-Event-ID", "0"))
            try:
                self.end_headers()
                while True:
                    number += 1
                    self.wfile.write(b"id: %d\ndata: %d\n\n" % (number, number))
                    time.sleep(pause)
            except OSError:
                pass  # the client has gone

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024  # hundreds of streams are opened at once

    with Server(("127.0.0.1", 0), Replaying) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/events"
        server.shutdown()
        thread.join()
