"""
Consume a stream as a service does: `python examples/service.py http://127.0.0.1:8000/reply`.

It never gives up, reports what the connection goes through and what was lost, starts again when a handler
fails, from the event that failed, and stops cleanly at Ctrl-C.
"""

import logging
import sys

import anyio

from resilient_sse import (
    Backoff,
    Gap,
    ResilientSSEError,
    ResilientStream,
    ServerSentEvent,
    StateChange,
    integers,
)
from resilient_sse.checkpoints import CheckpointStore, MemoryCheckpoint

log = logging.getLogger("service")


class FlakyHandler:
    """Work on events, and fail at one of them for the first time, as handlers do."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self._fails_at = {"30"}

    async def handle(self, event: ServerSentEvent) -> None:
        """Work on one event."""
        await anyio.sleep(0.001)  # a database, say
        if event.last_event_id in self._fails_at:
            self._fails_at.remove(event.last_event_id)
            raise RuntimeError(f"no luck with event {event.last_event_id}")
        self.handled.append(event.last_event_id)


def report(change: StateChange) -> None:
    log.info("%s", change.message)


def report_loss(gap: Gap) -> None:
    log.warning("%s after %s: %s events are missing", gap.kind, gap.after_id, gap.missing)


async def consume(url: str, checkpoint: CheckpointStore, handler: FlakyHandler) -> None:
    async with ResilientStream(
        url,
        checkpoint=checkpoint,
        sequence=integers,
        until="done",
        max_retries=None,
        backoff=Backoff(maximum=30.0, jitter=0.5),
        on_state_change=report,
        on_gap=report_loss,
    ) as stream:
        async for event in stream:  # asking for the next event commits the one before
            if event.event != "done":
                await handler.handle(event)
        log.info("figures: %s", stream.stats.to_json())


async def main(url: str) -> None:
    checkpoint, handler = MemoryCheckpoint(), FlakyHandler()
    while True:
        try:
            await consume(url, checkpoint, handler)
        except ResilientSSEError:
            log.exception("the stream cannot go on")
            raise SystemExit(1) from None
        except RuntimeError as error:
            log.warning("%s; starting again there", error)
            await anyio.sleep(0.1)
        else:
            break
    print(f"handled {len(handler.handled)} events, {len(set(handler.handled))} of them different")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
    try:
        anyio.run(main, sys.argv[1])
    except KeyboardInterrupt:
        log.info("stopped")
