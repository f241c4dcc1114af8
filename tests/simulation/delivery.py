"""Invariants about events: whole, once, in order, and a position that is never ahead of the handler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

from resilient_sse import Gap, ServerSentEvent
from tests.simulation.loss import check_loss, check_unresumable
from tests.simulation.plain import check_plain
from tests.simulation.process import Process, processes
from tests.simulation.record import Note, Record, Violation
from tests.simulation.truth import TYPES, Published

__all__ = ["check_events"]


def check_events(record: Record) -> Iterator[Violation]:
    """Check everything about events."""
    for process in processes(record):
        for check in _CHECKS:
            yield from check(process)


def _check_truth(process: Process) -> Iterator[Violation]:
    """Every event is one of the server's, whole, and is handed over in the order it was told."""
    told: list[ServerSentEvent] = []
    for seen in process.seen:
        fact = seen.fact
        if isinstance(fact, ServerSentEvent):
            told.append(fact)
            event = process.record.published(fact)
            kind = None if event is None else TYPES[event.kind] or "message"
            if (
                event is None
                or (event.id, kind) != (fact.id, fact.event)
                or not _hinted(process, event, fact)
            ):
                yield Violation("whole", seen.at, f"{fact} was never sent")
        elif isinstance(fact, Note) and fact.kind == "handed" and (not told or told.pop(0) is not fact.event):
            yield Violation("handed", seen.at, f"{fact.event} was handed over out of turn")
    if len(told) > 0:
        yield Violation(
            "handed", process.seen[-1].at, f"{told[0]} was counted as delivered, but not handed over"
        )


def _hinted(process: Process, event: Published, fact: ServerSentEvent) -> bool:
    """Whether an event tells the `retry` field of its block; only the block that was sent first has one."""
    if event.hint is None:
        return fact.retry is None
    reads = sum(request.events.count(event) for request in process.requests)
    hinted = sum(request.hinted.count(event) for request in process.requests)
    possible = [event.hint] * (hinted > 0) + [None] * (hinted < reads)
    return fact.retry in possible


def _check_once_and_in_order(process: Process) -> Iterator[Violation]:
    mode = process.record.plan.options.dedup
    sent = Counter(event.ordinal for request in process.requests for event in request.events)
    opened = [request for request in process.requests if request.opened]
    first = {event.ordinal for request in opened[:1] for event in request.events}
    times: Counter[int] = Counter()
    last = 0 if process.start is None else process.start.ordinal
    for seen, _, event in process.delivered:
        times[event.ordinal] += 1
        again = times[event.ordinal] > 1 or (
            process.start is not None and event.ordinal == process.start.ordinal
        )
        if event.id is None:
            continue
        if not again:
            # Opaque ids show no order but that of the wire; "off" delivers what comes late, too.
            if process.numbered and event.ordinal <= last and mode != "off":
                yield Violation("order", seen.at, f"event {event.ordinal} came after {last}")
            last = max(last, event.ordinal)
        elif mode == "always" or (
            mode == "replay" and (event.ordinal not in first or process.start is not None)
        ):
            yield Violation(
                "once", seen.at, f"event {event.ordinal} was delivered {times[event.ordinal]} times"
            )
        elif times[event.ordinal] > sent[event.ordinal]:
            yield Violation("once", seen.at, f"event {event.ordinal} was delivered more often than sent")


def _check_wire_order(process: Process) -> Iterator[Violation]:
    """
    Events with opaque ids come in the order of the wire: over the connection that brought them, none overtaken.

    What a server sends only after what follows it is new to a client that cannot count, and is delivered.
    """
    if process.numbered:
        return
    connection = last = 0
    for seen, _, event in process.delivered:
        if event not in process.record.truth.requests[seen.requests - 1].events:
            yield Violation("order", seen.at, f"event {event.ordinal} did not come over this connection")
        elif seen.requests == connection and event.ordinal < last:
            yield Violation("order", seen.at, f"event {event.ordinal} came after {last}")
        connection, last = seen.requests, event.ordinal


def _check_tail(process: Process) -> Iterator[Violation]:
    """A stream that ended by itself has delivered all that its last connection brought."""
    last = process.record.seen[-1]
    if process.record.outcome != "done" or not process.seen or process.seen[-1] is not last:
        return
    got = {event.ordinal for _, _, event in process.delivered}
    top = max(got, default=process.origin)
    for event in process.requests[-1].events:
        if process.wanted(event) and event.ordinal > top:
            yield Violation(
                "lost", process.seen[-1].at, f"event {event.ordinal} was sent, and the stream ended"
            )


def _check_position(process: Process) -> Iterator[Violation]:
    """
    What is saved was handled, and was handled last, or was for nobody, and nothing that came before it waits.

    A new process begins there, and each connection.
    """
    handled: ServerSentEvent | None = None
    delivered: ServerSentEvent | None = None
    passing = {
        event.id for request in process.requests for event in request.events if not process.wanted(event)
    }
    for seen in process.seen:
        if isinstance(seen.fact, ServerSentEvent):
            delivered = seen.fact
        if not isinstance(seen.fact, Note):
            continue
        if seen.fact.kind == "handled":
            handled = seen.fact.event
            if handled is not None:
                passing.add(handled.last_event_id)
        passed = seen.fact.text in passing and delivered == handled
        last = handled is not None and handled.last_event_id == seen.fact.text
        if seen.fact.kind == "saved" and not (last or passed):
            yield Violation("position", seen.at, f"{seen.fact.text} was saved, {handled} was handled last")
    if process.requests and process.seen:
        stored = process.seen[0].fact.text if isinstance(process.seen[0].fact, Note) else None
        if process.requests[0].cursor != stored:
            first = process.requests[0]
            yield Violation("position", first.at, f"resumed behind {first.cursor}, {stored} was stored")


def _check_cursors(process: Process) -> Iterator[Violation]:
    """Ids in force go forward, and each request resumes behind the one in force."""
    last: int | None = None
    anew = False  # from the notice of a new numbering to its first event
    in_force: dict[int, str | None] = {}
    for seen in process.seen:
        in_force[seen.requests] = seen.last_event_id
        if isinstance(seen.fact, Gap) and seen.fact.kind == "reset":
            last, anew = None, True
        anew = anew and not isinstance(seen.fact, ServerSentEvent)
        if process.numbered and not anew and seen.last_event_id is not None:
            number = int(seen.last_event_id)
            if last is not None and number < last:
                yield Violation("cursor", seen.at, f"the id in force fell from {last} to {number}")
            last = number
    before = len(process.record.truth.requests) - len(
        [each for each in process.record.truth.requests if each.process >= process.number]
    )
    for index, request in enumerate(process.requests[1:], before + 1):
        if index in in_force and in_force[index] != request.cursor:
            yield Violation("cursor", request.at, f"resumed behind {request.cursor}, not {in_force[index]}")


_Check: TypeAlias = Callable[[Process], Iterator[Violation]]
_CHECKS: tuple[_Check, ...] = (
    _check_truth,
    _check_once_and_in_order,
    _check_wire_order,
    check_loss,
    check_unresumable,
    check_plain,
    _check_tail,
    _check_position,
    _check_cursors,
)
