"""Many streams in this process, each as a user would write it, and each with counts of its own."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.ports import Fact
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse._core.stats import StreamStats
from resilient_sse.testing.load.plan import LoadPlan
from resilient_sse.testing.load.result import Times

END = "done"
"""The type of the event that completes a stream; its data tells how many messages were sent."""

# Reading the figures of a stream costs about as much as an event.
_SAMPLE_EVERY = 16

_MOST_SAMPLES = 20_000
"""An even number.  A run of half an hour must not grow by what it is measured with."""

# A server that skips most numbers must not make us keep them all; what is beyond is missing for good.
_MOST_HOLES = 10_000

# So many streams may be waiting for their first connection at once.  On a busy machine thousands would be due
# together, wait for each other until their attempts time out, and begin again.
_OPENING_AT_ONCE = 100


class Follower:
    """
    Counts one stream's messages, as they are handed over, and times its connections.

    Messages are numbered from 1 by their ids, so that it is enough to remember the highest number and the holes
    below it.

    Args:
        fleet: Where durations are kept.
        numbered: Whether ids are numbers from 1 without a hole; otherwise every message counts as another.

    Attributes:
        unique: Different messages received.
        duplicates: Messages received again.
        disorder: Messages that came behind a later one.
        failure: What ended the stream before its time, as text.
        connected: For how many seconds a connection was open; after the end.
        lifetime: For how many seconds one should have been open; after the end.  It counts from the first
            connection: what comes before is the opening.  A stream that never got one should have had it always.
    """

    def __init__(self, fleet: Fleet, *, numbered: bool = True) -> None:
        self.unique: int = 0
        self.duplicates: int = 0
        self.disorder: int = 0
        self.complete: bool = False
        self.stats: StreamStats = StreamStats()
        self.failure: str | None = None
        self.open: bool = False
        self.ended: bool = False
        self.connected: float = 0.0
        self.lifetime: float = 0.0
        self._fleet = fleet
        self._numbered = numbered
        self._highest = 0
        self._holes: set[int] = set()
        self._began = anyio.current_time()
        self.had_connection: bool = False
        self._open_since = 0.0
        self._lost_at: float | None = None
        self._attempt_since: float | None = None

    @property
    def reconnecting(self) -> bool:
        """Whether a connection was lost and none is open yet."""
        return self.had_connection and not (self.ended or self.open)

    def event(self, event: ServerSentEvent) -> None:
        """Record an event that was handed over."""
        if event.event == END:
            self.complete = True
        elif not self._numbered:
            self.unique += 1
        elif event.id is not None and event.id.isdigit():  # others are notices, such as that history is gone
            number = int(event.id)
            if number > self._highest:
                if len(self._holes) < _MOST_HOLES:
                    self._holes.update(range(self._highest + 1, min(number, self._highest + 1 + _MOST_HOLES)))
                self._highest = number
                self.unique += 1
            elif number in self._holes:
                self._holes.remove(number)
                self.disorder += 1
                self.unique += 1
            else:
                self.duplicates += 1

    def gap(self, gap: Gap) -> None:
        """Record a loss that the client reports; a server that has forgotten everything numbers anew."""
        if gap.kind == "reset":
            self._highest = 0
            self._holes.clear()

    def fact(self, fact: Fact) -> None:
        """Record a recovery; other facts come as events and changes."""
        # One from before the first connection belongs to the opening.
        if isinstance(fact, Recovery) and self._lost_at is not None:
            times = self._fleet.times
            times["recovery"].append(fact.recovery)
            times["reopening"].append(fact.reconnected)
            times["silence"].append(fact.silence)
            self._lost_at = None

    def change(self, change: StateChange) -> None:
        """Record a change of state."""
        if change.new is StreamState.WAITING:
            return  # it is a notice; what is open is open, and an attempt goes on
        now = change.at
        if self._attempt_since is not None:
            self._fleet.times["attempt"].append(now - self._attempt_since)
            self._attempt_since = None
        if change.is_up:
            if not self.open:
                self.open, self._open_since = True, now
            if not self.had_connection:
                self.had_connection = True
                self._fleet.times["opening"].append(now - self._began)
                self._began = now
                self._fleet.first_opened()
            return
        self._close(now)
        if change.new is StreamState.RECONNECTING:
            self._attempt_since = now
            if self._lost_at is None and self.had_connection:
                self._lost_at = now
        elif change.new in (StreamState.CLOSED, StreamState.ERROR):
            self.end(now)

    def end(self, now: float) -> None:
        """Record that nothing more will come; the first time counts."""
        if self.ended:
            return
        self.ended = True
        self._close(now)
        self.lifetime = now - self._began
        if self._lost_at is not None and not self.complete:
            # A loss that was never made good counts with the time it lasted, so that a maximum cannot look better.
            self._fleet.times["recovery"].append(now - self._lost_at)
        self._lost_at = None

    def _close(self, now: float) -> None:
        if self.open:
            self.open = False
            self.connected += now - self._open_since


class Fleet:
    """
    The streams of a run; *urls* are the addresses of the users, in their order.

    Attributes:
        followers: One for each stream that was started.
        times: Durations, by the names of `Times`; those of handling are a sample.
        received: Messages received so far by all of them, repeated ones included.
        first_end: When the first stream ended, on the event loop's clock, or `None`.
        all_open: Set when every stream has had a connection.
        crashes: What was raised that is no error of the stream.
    """

    def __init__(self, plan: LoadPlan, urls: Sequence[str]) -> None:
        self._plan = plan
        self._urls = urls
        self.followers: list[Follower] = []
        self.times: dict[str, array[float]] = {each.name: array("d") for each in fields(Times)}
        self.received: int = 0
        self.first_end: float | None = None
        self.all_open: anyio.Event = anyio.Event()
        self.crashes: list[str] = []
        self._opened = 0
        self._openings = anyio.Semaphore(_OPENING_AT_ONCE, fast_acquire=True)
        self._sample_every = _SAMPLE_EVERY

    @property
    def steady(self) -> bool:
        """Whether every stream has had a connection, and none has ended."""
        return self.all_open.is_set() and self.first_end is None

    def count(self, what: str) -> int:
        """Count the streams that are `open`, `reconnecting` or `ended`."""
        return sum(getattr(follower, what) for follower in self.followers)

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
        """Close all counts: what is not finished will not be."""
        now = anyio.current_time()
        for follower in self.followers:
            follower.end(now)

    def first_opened(self) -> None:
        """Record that a stream has its first connection."""
        self._opened += 1
        self._openings.release()
        if self._opened == len(self._urls):
            self.all_open.set()

    async def _follow(self, url: str) -> None:
        plan, own = self._plan, self._plan.target is not None
        follower = Follower(self, numbered=not own)
        self.followers.append(follower)
        stream = ResilientStream(
            url,
            # A stream that is opened late, because there are many, is sent the messages from the first.
            last_event_id=None if own else "0",
            sequence=None if own else integers,
            until=END,
            dedup_window=plan.dedup_window,
            on_state_change=follower.change,
            on_gap=follower.gap,
            observers=[follower.fact],
        )
        try:
            async with stream:
                async for event in stream:
                    follower.event(event)
                    self.received += event.event != END
                    if self.received % self._sample_every == 0:
                        arrived = stream.stats.last_byte_at
                        if arrived is not None:
                            self._sample(anyio.current_time() - arrived)
                    if own and follower.unique == plan.messages:
                        follower.complete = True
                        break
        except ResilientSSEError as error:
            follower.failure = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - one crash must not end the run: it is counted, and fails it
            follower.failure = f"{type(error).__name__}: {error}"
            self.crashes.append(follower.failure)
        finally:
            follower.stats = stream.stats
            follower.end(anyio.current_time())
            if not follower.had_connection:
                self._openings.release()
            if self.first_end is None:
                self.first_end = anyio.current_time()

    def _sample(self, seconds: float) -> None:
        """Keep a duration; of too many, each second one in order of length goes, and the longest stays."""
        samples = self.times["handling"]
        samples.append(seconds)
        if len(samples) == _MOST_SAMPLES:
            self.times["handling"] = array("d", sorted(samples)[1::2])
            self._sample_every *= 2
