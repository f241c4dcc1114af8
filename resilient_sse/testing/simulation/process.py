"""A run, cut into the processes of its consumer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from resilient_sse import ServerSentEvent
from resilient_sse.testing.simulation.record import Record, Seen
from resilient_sse.testing.simulation.truth import Published, Sent

__all__ = ["Process", "processes"]


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
        return self.delivered[0][2].ordinal - 1 if self.delivered else 0

    def wanted(self, event: Published) -> bool:
        """Whether *event* is one to be delivered."""
        return event.kind in ("event", "done") or (
            event.kind == "other" and not self.record.plan.options.filtered
        )


def processes(record: Record) -> Iterator[Process]:
    """Cut a run into processes; what follows an answer that no client could have understood is left out."""
    numbered = record.plan.options.sequence
    doubtful = (
        index for index, request in enumerate(record.truth.requests, 1) if numbered and request.doubtful
    )
    sure = next(doubtful, len(record.truth.requests) + 1)
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
