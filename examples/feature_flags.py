"""
Keep feature flags up to date, by OFREP: `python examples/feature_flags.py http://127.0.0.1:8000`.

The stream only says that something has changed, and the flags are loaded then.  What changed while nobody listened
it never says, so they are loaded behind each reconnect as well.  SIGTERM and Ctrl-C end the program.
"""

import asyncio
import logging
import signal
import sys
from typing import Any

import httpx

from resilient_sse import Opened, ResilientSSEError, ResilientStream, ServerSentEvent, resume

log = logging.getLogger("feature_flags")


class Flags:
    """The flags as they were when they were last loaded."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.values: dict[str, Any] = {}
        self.changes_url = ""
        self._client = client
        self._seen: dict[str, str] = {}

    async def load(self) -> None:
        """Load the flags if they have changed, and try until that works; events wait meanwhile."""
        while True:
            try:
                return await self._load()
            except httpx.HTTPError as error:
                log.warning("the flags cannot be loaded: %s", error)
                await asyncio.sleep(1)

    async def _load(self) -> None:
        answer = await self._client.post("/ofrep/v1/evaluate/flags", json={"context": {}}, headers=self._seen)
        if answer.status_code != 304:  # not modified
            body = answer.raise_for_status().json()
            self._seen = {"If-None-Match": answer.headers.get("ETag", "")}
            self.values = {flag["key"]: flag["value"] for flag in body["flags"]}
            self.changes_url = body["eventStreams"][0]["url"]
            log.info("flags: %s", self.values)


def close_on_signals(stream: ResilientStream) -> None:
    """Have SIGTERM and Ctrl-C end the loop."""
    loop, closing = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: closing.add(loop.create_task(stream.aclose())))


async def main(server: str) -> None:
    async with httpx.AsyncClient(base_url=server) as client:
        flags = Flags(client)
        await flags.load()
        on_gap = resume.refetch(flags.load, spread=2.0)  # not all clients at one moment
        async with ResilientStream(
            flags.changes_url, max_retries=None, on_gap=on_gap, **resume.listen_again()
        ) as stream:
            close_on_signals(stream)
            async for item in stream.activity():
                # What changed before the first connection is loaded here, and before others by `on_gap`.
                if isinstance(item, ServerSentEvent) or (isinstance(item, Opened) and item.connection == 1):
                    await flags.load()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(main(sys.argv[1]))
    except ResilientSSEError as error:
        sys.exit(f"the flags cannot be followed: {error}")
