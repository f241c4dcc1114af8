"""What is told: every callback every fact, once and in order, and `activity()` likewise."""

from collections import deque

from resilient_sse import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent, StateChange
from tests.simulation.record import Did, Note, Promise


def check_notices(record):
    """Check what callbacks and `activity()` were given against what observers were told."""
    processes = {}
    for seen in record.seen:
        processes.setdefault(seen.process, []).append(seen)
    for number, entries in processes.items():
        ended = any(isinstance(seen.fact, Note) and seen.fact.did is Did.ENDED for seen in entries)
        if record.plan.options.raises:
            yield from _callbacks([fact for at, fact in record.told if at == number], entries, ended=ended)
        if record.plan.options.activity:
            yield from _activity(entries, ended=ended)


def _callbacks(called, entries, *, ended):
    """Callbacks that fail are called all the same; only one that dies with its process may miss the rest."""
    facts = [seen for seen in entries if isinstance(seen.fact, StateChange | Gap)]
    for seen, got in zip(facts, called, strict=False):
        if seen.fact is not got:
            yield Promise.CALLBACKS(seen.at, f"{got} was told instead of {seen.fact}")
            return
    if len(called) > len(facts) or (len(called) < len(facts) and ended):
        yield Promise.CALLBACKS(entries[-1].at, f"{len(called)} calls for {len(facts)} facts")


def _activity(entries, *, ended):
    """What is told is handed over, one after the other; only a stream that is over may keep its last notices."""
    due = deque()
    for seen in entries:
        fact = seen.fact
        if isinstance(fact, Opened | ServerSentEvent | Comment | Gap | Disconnected | Closed):
            due.append(fact)
        elif isinstance(fact, Note) and fact.did in (Did.HANDED, Did.ACTIVITY):
            item = fact.event if fact.item is None else fact.item
            wanted = due.popleft() if due else None
            if item is not wanted:
                yield Promise.ACTIVITY(seen.at, f"{item} was handed over instead of {wanted}")
                return
    if due and ended:
        yield Promise.ACTIVITY(entries[-1].at, f"{due[0]} was told, but not handed over")
