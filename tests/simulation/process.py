"""A run, cut into the processes of its consumer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from resilient_sse import Gap, ServerSentEvent
from tests.simulation.record import Record, Seen
from tests.simulation.truth import Published, Sent

__all__ = ["Process", "first_doubtful", "processes"]


@dataclass(slots=True)
class Process:
    """
    What one process of the consumer lived through.

    Attributes:
        record: The run.
        number: Which process, from 1.
        start: The event it began behind; `None` for the beginning.
        seen: Its entries.
        requests: Its requests.
    """

    record: Record
    number: int
    start: Published | None
    seen: list[Seen]
    requests: list[Sent]
    delivered: list[tuple[Seen, ServerSentEvent, Published]] = field(
        default_factory=list[tuple[Seen, ServerSentEvent, Published]]
    )

    @property
    def numbered(self) -> bool:
        """Whether ids are numbers that count up."""
        return self.record.plan.options.sequence

    @property
    def origin(self) -> int:
        """The ordinal before the first event that it should have got."""
        if self.start is not None:
            return self.start.ordinal
        return next((event.ordinal - 1 for _, _, event in self.delivered if event.id is not None), 0)

    def wanted(self, event: Published) -> bool:
        """Whether *event* is one to be delivered."""
        return event.kind in ("event", "plain", "done") or (
            event.kind == "other" and not self.record.plan.options.filtered
        )


def first_doubtful(record: Record) -> int | None:
    """Return the number of the first request whose answer no client could have understood, from 1."""
    if not record.plan.options.sequence:
        return None
    gaps = [(seen, seen.fact) for seen in record.seen if isinstance(seen.fact, Gap)]
    for index, request in enumerate(record.truth.requests, 1):
        lost: set[int] = set()
        for seen, gap in gaps:
            if seen.process != request.process or seen.requests >= index:
                continue
            if gap.kind == "reset":
                lost.clear()
            elif gap.kind == "hole" and gap.after_id and gap.before_id:
                lost.update(range(int(gap.after_id) + 1, int(gap.before_id)))
        if request.doubtful(lost):
            return index
    return None


def processes(record: Record) -> Iterator[Process]:
    """Cut a run into processes; what follows an answer that no client could have understood is left out."""
    sure = first_doubtful(record) or len(record.truth.requests) + 1
    for seen, _ in record.notes("process"):
        number = seen.process
        process = Process(
            record,
            number,
            seen.start,
            [each for each in record.seen if each.process == number and each.requests < sure],
            [each for each in record.truth.requests if each.process == number],
        )
        for each in process.seen:
            if isinstance(each.fact, ServerSentEvent) and (event := record.published(each.fact)) is not None:
                process.delivered.append((each, each.fact, event))
        yield process
