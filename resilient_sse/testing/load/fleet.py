"""Many streams in this process, each as a user would write it, and what their own figures and facts tell."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.ports import Fact
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import StateChange, StreamState
from resilient_sse._core.stats import StreamStats
from resilient_sse.testing.load.plan import LoadPlan
from resilient_sse.testing.load.result import Times

END = "done"
"""The type of the event that completes a stream; its data tells how many messages were sent."""

# Reading the figures of a stream costs about as much as an event, and a long run must not grow by measuring it.
_SAMPLE_EVERY = 16
_SAMPLES = 20_000

# So many streams may be waiting for their first connection at once.  On a busy machine thousands would be due
# together, wait for each other until their attempts time out, and begin again.
_OPENING_AT_ONCE = 100


class FleetMember:
    """What one stream went through; an observer of it.  Its *fleet* keeps the durations of all."""

    def __init__(self, fleet: Fleet) -> None:
        self.complete: bool = False
        self.done: bool = False  # by the event that says so
        self.failure: str | None = None
        self.stats: StreamStats = StreamStats()
        self.ended: bool = False
        self.had_connection: bool = False
        self.connected: float = 0.0  # for how many seconds a connection was open
        # And for how many one should have been, from the first on: what comes before is the opening.  A stream
        # that never got one should have had it always.
        self.lifetime: float = 0.0
        self._fleet = fleet
        self._began = anyio.current_time()
        self._open_since: float | None = None
        self._lost_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether a connection is open."""
        return self._open_since is not None

    @property
    def reconnecting(self) -> bool:
        """Whether a connection was lost and none is open yet."""
        return self.had_connection and not (self.ended or self.open)

    @property
    def received(self) -> int:
        """Messages received; where they are numbered, without the notices of the server."""
        return (self.stats.numbered or self.stats.delivered) - self.done

    def __call__(self, fact: Fact, /) -> None:
        """Record a change of state, and a recovery."""
        times = self._fleet.times
        if isinstance(fact, Recovery) and self._lost_at is not None:  # before, it belongs to the opening
            times["recovery"].append(fact.recovery)
            times["reopening"].append(fact.reconnected)
            times["silence"].append(fact.silence)
            self._lost_at = None
        if not isinstance(fact, StateChange) or fact.new is StreamState.WAITING:
            return  # a notice: what is open is open, and an attempt goes on
        if fact.is_up:
            self._open_since = fact.at if self._open_since is None else self._open_since
            if not self.had_connection:
                self.had_connection = True
                times["opening"].append(fact.at - self._began)
                self._began = fact.at
                self._fleet.first_opened()
        elif fact.new is StreamState.RECONNECTING:
            self._close(fact.at)
            if self._lost_at is None and self.had_connection:
                self._lost_at = fact.at
        else:
            self.end(fact.at)

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

    def _close(self, now: float) -> None:
        if self._open_since is not None:
            self.connected += now - self._open_since
            self._open_since = None


class Fleet:
    """The streams of a run."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self.followers: list[FleetMember] = []
        self.times: dict[str, array[float]] = {each.name: array("d") for each in fields(Times)}
        self.received: int = 0
        self.first_end: float | None = None  # when the first stream ended
        self.all_open: anyio.Event = anyio.Event()  # set when every stream has had a connection
        self.crashes: int = 0  # errors that are none of a stream's own
        self._opened = 0
        self._openings = anyio.Semaphore(_OPENING_AT_ONCE, fast_acquire=True)
        self._sample_every = max(_SAMPLE_EVERY, plan.users * plan.messages_each // _SAMPLES)

    @property
    def steady(self) -> bool:
        """Whether every stream has had a connection, and none has ended."""
        return self.all_open.is_set() and self.first_end is None

    def count(self, what: str) -> int:
        """Count the streams that are `open`, `reconnecting` or `ended`."""
        return sum(getattr(follower, what) for follower in self.followers)

    async def run(self, urls: Sequence[str]) -> None:
        """Open the streams of all users, evenly over the time of the ramp, and follow them to their ends."""
        began = anyio.current_time()
        pace = self._plan.ramping / self._plan.users
        async with anyio.create_task_group() as tasks:
            for number, url in enumerate(urls):
                due = began + number * pace
                if due > anyio.current_time():
                    await anyio.sleep_until(due)
                await self._openings.acquire()
                tasks.start_soon(self._follow, url)

    def first_opened(self) -> None:
        """Record that a stream has its first connection."""
        self._opened += 1
        self._openings.release()
        if self._opened == self._plan.users:
            self.all_open.set()

    async def _follow(self, url: str) -> None:
        plan, own = self._plan, self._plan.target is not None
        follower = FleetMember(self)
        self.followers.append(follower)
        stream = ResilientStream(
            url,
            # A stream that is opened late, because there are many, is sent the messages from the first.
            last_event_id=None if own else "0",
            sequence=None if own else integers,
            until=END,
            dedup_window=plan.dedup_window,
            observers=[follower],
        )
        try:
            async with stream:
                number = 0
                async for event in stream:
                    if event.event == END:
                        follower.complete = follower.done = True
                        continue
                    number += 1
                    self.received += 1
                    if self.received % self._sample_every == 0:
                        at = stream.stats.last_byte_at or 0.0  # bytes have come: there is an event
                        self.times["handling"].append(anyio.current_time() - at)
                    if own and number == plan.messages:
                        follower.complete = True
                        break
        except Exception as error:  # noqa: BLE001 - one crash must not end the run: it is counted, and fails it
            follower.failure = f"{type(error).__name__}: {error}"
            self.crashes += not isinstance(error, ResilientSSEError)
        finally:
            follower.stats = stream.stats
            follower.end(anyio.current_time())
            if not follower.had_connection:
                self._openings.release()
            if self.first_end is None:
                self.first_end = anyio.current_time()
