"""Events: whole, once, in order, none lost that was read, and a position that is never ahead of the handler."""

from collections import Counter, deque
from itertools import pairwise

from resilient_sse import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from tests.simulation.log import What
from tests.simulation.plan import Dialect, Does, Ids
from tests.simulation.record import Did, Note, Outcome, Promise


def check_delivery(process):
    """Check everything about events but their loss."""
    for check in (
        _whole,
        _handed,
        _once_and_in_order,
        _wire_order,
        _plain,
        _read,
        _position,
        _cursors,
    ):
        yield from check(process)


def _whole(process):
    """Every event is one of the server's, with its id and type."""
    for seen in process.seen:
        if isinstance(fact := seen.fact, ServerSentEvent):
            event = process.record.log.of(fact.data)
            own_id = None if event is None or process.options.dialect is Dialect.JSON else event.id
            if event is None or (fact.id, fact.event) != (own_id, event.what.type):
                yield Promise.ORDER(seen.at, f"{fact} was never sent")


def _handed(process):
    """What is told is handed over, in turn; only a stream that is over may keep its last notices."""
    kinds = ServerSentEvent
    if process.options.activity:
        kinds = Opened | ServerSentEvent | Comment | Gap | Disconnected | Closed
    due, ended = deque(), False
    for seen in process.seen:
        fact = seen.fact
        if isinstance(fact, kinds):
            due.append(fact)
        elif isinstance(fact, Note) and fact.did in (Did.HANDED, Did.ACTIVITY):
            item = fact.item or fact.event
            if not due or due.popleft() is not item:
                yield Promise.HANDED(seen.at, f"{item} was handed over out of turn")
                return
        ended |= isinstance(fact, Note) and fact.did is Did.ENDED
    if due and (ended or any(isinstance(each, ServerSentEvent) for each in due)):
        yield Promise.HANDED(process.seen[-1].at, f"{due[0]} was told, but not handed over")


def _once_and_in_order(process):
    mode, numbered = process.options.dedup, process.options.numbered
    sent = Counter(event.ordinal for request in process.requests for event in request.events)
    opened = process.record.opened()
    begun = (each for number, each in enumerate(process.record.log.requests, 1) if number in opened)
    first = next((set(each.events) for each in begun if each.process == process.number), set())
    start = 0 if process.start is None else process.start.ordinal
    times, last = Counter(), start
    for seen, _, event in process.delivered:
        times[event.ordinal] += 1
        if event.id is None:
            if times[event.ordinal] > 1:
                yield Promise.ONCE(seen.at, f"event {event.ordinal}, without an id, was delivered again")
            continue
        if times[event.ordinal] == 1 and event.ordinal != start:
            # Other ids show no order but that of the wire; "off" delivers what comes late, too.
            if numbered and event.ordinal <= last and mode != "off":
                yield Promise.ORDER(seen.at, f"event {event.ordinal} came after {last}")
            last = max(last, event.ordinal)
            continue
        resumed = process.record.log.requests[seen.requests - 1].cursor is not None
        dropped = {
            "always": True,
            # Numbers need no other reason; things have no repetitions.
            "auto": numbered or (resumed and process.options.ids is not Ids.THINGS),
            "replay": event not in first or process.start is not None or (resumed and not numbered),
            "off": False,
        }[mode]
        if dropped or times[event.ordinal] > sent[event.ordinal]:
            yield Promise.ONCE(seen.at, f"event {event.ordinal} was delivered {times[event.ordinal]} times")


def _wire_order(process):
    """
    Events whose ids are no numbers come in the order of the wire: over the connection that brought them.

    What a server sends only after what follows it is new to a client that cannot count, and is delivered.
    """
    if process.options.numbered:
        return
    connection = last = 0
    for seen, _, event in process.delivered:
        if event not in process.record.log.requests[seen.requests - 1].events:
            yield Promise.ORDER(seen.at, f"event {event.ordinal} did not come over this connection")
        elif seen.requests == connection and event.ordinal < last:
            yield Promise.ORDER(seen.at, f"event {event.ordinal} came after {last}")
        connection, last = seen.requests, event.ordinal


def _plain(process):
    """An event without an id tells the id in force, and stands between what stood around it on the wire."""
    place = {}
    for index, (seen, fact, event) in enumerate(process.delivered):
        place.setdefault(event, index)
        if event.what is What.PLAIN and fact.last_event_id != (seen.last_event_id or ""):
            yield Promise.ORDER(seen.at, f"{fact} does not tell the id in force, {seen.last_event_id}")
    for request in process.requests:
        for before, event in pairwise(filter(process.wanted, request.events)):
            one_is_plain = What.PLAIN in (before.what, event.what)
            if one_is_plain and before in place and event in place and place[before] > place[event]:
                yield Promise.ORDER(
                    request.at, f"event {event.ordinal} was delivered before {before.ordinal}"
                )


def _read(process):
    """
    What was read is delivered, unless a cancelled read, `aclose()` or the death of the process took it along.

    No replay brings an event without an id again.  Of the others, those with numbers are held back, asked for
    again and accounted for as loss, but for what the last connection of a stream that ends brings; any other is
    delivered when it comes, on healthy connections too.
    """
    record, numbered = process.record, process.options.numbered
    start = 0 if process.start is None else process.start.ordinal
    ended = record.outcome is Outcome.DONE and process.seen[-1:] == record.seen[-1:]
    top = max((event.ordinal for _, _, event in process.delivered), default=process.origin)
    for number, request in enumerate(record.log.requests, 1):
        if request.process != process.number:
            continue
        # What arrives while a connection that was given up is being closed is nobody's.
        sure = not (request.answer.close_takes or _taken_along(process, number))
        last = ended and request is process.requests[-1]
        for event in request.events:
            demanded = sure and (event.id is None or (not numbered and event.ordinal > start))
            demanded |= last and event.ordinal > top
            if demanded and process.wanted(event) and not process.times[event.ordinal]:
                yield Promise.LOST(request.at, f"event {event.ordinal} was read, but not delivered")
            if event.what is What.DONE and process.options.watched:
                break


def _taken_along(process, number):
    """Whether a read of this connection may have died with what it held."""
    notes = [(seen.requests, seen.fact.did) for seen in process.seen if isinstance(seen.fact, Note)]
    deeds = {did for _, did in notes}
    if Did.LEFT not in deeds or Did.ACLOSE in deeds or (number, Did.CANCELLED) in notes:
        return True
    if any(at >= number and did in (Did.ENDED, Did.ERROR) for at, did in notes):
        return False
    # What stands behind a hole is held back beyond the connection.
    return process.options.numbered or all(at <= number for at, _ in notes)


def _position(process):
    """
    What is saved was handled, and was handled last, or was for nobody, and nothing that came before it waits.

    A repeat behind a heartbeat puts the last event's own id in force again.  A new process begins there.
    """
    log, handled, delivered, own = process.record.log, None, None, None
    sent = (event for request in process.requests for event in request.events)
    passing = {event.id for event in sent if not process.wanted(event)}
    for request in process.requests:
        if any(each.does is Does.ECHO for each in request.answer.live):  # a heartbeat with the last one's id
            passing.update(event.id for event in request.events)
    for seen in process.seen:
        fact = seen.fact
        if isinstance(fact, ServerSentEvent):
            delivered = fact
        elif isinstance(fact, Note) and fact.did is Did.HANDLED:
            handled, published = fact.event, log.of(fact.event.data)
            own = published.id if published is not None and published.id else own
            if process.options.dedup == "off":  # a repeat leaves the id in force where it was
                passing.add(handled.last_event_id)
        elif isinstance(fact, Note) and fact.did is Did.SAVED:
            last = handled is not None and fact.id in (handled.last_event_id, own)
            if not last and not (fact.id in passing and delivered == handled):
                yield Promise.POSITION(seen.at, f"{fact.id} was saved, {handled} was handled last")
    if process.requests and process.seen and process.requests[0].cursor != process.seen[0].fact.id:
        began = f"behind {process.requests[0].cursor}, {process.seen[0].fact.id} was stored"
        yield Promise.POSITION(process.requests[0].at, began)


def _cursors(process):
    """Ids in force go forward, and each request resumes behind the one in force."""
    last, in_force = None, {}
    anew = False  # from the notice of a new numbering to its first event
    for seen in process.seen:
        in_force[seen.requests] = seen.last_event_id
        if isinstance(seen.fact, Gap) and seen.fact.kind == "reset":
            last, anew = None, True
        anew = anew and not isinstance(seen.fact, ServerSentEvent)
        if process.options.numbered and not anew and seen.last_event_id is not None:
            number = int(seen.last_event_id)
            if last is not None and number < last:
                yield Promise.POSITION(seen.at, f"the id in force fell from {last} to {number}")
            last = number
    before = sum(each.process < process.number for each in process.record.log.requests)
    for index, request in enumerate(process.requests[1:], before + 1):
        if index in in_force and in_force[index] != request.cursor:
            yield Promise.POSITION(request.at, f"resumed behind {request.cursor}, not {in_force[index]}")
