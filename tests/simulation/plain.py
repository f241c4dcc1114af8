"""
Invariants about events without an id: each is sent once, so each that was read is delivered once, in its place.

No replay brings such an event again, and no client can know of one that it did not read.  So none is demanded
that was not read, and of those that were only what a cancelled read, a stream that was closed, or a process that
died took with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.simulation.process import Process
from tests.simulation.record import Note, Violation
from tests.simulation.truth import Published, Sent

__all__ = ["check_plain"]


def check_plain(process: Process) -> Iterator[Violation]:
    """Check what became of the events without an id."""
    place: dict[int, int] = {}
    times: Counter[int] = Counter()
    for index, (seen, fact, event) in enumerate(process.delivered):
        place.setdefault(event.ordinal, index)
        times[event.ordinal] += event.kind == "plain"
        if times[event.ordinal] > 1:
            yield Violation("once", seen.at, f"event {event.ordinal}, without an id, was delivered again")
        if event.kind == "plain" and fact.last_event_id != (seen.last_event_id or ""):
            yield Violation("whole", seen.at, f"{fact} does not tell the id in force, {seen.last_event_id}")
    for number, request in enumerate(process.record.truth.requests, 1):
        if request.process == process.number:
            yield from _check_places(process, request, place)
            if not _taken_along(process, number):
                yield from _check_delivered(request, place)


def _check_places(process: Process, request: Sent, place: dict[int, int]) -> Iterator[Violation]:
    """It stands between what stood around it on the wire, so far as that came over the same connection."""
    events = [event for event in request.events if process.wanted(event)]
    for before, event in pairwise(events):
        if "plain" not in (before.kind, event.kind):
            continue
        first, second = place.get(before.ordinal), place.get(event.ordinal)
        if first is not None and second is not None and first > second:
            yield Violation(
                "order", request.at, f"event {event.ordinal} was delivered before {before.ordinal}"
            )


def _check_delivered(request: Sent, place: dict[int, int]) -> Iterator[Violation]:
    for event in _before_the_end(request):
        if event.kind == "plain" and event.ordinal not in place:
            yield Violation(
                "lost", request.at, f"event {event.ordinal}, without an id, was read, but not delivered"
            )


def _before_the_end(request: Sent) -> Iterator[Published]:
    for event in request.events:
        yield event
        if event.kind == "done":
            return


def _taken_along(process: Process, number: int) -> bool:
    """Whether what request *number* brought may be gone: with a read, with the stream, or with the process."""
    notes = [(seen.requests, seen.fact.kind) for seen in process.seen if isinstance(seen.fact, Note)]
    if not notes or notes[-1][1] != "left" or (number, "cancelled") in notes:
        return True
    if any(kind == "aclose" for _, kind in notes):
        return True
    if any(at >= number and kind in ("ended", "error") for at, kind in notes):
        return False
    # What stands behind a hole is held back beyond the connection.
    return process.numbered or all(at <= number for at, _ in notes)
