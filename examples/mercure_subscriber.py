"""
Subscribe to topics of a Mercure hub, go on after a restart, and say what the hub cannot give again.

    python examples/mercure_subscriber.py http://127.0.0.1:8000/.well-known/mercure "https://example.com/books/{id}"

The token of the subscriber is read from `MERCURE_JWT`.  SIGTERM and Ctrl-C end the program.
"""

import asyncio
import logging
import os
import signal
import sys

from resilient_sse import Gap, ResilientSSEError, ResilientStream, resume
from resilient_sse.checkpoints import SQLiteCheckpoint

log = logging.getLogger("mercure_subscriber")


async def reload(gap: Gap) -> None:
    """Load the present state of the topics here: the history of the hub does not reach back far enough."""
    log.warning("updates after %s are lost; the hub goes on after %s", gap.after_id, gap.before_id)


def close_on_signals(stream: ResilientStream) -> None:
    """Have SIGTERM and Ctrl-C end the loop once the update at hand is done and committed."""
    loop, closing = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: closing.add(loop.create_task(stream.aclose())))


async def main(hub: str, topics: list[str]) -> None:
    token = os.environ.get("MERCURE_JWT")
    async with ResilientStream(
        hub,
        params=[("topic", topic) for topic in topics],
        headers={"Authorization": f"Bearer {token}"} if token else None,
        checkpoint=SQLiteCheckpoint("positions.db"),
        checkpoint_key=" ".join([hub, *topics]),  # by itself the key would not tell topics apart
        max_retries=None,
        on_gap=reload,
        **resume.mercure(),
    ) as stream:
        close_on_signals(stream)
        async for event in stream:
            print(event.data, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with the topics
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
    except ResilientSSEError as error:
        sys.exit(f"the subscription cannot go on: {error}")
