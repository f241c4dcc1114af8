"""
Hand a reply on from a web application without an event loop, as those of Flask and Django are.

    STREAM_URL=http://127.0.0.1:8000/reply python examples/wsgi_reply.py 8001

Any WSGI server runs `application`, such as `gunicorn --threads 8 wsgi_reply:application`.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from resilient_sse import ResilientSSEError
from resilient_sse.sync import ResilientStream

TEXT = ("Content-Type", "text/plain; charset=utf-8")
log = logging.getLogger("wsgi_reply")


def reply() -> Iterator[str]:
    """Yield the text as it comes; when the reader goes away, this is closed, and the connection with it."""
    with ResilientStream(os.environ["STREAM_URL"], until="done") as stream:
        for event in stream:
            if event.event != "done":
                yield event.json()["text"]


def application(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Answer a request; in Flask: `return Response(reply(), mimetype="text/plain")`."""
    started = False
    try:
        for text in reply():
            if not started:
                start_response("200 OK", [TEXT])
                started = True
            yield text.encode()
    except ResilientSSEError as error:
        log.warning("the reply cannot be read: %s", error)
        if started:
            raise  # the server breaks the answer off, so that nobody takes it for a whole one
        start_response("502 Bad Gateway", [TEXT])
        yield b"there is no reply now\n"


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""


def stop(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "STREAM_URL" not in os.environ:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with make_server("127.0.0.1", int(sys.argv[1]), application, Server) as server:
        log.info("listening on port %d", server.server_port)
        server.serve_forever()  # the end of the block waits for the answers under way
