"""A record of one stream: what happened and when, and a timeline that people can read."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.ports import Fact
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import StateChange

FactT = TypeVar("FactT")

_SHOWN_FIRST = 20
_SHOWN_LAST = 40
"""How much of a long timeline is shown: how it began, and what led to the failure."""

_SHOWN_DATA = 60
"""Characters of an event's data that a line shows."""


@dataclass(frozen=True, slots=True)
class Moment:
    """
    Something that happened.

    Attributes:
        at: When, in seconds on the event loop's clock.
        fact: What: whatever an observer is told.
    """

    at: float
    fact: Fact


class Recorder:
    """
    An observer that keeps what it is told.

    ```python
    recorder = Recorder()
    stream = ResilientStream(url, observers=[recorder])
    ```

    One recorder is for one stream.  What the client keeps from the consumer (duplicates, heartbeats, filtered
    events) it keeps from observers as well; `stream.stats` counts it.

    Args:
        now: The clock, in seconds; the event loop's by default.

    Attributes:
        moments: Everything, in order.
    """

    def __init__(self, *, now: Callable[[], float] = anyio.current_time) -> None:
        self.moments: list[Moment] = []
        self._now = now

    def __call__(self, fact: Fact, /) -> None:
        """Record *fact*."""
        self.moments.append(Moment(self._now(), fact))

    async def take(self, stream: AsyncIterable[ServerSentEvent], count: int) -> list[ServerSentEvent]:
        """
        Be the consumer: ask for so many events, fewer if the stream ends, and return them.

        Args:
            stream: A stream that this recorder observes.
            count: How many, 1 or more.

        Raises:
            ValueError: *count* is less than 1.
            ResilientSSEError: What iterating the stream raises.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        taken: list[ServerSentEvent] = []
        async for event in stream:
            taken.append(event)
            if len(taken) == count:
                break
        return taken

    def _facts(self, kind: type[FactT]) -> list[FactT]:
        return [moment.fact for moment in self.moments if isinstance(moment.fact, kind)]

    @property
    def events(self) -> list[ServerSentEvent]:
        """The events that were delivered."""
        return self._facts(ServerSentEvent)

    @property
    def changes(self) -> list[StateChange]:
        """The changes of state."""
        return self._facts(StateChange)

    @property
    def gaps(self) -> list[Gap]:
        """The gaps that were reported."""
        return self._facts(Gap)

    @property
    def recoveries(self) -> list[Recovery]:
        """The outages that ended with a new event."""
        return self._facts(Recovery)

    @property
    def ids(self) -> list[str]:
        """The ids of the delivered events that have one of their own."""
        return [event.id for event in self.events if event.id]

    @property
    def states(self) -> list[str]:
        """The state at the beginning and every state that was entered, by value: `"connecting"`, ..."""
        changes = self.changes
        return [change.old.value for change in changes[:1]] + [change.new.value for change in changes]

    @property
    def messages(self) -> list[str]:
        """The texts for people, one for each change of state."""
        return [change.message for change in self.changes]

    @property
    def delays(self) -> list[float]:
        """The announced seconds before each further attempt."""
        return [change.delay for change in self.changes if change.delay is not None]

    @property
    def timeline(self) -> str:
        """What happened when, one line each; times count from the first of them, and the middle may be cut."""
        if not self.moments:
            return "(nothing happened)"
        start = self.moments[0].at
        lines = [f"{moment.at - start:10.3f} s  {describe(moment.fact)}" for moment in self.moments]
        left_out = len(lines) - _SHOWN_FIRST - _SHOWN_LAST
        if left_out > 1:
            lines[_SHOWN_FIRST:-_SHOWN_LAST] = [f"{'...':>10}    {left_out} more"]
        return "\n".join(lines)


def describe(fact: Fact) -> str:
    """Return what happened as one line."""
    match fact:
        case StateChange():
            retry = "" if fact.delay is None else f", attempt {fact.attempt} in {fact.delay:.3g} s"
            return f"{fact.old.value} -> {fact.new.value} ({fact.reason.value}{retry}): {fact.message}"
        case ServerSentEvent():
            name = fact.event if fact.id is None else f"{fact.event} {fact.id}"
            return f"event {name}: {_shortened(fact.data)}"
        case Opened():
            resumed = "" if fact.last_event_id is None else f", to resume after {fact.last_event_id}"
            return f"connection {fact.connection} opened with status {fact.status}{resumed}"
        case Disconnected():
            return f"disconnected ({fact.reason.value})"
        case Gap():
            missing = "" if fact.missing is None else f", {fact.missing} missing"
            return f"gap ({fact.kind}) after {fact.after_id}, before {fact.before_id}{missing}"
        case Recovery():
            return f"recovered from {fact.reason.value}: {fact.recovery:.3f} s, attempts: {fact.attempts}"
        case Comment():
            return f"comment: {_shortened(fact.text)}"
        case Closed():
            return f"end of the stream ({fact.reason.value})"
        case _:  # of what a later version may tell as well
            return repr(fact)


def _shortened(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN_DATA else f"{shown[:_SHOWN_DATA]}... ({len(text)} characters)"
