"""What happened in a run, in one list: what the stream told, and what the consumer did."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from resilient_sse import (
    Gap,
    Reason,
    ResilientSSEError,
    ServerSentEvent,
    StateChange,
    StreamState,
    StreamStats,
)
from tests.simulation.log import Log, Published, Sent, What
from tests.simulation.plan import Ids, Plan

Did = Enum(
    "Did",
    "BEGAN HANDED ACTIVITY HANDLED SAVED CANCELLED RESTART ERROR ENDED ACLOSE ACLOSED LEFT",
    module=__name__,
)
"""
What the consumer did or met.

A process BEGAN at a stored position, and LEFT, when its figures are final.  ACTIVITY is what is no event.
"""

Outcome = Enum("Outcome", "STUCK DONE ERROR CLOSED", module=__name__)
"""How a run ended."""


class _Promise(Enum):
    def __call__(self, at, text):
        return Violation(self, at, text)


Promise = _Promise(
    "Promise",
    "LOST GAP ONCE ORDER HANDED POSITION REQUEST VERDICT PACE STATES COUNTERS CLOSING",
    module=__name__,
)
"""What the stream promises; `README.md` says what each means.  To call one is to say that it was broken."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: when it showed, in virtual seconds, what was expected and what was found."""

    promise: Promise
    at: float
    text: str

    def __str__(self):
        return f"{self.promise.name} at {self.at:.3f} s: {self.text}"


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """What the consumer did."""

    did: Did
    id: str | None = None
    event: ServerSentEvent | None = None
    error: ResilientSSEError | None = None
    item: object = None

    def __str__(self):
        return f"{self.did.name} {self.id or self.error or self.item or ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One entry: a fact or a note, and how things stood, *requests* as many attempts as had reached the server."""

    at: float
    process: int
    fact: object
    requests: int
    last_event_id: str | None
    state: StreamState
    stats: StreamStats


@dataclass(slots=True)
class Record:
    """A whole run."""

    plan: Plan
    log: Log
    seen: list[Seen] = field(default_factory=list)
    outcome: Outcome = Outcome.STUCK
    max_live: int = 0
    left_open: int = 0

    def notes(self, *kinds):
        """Return the entries about what the consumer did."""
        return [each for each in self.seen if isinstance(each.fact, Note) and each.fact.did in kinds]

    def opened(self):
        """Return the numbers of the requests whose heads were not only sent: the client has told of them."""
        return {
            seen.requests
            for seen in self.seen
            if isinstance(seen.fact, StateChange) and seen.fact.reason is Reason.OPENED
        }

    def doubtful(self):
        """
        Return the number of the first request whose answer no client could have understood, from 1.

        It stands behind an event of an old numbering, and the first event bears a higher number, as if it
        followed, or that of the stored position, which counts as seen whatever its content.  Heartbeats have no
        content to tell by, and neither have events that were reported lost: alone, or before a higher number,
        they mislead too.
        """
        for index, request in enumerate(self.log.requests if self.plan.options.numbered else (), 1):
            meant, events = request.meant, [event for event in request.events if event.id is not None]
            if meant is None or not events or meant.epoch == events[0].epoch:
                continue
            lost = self._reported_lost(request.process, index)
            for event in events:
                if event.number > meant.number:
                    return index
                if event.what is not What.BEAT and event.number not in lost:
                    if request.start is not None and event.number == request.start.number:
                        return index
                    break
            else:
                return index
        return None

    def _reported_lost(self, process, before):
        lost = set()
        for seen in self.seen:
            if isinstance(seen.fact, Gap) and seen.process == process and seen.requests < before:
                if seen.fact.kind == "reset":
                    lost.clear()
                elif seen.fact.kind == "hole":
                    lost.update(range(int(seen.fact.after_id) + 1, int(seen.fact.before_id)))
        return lost

    def processes(self):
        """Cut the run into the processes of its consumer, without what no client could have understood."""
        sure = self.doubtful() or len(self.log.requests) + 1
        for began in self.notes(Did.BEGAN):
            yield Process(self, began, [each for each in self.seen if each.requests < sure])


class Process:
    """
    What one process of the consumer lived through.

    Attributes:
        number: Which, from 1.
        start: The event it began behind; `None` for the beginning.
        seen: Its entries.
        requests: Its requests.
        delivered: What it was given: the entry, the event, and what was published.
    """

    def __init__(self, record, began, seen):
        self.record, self.number, self.start = record, began.process, began.fact.item
        self.options = record.plan.options
        self.seen = [each for each in seen if each.process == self.number]
        self.requests: list[Sent] = [each for each in record.log.requests if each.process == self.number]
        given = [each for each in self.seen if isinstance(each.fact, ServerSentEvent)]
        told = [(each, each.fact, record.log.of(each.fact.data)) for each in given]
        self.delivered = [each for each in told if each[2] is not None]
        self.times = Counter(event.ordinal for _, _, event in self.delivered)

    @property
    def origin(self):
        """The ordinal before the first event that it should have got."""
        if self.start is not None:
            return self.start.ordinal
        return next((event.ordinal - 1 for _, _, event in self.delivered if event.id is not None), 0)

    def wanted(self, event: Published):
        """Whether *event* is one to be delivered."""
        return event.what is not What.BEAT and not (event.what is What.OTHER and self.options.filtered)

    def counted(self, event):
        """Whether a replay may bring *event* again, so that one that is missing can be known."""
        return event.id is not None and self.options.ids is not Ids.THINGS
