"""Everything the demo gets to know while it runs, from the client and from the server."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import anyio

from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse._core.stats import StreamStats
from resilient_sse.cli.demo.script import Deed

__all__ = ["Entry", "Outage", "Record", "Source"]

Source: TypeAlias = Literal["server", "client", "message"]

_LATEST = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One line of what happened.

    Attributes:
        at: Seconds since the demo began.
        source: Who tells it.
        text: What it was.
        state: The new state, where it is a change of state.
    """

    at: float
    source: Source
    text: str
    state: StreamState | None = None


@dataclass(slots=True, kw_only=True)
class Outage:
    """
    One loss of the connection and what it took to mend it.

    Attributes:
        lost_at: When the loss was noticed, on the event loop's clock.
        reasons: Why the connection was lost, and why attempts failed.
        statuses: The statuses of the answers that were refusals.
        attempts: How many attempts it took.
        recovery: Seconds from the loss to the first new message, or `None` if there was none.
    """

    lost_at: float
    reasons: list[Reason] = field(default_factory=list[Reason])
    statuses: list[int] = field(default_factory=list[int])
    attempts: int = 0
    recovery: float | None = None


@dataclass(slots=True, kw_only=True)
class Record:
    """
    What is known.

    Attributes:
        seed: Which run this is.
        told: Called with each entry.
        started: When it began, on the event loop's clock.
        numbers: The numbers of the delivered messages, in the order of delivery.
        words: Their words.
        stats: The client's own figures, at the end.
        completed: Whether the client was told that the reply is complete.
        error: What ended the stream instead.
    """

    seed: int
    told: Callable[[Entry], None]
    started: float = field(default_factory=anyio.current_time)
    state: StreamState = StreamState.CONNECTING
    message: str = "Connecting..."
    entries: list[Entry] = field(default_factory=list[Entry])
    latest: deque[ServerSentEvent] = field(default_factory=lambda: deque[ServerSentEvent](maxlen=_LATEST))
    numbers: list[int] = field(default_factory=list[int])
    words: list[str] = field(default_factory=list[str])
    outages: list[Outage] = field(default_factory=list[Outage])
    deeds: list[Deed] = field(default_factory=list[Deed])
    stats: StreamStats = field(default_factory=StreamStats)
    completed: bool = False
    error: ResilientSSEError | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return anyio.current_time() - self.started

    @property
    def counts(self) -> Counter[int]:
        """How often each message was delivered."""
        return Counter(self.numbers)

    def deed(self, deed: Deed) -> None:
        """Take note of what the server did."""
        self.deeds.append(deed)
        self._enter("server", deed.text)

    def change(self, change: StateChange) -> None:
        """Take note of a change of the client's state."""
        self.state, self.message = change.new, change.message
        if change.new is StreamState.RECONNECTING:
            self._failed(change)
        self._enter("client", f"{change.new.name:<12} {change.message}{_details(change)}", change.new)

    def gap(self, gap: Gap) -> None:
        """Take note of a loss that the client reports."""
        self._enter(
            "client", f"GAP          between {gap.after_id} and {gap.before_id}: {gap.missing} missing"
        )

    def event(self, event: ServerSentEvent) -> None:
        """Take note of a delivered event."""
        if event.event == "done":
            self.completed = True
            return
        if self.outages and self.outages[-1].recovery is None:
            self.outages[-1].recovery = anyio.current_time() - self.outages[-1].lost_at
        self.latest.append(event)
        self.numbers.append(int(event.id or 0))
        word: str = event.json()["text"]
        self.words.append(word)
        self.told(Entry(self.elapsed, "message", f"{event.id:>2}  {word}"))

    def _failed(self, change: StateChange) -> None:
        if not self.outages or self.outages[-1].recovery is not None:
            self.outages.append(Outage(lost_at=change.at))
        outage = self.outages[-1]
        outage.attempts += 1
        outage.reasons.append(change.reason)
        if change.status is not None:
            outage.statuses.append(change.status)

    def _enter(self, source: Source, text: str, state: StreamState | None = None) -> None:
        entry = Entry(self.elapsed, source, text, state)
        self.entries.append(entry)
        self.told(entry)


def _details(change: StateChange) -> str:
    if change.delay is None:
        return ""
    status = "" if change.status is None else f" {change.status}"
    return f" [{change.reason.value}{status}; retry {change.attempt} in {change.delay:.1f} s]"
