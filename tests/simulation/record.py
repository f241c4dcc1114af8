"""What happened in a run, in one list: what the stream told its observers, and what the consumer did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from resilient_sse import Gap, ServerSentEvent, StateChange, StreamState, StreamStats
from tests.simulation.plan import Plan
from tests.simulation.truth import Published, Truth

if TYPE_CHECKING:
    from resilient_sse._core.events import Activity
    from resilient_sse._core.ports import Fact

__all__ = ["Note", "Outcome", "Record", "Seen", "Violation"]

NoteKind: TypeAlias = Literal[
    "process",  # a process began; its text is the stored position
    "handed",
    "activity",  # something that is no event was handed over
    "handled",
    "saved",
    "cancelled",
    "restart",
    "error",
    "ended",
    "aclose",
    "aclosed",
    "left",  # a process ended; its stats are final
]

Outcome: TypeAlias = Literal["done", "error", "closed", "stuck"]
"""How a run ended: by the last event or the end of the stream, an error, `aclose`, or not at all."""


@dataclass(frozen=True, slots=True)
class Note:
    """
    What the simulation itself saw or did.

    Attributes:
        kind: What.
        text: An id or the name of an error.
        event: The event, where there is one.
        error: The error, where there is one.
        item: For kind `activity`: what was handed over.
    """

    kind: NoteKind
    text: str | None = None
    event: ServerSentEvent | None = None
    error: BaseException | None = None
    item: Activity | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """
    One entry.

    Attributes:
        at: When, in virtual seconds.
        process: In which process of the consumer, from 1.
        fact: What.
        requests: How many requests had reached the server by then.
        last_event_id: The stream's id in force.
        state: The stream's state.
        stats: The stream's figures.
        start: For the note of a process: the event it begins behind, if any.
        raised: How often the process's own observers and callbacks had failed.
    """

    at: float
    process: int
    fact: Fact | Note
    requests: int
    last_event_id: str | None
    state: StreamState
    stats: StreamStats
    start: Published | None = None
    raised: int = 0


@dataclass(slots=True)
class Record:
    """
    A whole run.

    Attributes:
        plan: What was played.
        truth: The server's log.
        seen: Everything, in order.
        told: What the callbacks were told, and in which process.
        outcome: How it ended.
        max_live: How many connections were open at once, at most.
        left_open: How many were open at the end.
    """

    plan: Plan
    truth: Truth
    seen: list[Seen] = field(default_factory=list[Seen])
    told: list[tuple[int, StateChange | Gap]] = field(default_factory=list["tuple[int, StateChange | Gap]"])
    outcome: Outcome = "stuck"
    max_live: int = 0
    left_open: int = 0

    def notes(self, *kinds: NoteKind) -> list[tuple[Seen, Note]]:
        """Return the notes of these kinds."""
        return [
            (each, each.fact) for each in self.seen if isinstance(each.fact, Note) and each.fact.kind in kinds
        ]

    def published(self, event: ServerSentEvent | None) -> Published | None:
        """Return the truth about an event that was delivered."""
        return None if event is None else self.truth.of(event.data)


@dataclass(frozen=True, slots=True)
class Violation:
    """
    A broken promise.

    Attributes:
        invariant: Which.
        at: When it showed, in virtual seconds.
        text: What was expected, and what was found.
    """

    invariant: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.3f} s: {self.text}"
