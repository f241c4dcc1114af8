"""
The invariant about loss: what was not delivered is accounted for, and nothing else is reported.

What a client can know differs by mode, and so does what is demanded.  With numbered ids every event that was not
delivered must be covered by exactly one `Gap`, and a hole may be reported only after the server has been asked
for it again.  With opaque ids an event may be missing only if the server itself passed over it, by sending a
later one to a client that was still before it; no client can see that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from resilient_sse import Gap, ServerSentEvent, StateChange, StreamState
from tests.simulation.asking import obstructed
from tests.simulation.process import Process
from tests.simulation.record import Note, Seen, Violation
from tests.simulation.truth import Published, Sent

__all__ = ["check_loss", "check_unresumable"]

_FRUITLESS = 3
"""So many connections without an event say that the server has nothing to replay."""


def check_loss(process: Process) -> Iterator[Violation]:
    """Walk from one delivered event to the next: what lies between must be accounted for."""
    got = {event.ordinal for _, _, event in process.delivered}
    before = process.origin
    gaps: list[tuple[Seen, Gap]] = []
    for seen in process.seen:
        if isinstance(seen.fact, Gap):
            gaps.append((seen, seen.fact))
        if not isinstance(seen.fact, ServerSentEvent):
            continue
        event = process.record.published(seen.fact)
        if event is None or event.id is None or event.ordinal <= before:
            continue
        if process.record.plan.options.dedup == "off" and _came_late(process, event, before, gaps):
            continue
        first = process.start is None and before == process.origin
        events = process.record.truth.events[0 if first else before : event.ordinal - 1]
        between = [each for each in events if each.id is not None]  # no one can miss the others
        missing = [
            each
            for each in between
            if process.wanted(each) and each.ordinal not in got and each.ordinal > before
        ]
        check = _numbered_loss if process.numbered else _opaque_loss
        yield from check(process, seen, _Stretch(before, event, between, missing, gaps))
        before, gaps = event.ordinal, []


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What lies between two events that were delivered one after the other."""

    before: int
    event: Published
    between: list[Published]
    missing: list[Published]
    gaps: list[tuple[Seen, Gap]]

    def epochs(self, process: Process) -> int | None:
        """Return how often the numbering began anew in between; `None` if the process had seen nothing before."""
        if process.start is None and self.before == process.origin:
            return None
        last = process.record.truth.events[self.before - 1].epoch if self.before else self.event.epoch
        return self.event.epoch - last


def _numbered_loss(process: Process, seen: Seen, stretch: _Stretch) -> Iterator[Violation]:
    resets = sum(gap.kind == "reset" for _, gap in stretch.gaps)
    changes = stretch.epochs(process)
    if (changes or resets) and process.record.plan.options.dedup == "off":
        return  # that mode may deliver the beginning of a new numbering before it can be told from a repeat
    covered: Counter[int] = Counter()
    for told, gap in ((told, gap) for told, gap in stretch.gaps if gap.kind == "hole"):
        inside = _inside(gap, stretch)
        covered.update(inside)
        if not inside:
            yield Violation("gap", seen.at, f"{gap} before event {stretch.event.ordinal} covers nothing")
        for ordinal in inside:
            yield from _check_asked(process, told, process.record.truth.events[ordinal - 1])
    for ordinal in (ordinal for ordinal, times in covered.items() if times > 1):
        yield Violation("gap", seen.at, f"event {ordinal} was reported lost more than once")
    if changes is not None and not min(changes, 1) <= resets <= changes:
        text = f"{resets} resets before event {stretch.event.ordinal}, for {changes} restarts"
        yield Violation("gap", seen.at, text)
    for each in (each for each in stretch.missing if each.ordinal not in covered and not resets):
        yield Violation("lost", seen.at, f"event {each.ordinal} ({each.id}) is missing, and no gap tells")


def _came_late(process: Process, event: Published, before: int, gaps: list[tuple[Seen, Gap]]) -> bool:
    """Whether an event was reported lost since the one *before*, and is sent all the same."""
    same = before > 0 and process.record.truth.events[before - 1].epoch == event.epoch
    return same and any(
        gap.kind == "hole" and int(gap.after_id or 0) < event.number < int(gap.before_id or 0)
        for _, gap in gaps
    )


def _inside(gap: Gap, stretch: _Stretch) -> set[int]:
    """Return the ordinals that a hole covers."""
    if not (gap.after_id or "").isdigit() or not (gap.before_id or "").isdigit():
        return set()
    low, high = int(gap.after_id or 0), int(gap.before_id or 0)
    by_epoch: dict[int, set[int]] = {}
    for each in stretch.between:
        if low < each.number < high:
            by_epoch.setdefault(each.epoch, set()).add(each.ordinal)
    return next((inside for inside in by_epoch.values() if len(inside) == gap.missing), set[int]())


def _check_asked(process: Process, seen: Seen, event: Published) -> Iterator[Violation]:
    """What the server has may be reported lost only after it had a second chance to send it."""
    ended = seen.state in (StreamState.ERROR, StreamState.CLOSED)
    if event.gone or ended or _spent(process, seen) or obstructed(process.record.plan.options, seen):
        return  # a stream that ends, or would, asks for nothing any more
    asked = [
        request
        for request in process.requests
        if request.opened and request.behind < event.ordinal and event not in request.events
    ]
    fruitless = sum(not request.events for request in asked)
    if len(asked) == 1:
        yield Violation(
            "gap", seen.at, f"event {event.ordinal} was reported lost without asking for it again"
        )
    elif fruitless < _FRUITLESS and not any(_had_its_chance(request, event) for request in asked[1:]):
        yield Violation(
            "gap", seen.at, f"event {event.ordinal} was reported lost, but no replay has passed it over"
        )


def _spent(process: Process, seen: Seen) -> bool:
    """Whether the connection is the last that the budget allows."""
    allowed = process.record.plan.options.max_retries
    changes = [
        each.fact for each in process.seen[: process.seen.index(seen)] if isinstance(each.fact, StateChange)
    ]
    up = seen.state in (StreamState.CONNECTED, StreamState.WAITING)
    return up and allowed is not None and changes[-1].attempt >= allowed


def _had_its_chance(request: Sent, event: Published) -> bool:
    quiet = request.answer.end in ("eof", "stall") and request.events
    late = any(token.startswith("pause") for token in request.answer.live)
    return _passed_over(request, event) or bool(quiet) or late


def _passed_over(request: Sent, event: Published) -> bool:
    return any(each.ordinal > event.ordinal for each in request.events) and event not in request.events


def _opaque_loss(process: Process, seen: Seen, stretch: _Stretch) -> Iterator[Violation]:
    for each in stretch.missing:
        if not any(
            request.opened and request.behind < each.ordinal and _passed_over(request, each)
            for request in process.requests
        ):
            yield Violation("lost", seen.at, f"event {each.ordinal} (id {each.id}) is missing")
    for _, gap in stretch.gaps:
        if gap.kind != "unresumable":
            yield Violation("gap", seen.at, f"{gap}, but ids are opaque")


def check_unresumable(process: Process) -> Iterator[Violation]:
    """
    What the server says of a cursor is passed on, once and before the next event; it is not made up.

    A read that was cancelled without a cursor has cut its connection for good (P50), which is told once a stream.
    """
    told: set[str | None] = set()
    cancelled = cut = False
    due: dict[str, int] = {}
    for index, request in enumerate(process.record.truth.requests, 1):
        if request in process.requests and request.unresumable and request.opened and request.cursor:
            due.setdefault(request.cursor, index)
    for seen in process.seen:
        fact = seen.fact
        if isinstance(fact, Note):
            cancelled |= fact.kind == "cancelled"
        elif isinstance(fact, Gap) and fact.kind == "unresumable" and fact.after_id is None:
            if cut or not cancelled:
                yield Violation("gap", seen.at, f"{fact}, but no read was cut, or it was told before")
            cut = True
        elif isinstance(fact, Gap) and fact.kind == "unresumable":
            if fact.after_id in told:
                yield Violation("gap", seen.at, f"{fact} was told before")
            told.add(fact.after_id)
            reasons = [
                request
                for request in process.requests
                if request.cursor == fact.after_id and (request.unresumable or not request.events)
            ]
            if not any(request.unresumable for request in reasons) and len(reasons) < _FRUITLESS:
                yield Violation("gap", seen.at, f"{fact}, but nothing says so")
            due.pop(fact.after_id or "", None)
        elif isinstance(fact, ServerSentEvent):
            told.clear()
            for cursor in [cursor for cursor, index in due.items() if index <= seen.requests]:
                del due[cursor]
                yield Violation("gap", seen.at, f"the server cannot resume after {cursor}, and no gap tells")
