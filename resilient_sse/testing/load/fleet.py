"""Many streams in this process, each as a user would write it, and each with a tally of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.sequence import integers
from resilient_sse.testing.load.figures import Histogram
from resilient_sse.testing.load.tally import END, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.testing.load.plan import LoadPlan

__all__ = ["Fleet"]

# Reading the figures of a stream costs about as much as an event.
_SAMPLE_EVERY = 16

# So many streams may be waiting for their first connection at once.  On a busy machine thousands would be due
# together, wait for each other until their attempts time out, and begin again.
_OPENING_AT_ONCE = 100


class Fleet:
    """
    The streams of a run.

    Args:
        plan: What to do.
        urls: The address for each user, in the order of users.

    Attributes:
        tallies: One for each stream that was started.
        received: Messages received so far by all of them, repeated ones included.
        handling: From the arrival of bytes to the delivery of their event; a sample.
        first_end: When the first stream ended, on the event loop's clock, or `None`.
        all_open: Set when every stream has had a connection.
        crashes: What was raised that is no error of the stream.
    """

    def __init__(self, plan: LoadPlan, urls: Sequence[str]) -> None:
        self._plan = plan
        self._urls = urls
        self.tallies: list[Tally] = []
        self.received: int = 0
        self.handling: Histogram = Histogram()
        self.first_end: float | None = None
        self.all_open: anyio.Event = anyio.Event()
        self._opened = 0
        self._openings = anyio.Semaphore(_OPENING_AT_ONCE, fast_acquire=True)
        self.crashes: list[str] = []

    @property
    def open(self) -> int:
        """How many streams have an open connection."""
        return sum(tally.open for tally in self.tallies)

    @property
    def reconnecting(self) -> int:
        """How many streams have lost theirs."""
        return sum(tally.reconnecting for tally in self.tallies)

    @property
    def steady(self) -> bool:
        """Whether every stream has had a connection, and none has ended."""
        return self.all_open.is_set() and self.first_end is None

    @property
    def ended(self) -> int:
        """How many streams have ended."""
        return sum(tally.ended for tally in self.tallies)

    async def run(self) -> None:
        """Open all streams, evenly over the time of the ramp, and follow them to their ends."""
        began = anyio.current_time()
        pace = self._plan.ramping / len(self._urls)
        async with anyio.create_task_group() as tasks:
            for number, url in enumerate(self._urls):
                due = began + number * pace
                if due > anyio.current_time():
                    await anyio.sleep_until(due)
                await self._openings.acquire()
                tasks.start_soon(self._follow, url)

    def end(self) -> None:
        """Close all tallies: what is not finished will not be."""
        now = anyio.current_time()
        for tally in self.tallies:
            tally.end(now)

    async def _follow(self, url: str) -> None:
        tally = Tally(
            started=anyio.current_time(),
            numbered=self._plan.target is None,
            first_opened=self._first_opened,
        )
        self.tallies.append(tally)
        try:
            await self._consume(url, tally)
        except ResilientSSEError as error:
            tally.failure = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - one crash must not end the run: it is counted, and fails it
            tally.failure = f"{type(error).__name__}: {error}"
            self.crashes.append(tally.failure)
        finally:
            tally.end(anyio.current_time())
            if not tally.connections:
                self._openings.release()
            if self.first_end is None:
                self.first_end = anyio.current_time()

    def _first_opened(self) -> None:
        self._opened += 1
        self._openings.release()
        if self._opened == len(self._urls):
            self.all_open.set()

    async def _consume(self, url: str, tally: Tally) -> None:
        own = self._plan.target is not None
        stream = ResilientStream(
            url,
            # A stream that is opened late, because there are many, is sent the messages from the first.
            last_event_id=None if own else "0",
            sequence=None if own else integers,
            until=END,
            dedup_window=self._plan.dedup_window,
            on_state_change=tally.change,
            on_gap=tally.gap,
            observers=[tally.fact],
        )
        enough = self._plan.messages if own else None
        async with stream:
            async for event in stream:
                tally.event(event)
                self.received += event.event != END
                if self.received % _SAMPLE_EVERY == 0:
                    arrived = stream.stats.last_byte_at
                    if arrived is not None:
                        self.handling.add(anyio.current_time() - arrived)
                if tally.unique == enough:
                    tally.complete = True
                    break
