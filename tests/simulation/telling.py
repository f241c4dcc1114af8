"""Invariants about what is told: every callback every fact, once and in order, and `activity()` likewise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from resilient_sse import Gap, ServerSentEvent, StateChange
from resilient_sse._core.events import Closed, Comment, Disconnected, Opened
from tests.simulation.record import Note, Record, Seen, Violation

__all__ = ["check_telling"]


def check_telling(record: Record) -> Iterator[Violation]:
    """Check what callbacks and `activity()` were given against what observers were told."""
    processes: dict[int, list[Seen]] = {}
    for seen in record.seen:
        processes.setdefault(seen.process, []).append(seen)
    for number, told in processes.items():
        if record.plan.options.raises:
            yield from _check_callbacks(record, number, told)
        if record.plan.options.activity:
            yield from _check_activity(told)


def _check_callbacks(record: Record, number: int, told: list[Seen]) -> Iterator[Violation]:
    """Callbacks that fail are called all the same; only one that dies with its process may miss the rest."""
    facts = [(seen.at, seen.fact) for seen in told if isinstance(seen.fact, StateChange | Gap)]
    called = [fact for process, fact in record.told if process == number]
    for (at, fact), got in zip(facts, called, strict=False):
        if fact is not got:
            yield Violation("callbacks", at, f"{got} was told instead of {fact}")
            return
    if len(called) > len(facts) or (len(called) < len(facts) and _ended_by_itself(told)):
        yield Violation("callbacks", told[-1].at, f"{len(called)} calls for {len(facts)} facts")


def _ended_by_itself(told: list[Seen]) -> bool:
    return any(isinstance(seen.fact, Note) and seen.fact.kind == "ended" for seen in told)


def _check_activity(told: list[Seen]) -> Iterator[Violation]:
    """What is told is handed over, one after the other; only a stream that is over may keep its last notices."""
    due: deque[object] = deque()
    for seen in told:
        fact = seen.fact
        if isinstance(fact, Opened | ServerSentEvent | Comment | Gap | Disconnected | Closed):
            due.append(fact)
        elif isinstance(fact, Note) and fact.kind in ("handed", "activity"):
            item = fact.event if fact.item is None else fact.item
            wanted = due.popleft() if due else None
            if item is not wanted:
                yield Violation("activity", seen.at, f"{item} was handed over instead of {wanted}")
                return
    if due and _ended_by_itself(told):
        yield Violation("activity", told[-1].at, f"{due[0]} was told, but not handed over")
