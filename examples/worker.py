"""
Work on a stream, and go on after a restart: `python examples/worker.py http://127.0.0.1:8000/orders`.

The position is in `positions.db`, or in the file that `POSITIONS` names.  If the program is killed, the next run
begins with the order that was not finished.  SIGTERM and Ctrl-C end it behind the order at hand.
"""

import asyncio
import logging
import os
import signal
import sys

from resilient_sse import Backoff, ResilientSSEError, ResilientStream, ServerSentEvent
from resilient_sse.checkpoints import SQLiteCheckpoint

log = logging.getLogger("worker")


async def handle(event: ServerSentEvent) -> None:
    """Do the work.  After a crash an order may come a second time, so doing it again must do no harm."""
    log.info("order %s: %s", event.id, event.json()["item"])


def close_on_signals(stream: ResilientStream) -> None:
    """Have SIGTERM and Ctrl-C end the loop once the event at hand is done and committed."""
    loop, closing = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: closing.add(loop.create_task(stream.aclose())))


async def main(url: str) -> None:
    async with ResilientStream(
        url,
        checkpoint=SQLiteCheckpoint(os.environ.get("POSITIONS", "positions.db")),
        max_retries=None,
        backoff=Backoff(maximum=30.0, jitter=0.5),  # many workers do not come back at one moment
    ) as stream:
        close_on_signals(stream)
        async for event in stream:  # asking for the next event commits the one before
            await handle(event)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
    try:
        asyncio.run(main(sys.argv[1]))
    except ResilientSSEError as error:
        sys.exit(f"the stream cannot go on: {error}")
