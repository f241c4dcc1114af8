"""
Copy streams into Redis, one copy of each event: start as many of these as you like, and stop any of them.

    REDIS_URL=redis://127.0.0.1/0 python examples/relay_worker.py orders=http://127.0.0.1:8000/orders

Each worker has its share of the streams.  At SIGTERM or Ctrl-C it hands them over; if it is killed, others take
them when its lease ends.  The events of `orders` are in the Redis stream `orders`.  Needs the extra `redis`.
"""

import asyncio
import logging
import os
import signal
import sys
from functools import partial

from resilient_sse import ResilientStream
from resilient_sse.relay import RelayError, Worker


def opened(url: str, position: str | None) -> ResilientStream:
    """Open a stream behind a position."""
    return ResilientStream(url, last_event_id=position, max_retries=None)


async def main(urls: dict[str, str]) -> None:
    streams = {name: partial(opened, url) for name, url in urls.items()}
    worker = Worker(streams, os.environ.get("REDIS_URL", "redis://127.0.0.1/0"), group="examples")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    await worker.run()


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("=" in argument for argument in sys.argv[1:]):
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URLs with their queries
    try:
        asyncio.run(main(dict(argument.split("=", 1) for argument in sys.argv[1:])))
    except RelayError as error:
        sys.exit(f"the worker cannot begin: {error}")
