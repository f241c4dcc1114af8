"""A program that reads streams and shows their figures to Prometheus; it ends with its standard input."""

import json
import sys
import threading

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry, start_http_server

from resilient_sse import Backoff, ResilientStream, integers
from resilient_sse.metrics.prometheus import PrometheusMetrics

SLOW = 5.5
"""Seconds that some streams wait before they reconnect: more than the objective allows."""


def options(user):
    """Return how the stream of *user* is opened: some number their events, some come back late."""
    if user.startswith("slow"):
        return {"backoff": Backoff(initial=SLOW, factor=1.0, maximum=SLOW, jitter=0.0)}
    quick = Backoff(initial=0.3, factor=1.0, maximum=0.3, jitter=0.0)
    return {"backoff": quick, "sequence": integers if user.startswith("lose") else None}


async def read(url, user, metrics):
    """Read one stream for ever."""
    stream = ResilientStream(f"{url}?user_id={user}", observers=[metrics], max_retries=None, **options(user))
    async with stream:
        async for _ in stream:
            pass


async def main(url, *users):
    """Read all streams until there is no more input."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    sys.stdout.write(json.dumps({"port": server.server_port}) + "\n")
    sys.stdout.flush()
    try:
        async with anyio.create_task_group() as group:
            for user in users:
                group.start_soon(read, url, user, metrics)
            await anyio.to_thread.run_sync(sys.stdin.read)
            group.cancel_scope.cancel()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert threading.active_count() <= 2  # the main thread, and anyio's worker


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
