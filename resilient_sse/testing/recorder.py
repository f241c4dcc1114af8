"""A record of one stream: what happened and when, and a timeline that people can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import StateChange

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from resilient_sse._core.ports import Fact

__all__ = ["Moment", "Recorder"]

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

    Attributes:
        moments: Everything, in order.
    """

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, fact: Fact, /) -> None:
        """Take note of *fact*."""
        self.moments.append(Moment(anyio.current_time(), fact))

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

    @property
    def events(self) -> list[ServerSentEvent]:
        """The events that were delivered."""
        return [moment.fact for moment in self.moments if isinstance(moment.fact, ServerSentEvent)]

    @property
    def changes(self) -> list[StateChange]:
        """The changes of state."""
        return [moment.fact for moment in self.moments if isinstance(moment.fact, StateChange)]

    @property
    def gaps(self) -> list[Gap]:
        """The gaps that were reported."""
        return [moment.fact for moment in self.moments if isinstance(moment.fact, Gap)]

    @property
    def recoveries(self) -> list[Recovery]:
        """The outages that ended with a new event."""
        return [moment.fact for moment in self.moments if isinstance(moment.fact, Recovery)]

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
        lines = [f"{moment.at - start:10.3f} s  {_line(moment.fact)}" for moment in self.moments]
        left_out = len(lines) - _SHOWN_FIRST - _SHOWN_LAST
        if left_out > 1:
            lines[_SHOWN_FIRST:-_SHOWN_LAST] = [f"{'...':>10}    {left_out} more"]
        return "\n".join(lines)


def _line(fact: Fact) -> str:
    line = repr(fact)  # of what a later version may tell as well
    match fact:
        case StateChange():
            line = _change_line(fact)
        case ServerSentEvent():
            name = fact.event if fact.id is None else f"{fact.event} {fact.id}"
            line = f"event {name}: {_shortened(fact.data)}"
        case Opened():
            resumed = "" if fact.last_event_id is None else f", to resume after {fact.last_event_id}"
            line = f"connection {fact.connection} opened with status {fact.status}{resumed}"
        case Disconnected():
            line = f"disconnected ({fact.reason.value})"
        case Gap():
            missing = "" if fact.missing is None else f", {fact.missing} missing"
            line = f"gap ({fact.kind}) after {fact.after_id}, before {fact.before_id}{missing}"
        case Recovery():
            line = f"recovered from {fact.reason.value}: {fact.recovery:.3f} s, attempts: {fact.attempts}"
        case Comment():
            line = f"comment: {_shortened(fact.text)}"
        case Closed():
            line = f"end of the stream ({fact.reason.value})"
    return line


def _change_line(change: StateChange) -> str:
    retry = "" if change.delay is None else f", attempt {change.attempt} in {change.delay:.3g} s"
    return f"{change.old.value} -> {change.new.value} ({change.reason.value}{retry}): {change.message}"


def _shortened(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN_DATA else f"{shown[:_SHOWN_DATA]}... ({len(text)} characters)"
