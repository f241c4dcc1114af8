"""
Follow several streams at once, on trio.

    python examples/with_trio.py http://127.0.0.1:8000/reply http://127.0.0.1:8000/orders

One that fails for good does not end the others.  SIGTERM and Ctrl-C end them all.  Needs the extra `trio`.
"""

import logging
import signal
import sys

import trio

from resilient_sse import ResilientSSEError, ResilientStream

log = logging.getLogger("with_trio")


async def follow(stream: ResilientStream, url: str) -> None:
    try:
        async with stream:
            async for event in stream:
                print(url, event.id, event.data, flush=True)
    except ResilientSSEError as error:
        log.error("%s cannot go on: %s", url, error)  # noqa: TRY400 - the error says it all


async def close_on_signals(streams: dict[str, ResilientStream]) -> None:
    """End the loops once their event at hand is done."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            for stream in streams.values():
                await stream.aclose()
            return


async def main(urls: list[str]) -> None:
    streams = {url: ResilientStream(url, until="done", max_retries=None) for url in urls}
    async with trio.open_nursery() as background:
        background.start_soon(close_on_signals, streams)
        async with trio.open_nursery() as followers:  # ends with the last of them
            for url, stream in streams.items():
                followers.start_soon(follow, stream, url)
        background.cancel_scope.cancel()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
    trio.run(main, sys.argv[1:])
