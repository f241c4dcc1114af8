"""
Print the titles of pages as they change in Wikimedia's wikis: `python examples/wiki_changes.py mail@example.org`.

Wikimedia asks for an address to write to.  Another stream may follow it, such as
`http://127.0.0.1:8000/v2/stream/recentchange`.  SIGTERM and Ctrl-C end the program.
"""

import asyncio
import json
import logging
import signal
import sys
from dataclasses import dataclass

from resilient_sse import ResilientSSEError, ResilientStream, ServerSentEvent, resume

RECENT_CHANGES = "https://stream.wikimedia.org/v2/stream/recentchange"
log = logging.getLogger("wiki_changes")


def is_real(event: ServerSentEvent) -> bool:
    """Some events, the canaries, only tell that a topic is alive."""
    return bool(event.json()["meta"]["domain"] != "canary")


@dataclass
class Change:
    """A page that has changed, and the wiki that it is in."""

    domain: str
    title: str


def change_in(data: str) -> Change:
    fields = json.loads(data)
    return Change(fields["meta"]["domain"], fields["title"])


def close_on_signals(stream: ResilientStream[Change]) -> None:
    """Have SIGTERM and Ctrl-C end the loop."""
    loop, closing = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: closing.add(loop.create_task(stream.aclose())))


async def main(address: str, url: str = RECENT_CHANGES) -> None:
    async with ResilientStream(
        url,
        headers={"User-Agent": f"wiki_changes/1.0 ({address})"},
        events=is_real,
        decode=change_in,
        max_retries=None,
        **resume.json_ids(),  # ids are lists of positions, and a connection begins at them, not behind them
    ) as stream:
        close_on_signals(stream)
        async for change in stream:
            print(f"{change.domain}: {change.title}", flush=True)
        stats = stream.stats
        log.info("%d connections, %d repeats dropped", stats.connections, stats.duplicates)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except ResilientSSEError as error:
        sys.exit(f"the stream cannot go on: {error}")
