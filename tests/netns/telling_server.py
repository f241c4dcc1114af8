"""The reference server in a process that tells of every request: `... HOST PORT FIRST_ID OVERLAP`."""

import json
import sys
import time

from starlette.requests import Request

from resilient_sse.testing.server import ReferenceServer, serving


def telling(app):
    """Wrap an application, and tell what the requests for streams ask for."""

    async def wrapped(scope, receive, send):
        if scope["type"] == "http" and scope["path"].endswith("/stream"):
            request = Request(scope)
            tell(
                kind="request",
                peer=request.client.host,
                header=request.headers.get("Last-Event-ID"),
                query=request.query_params.multi_items(),
            )
        await app(scope, receive, send)

    return wrapped


def tell(**fields):
    """Write a line of JSON."""
    sys.stdout.write(json.dumps({"at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


def main(host, port, first_id, overlap):
    """Serve until standard input ends."""
    server = ReferenceServer(first_id=int(first_id), overlap=int(overlap), retry=None, start="first")
    server.app = telling(server.app)
    with serving(server, host=host, port=int(port)) as running:
        tell(kind="ready", url=running.url)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
