"""
What was not delivered is accounted for, once, and nothing else is reported.

What a client can know differs by ids, and so does what is demanded.  With numbers every event that was not
delivered must be covered by exactly one `Gap`, and a hole may be reported only after the server has been asked
for it again.  With other ids an event may be missing only if the server itself passed over it, by sending a
later one to a client that was still before it; no client can see that.
"""

from collections import Counter

from resilient_sse import Gap, ServerSentEvent, StateChange, StreamState
from tests.simulation.invariants.requests import obstructed
from tests.simulation.plan import Dialect, Does, End
from tests.simulation.record import Did, Note, Promise

_FRUITLESS = 3
"""So many connections without an event say that the server has nothing to replay."""


def check_loss(process):
    """Check what is missing between one delivered event and the next, and every gap."""
    log, before, gaps = process.record.log, process.origin, []
    judge = _numbered if process.options.numbered else _opaque
    for seen in process.seen:
        if isinstance(seen.fact, Gap):
            gaps.append(seen)
        if not isinstance(seen.fact, ServerSentEvent):
            continue
        event = log.of(seen.fact.data)
        if event is None or event.id is None or event.ordinal <= before:
            continue
        if process.options.dedup == "off" and _came_late(process, event, before, gaps):
            continue
        first = process.start is None and before == process.origin
        between = list(filter(process.counted, log.events[0 if first else before : event.ordinal - 1]))
        yield from judge(process, seen, before, between, gaps)
        before, gaps = event.ordinal, []
    yield from _unresumable(process)


def _missing(process, before, between):
    wanted = (each for each in between if process.wanted(each) and each.ordinal > before)
    return [each for each in wanted if not process.times[each.ordinal]]


def _numbered(process, delivered, before, between, gaps):
    at, events = delivered.at, process.record.log.events
    event = process.record.log.of(delivered.fact.data)
    resets = sum(seen.fact.kind == "reset" for seen in gaps)
    restarts = None  # nobody knows how many, if the process had seen nothing before
    if process.start is not None or before != process.origin:
        restarts = event.epoch - (events[before - 1].epoch if before else event.epoch)
    if (restarts or resets) and process.options.dedup == "off":
        return  # that mode may deliver the beginning of a new numbering before it can be told from a repeat
    covered = Counter()
    for seen in (seen for seen in gaps if seen.fact.kind == "hole"):
        inside = _inside(seen.fact, between)
        covered.update(inside)
        if not inside:
            yield Promise.GAP(at, f"{seen.fact} before event {event.ordinal} covers nothing")
        for ordinal in inside:
            yield from _asked_again(process, seen, events[ordinal - 1])
    for ordinal in (ordinal for ordinal, times in covered.items() if times > 1):
        yield Promise.GAP(at, f"event {ordinal} was reported lost more than once")
    if restarts is not None and not min(restarts, 1) <= resets <= restarts:
        yield Promise.GAP(at, f"{resets} resets before event {event.ordinal}, for {restarts} restarts")
    for each in _missing(process, before, between):
        if each.ordinal not in covered and not resets:
            yield Promise.LOST(at, f"event {each.ordinal} ({each.id}) is missing, and no gap tells")


def _came_late(process, event, before, gaps):
    """Whether an event was reported lost since the one *before*, and is sent all the same."""
    same = before > 0 and process.record.log.events[before - 1].epoch == event.epoch
    holes = (seen.fact for seen in gaps if seen.fact.kind == "hole")
    return same and any(int(hole.after_id) < event.number < int(hole.before_id) for hole in holes)


def _inside(gap, between):
    """Return the ordinals that a hole covers."""
    by_epoch = {}
    for each in between:
        if int(gap.after_id or 0) < each.number < int(gap.before_id or 0):
            by_epoch.setdefault(each.epoch, set()).add(each.ordinal)
    return next((inside for inside in by_epoch.values() if len(inside) == gap.missing), set())


def _asked_again(process, seen, event):
    """What the server has may be reported lost only after it had a second chance to send it."""
    ended = seen.state in (StreamState.ERROR, StreamState.CLOSED)
    if event.gone or ended or _spent(process, seen) or obstructed(process.options, seen):
        return  # a stream that ends, or would, asks for nothing any more
    asked = [
        request
        for request in process.requests
        if request.opened and request.behind < event.ordinal and event not in request.events
    ]
    fruitless = sum(not request.events for request in asked)
    if fruitless < _FRUITLESS and not any(_had_its_chance(request, event) for request in asked[1:]):
        yield Promise.GAP(
            seen.at, f"event {event.ordinal} was reported lost, but no replay has passed it over"
        )


def _spent(process, seen):
    """Whether the connection is the last that the budget allows."""
    allowed, up = process.options.max_retries, seen.state in (StreamState.CONNECTED, StreamState.WAITING)
    before = process.seen[: process.seen.index(seen)]
    changes = [each.fact for each in before if isinstance(each.fact, StateChange)]
    return up and allowed is not None and changes[-1].attempt >= allowed


def _had_its_chance(request, event):
    quiet = request.answer.end in (End.EOF, End.STALL) and request.events
    late = any(each.does is Does.PAUSE for each in request.answer.live)
    return _passed_over(request, event) or bool(quiet) or late


def _passed_over(request, event):
    return any(each.ordinal > event.ordinal for each in request.events) and event not in request.events


def _opaque(process, delivered, before, between, gaps):
    for each in _missing(process, before, between):
        if not any(
            request.opened and request.behind < each.ordinal and _passed_over(request, each)
            for request in process.requests
        ):
            yield Promise.LOST(delivered.at, f"event {each.ordinal} ({each.id}) is missing")
    known = {event.id: event.ordinal for event in process.record.log.events}
    for gap in (seen.fact for seen in gaps):
        # A position that `cursor` reads is compared with the one before.
        fell = process.options.dialect is Dialect.JSON and known[gap.after_id] > known.get(gap.before_id, 0)
        if gap.kind == "hole" or (gap.kind == "reset" and not fell):
            yield Promise.GAP(delivered.at, f"{gap}, but nobody can know")


def _unresumable(process):
    """
    What the server says of a cursor is passed on, once and before the next event; it is not made up.

    A read that was cancelled without a cursor has cut its connection for good (P50), which is told once a stream.
    """
    told, due, cancelled, cut, opened = set(), {}, False, False, process.record.opened()
    for index, request in enumerate(process.record.log.requests, 1):
        if request.process == process.number and request.unresumable and index in opened and request.cursor:
            due.setdefault(request.cursor, index)
    for seen in process.seen:
        fact = seen.fact
        cancelled |= isinstance(fact, Note) and fact.did is Did.CANCELLED
        if isinstance(fact, Gap) and fact.kind == "unresumable":
            asked = [each for each in process.requests if each.cursor == fact.after_id]
            empty = sum(not each.events for each in asked)
            if fact.after_id is None:
                known, cut = cancelled and not cut, True
            else:
                known = any(each.unresumable for each in asked) or empty >= _FRUITLESS
            if not known or fact.after_id in told:
                yield Promise.GAP(seen.at, f"{fact}, but nothing says so, or it was told before")
            told.add(fact.after_id)
            due.pop(fact.after_id, None)
        elif isinstance(fact, ServerSentEvent):
            told.clear()
            for cursor in [cursor for cursor, index in due.items() if index <= seen.requests]:
                del due[cursor]
                yield Promise.GAP(seen.at, f"the server cannot resume after {cursor}, and no gap tells")
