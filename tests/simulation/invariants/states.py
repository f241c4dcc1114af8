"""States, silence, connections, figures, and the bound on closing."""

from collections import Counter

from resilient_sse import Gap, Opened, Reason, ServerSentEvent, StateChange, StreamState
from resilient_sse._core.session import TRANSITIONS
from tests.simulation.invariants.requests import follows_all
from tests.simulation.log import What
from tests.simulation.plan import Does, End, Kind
from tests.simulation.record import Did, Note, Outcome, Promise

CLOSING_SECONDS = 4.1
"""`aclose()` takes no longer: two seconds for the connection and two for the loop that is to end."""

_STALLS = {Reason.STALL, Reason.EVENT_TIMEOUT}
_BY_END = {
    End.DROP: {Reason.RESET},
    End.CUT: {Reason.RESET},
    End.EOF: {Reason.EOF, Reason.COMPLETE},
    End.STALL: _STALLS,
}
_ALWAYS = {Reason.RESTART, Reason.GAP, Reason.RETRIES, Reason.CLOSED, Reason.COMPLETE}
_UP = (StreamState.CONNECTED, StreamState.WAITING)
_SERVER_ERRORS = 500


def check_states(record):
    """Check everything about conduct but the delays."""
    for check in (_end, _transitions, _failures, _figures, _closing, _restarts):
        yield from check(record)


def _end(record):
    at = record.seen[-1].at if record.seen else 0.0
    if record.outcome is Outcome.STUCK:
        yield Promise.STUCK(at, "the run did not end")
    if record.max_live > 1:
        yield Promise.ONE_CONNECTION(at, f"{record.max_live} connections were open at once")
    if record.left_open:
        yield Promise.ONE_CONNECTION(at, f"{record.left_open} connections were left open")


def _transitions(record):
    """Only legal transitions, each from where the one before has led, each with a text."""
    states = {}
    for seen in record.seen:
        change = seen.fact
        if not isinstance(change, StateChange):
            continue
        before = states.get(seen.process, StreamState.CONNECTING)
        if change.old is not before:
            yield Promise.TRANSITIONS(seen.at, f"{change.old} after {before}")
        if change.reason not in TRANSITIONS.get((change.old, change.new), ()):
            yield Promise.TRANSITIONS(seen.at, f"{change.old} -> {change.new} because of {change.reason}")
        if not change.message:
            yield Promise.SILENT(seen.at, f"no text for {change.old} -> {change.new}")
        if change.new is StreamState.RECONNECTING and change.attempt < 1:
            yield Promise.SILENT(seen.at, "a reconnect without the number of its attempt")
        states[seen.process] = change.new


def _failures(record):
    """Between a request that failed and the next one, the failure was told, by its right name."""
    first = {}
    for seen in record.seen:
        change = seen.fact
        if isinstance(change, StateChange) and change.new in (StreamState.RECONNECTING, StreamState.ERROR):
            first.setdefault(seen.requests, change)
    requests = record.log.requests
    for index, request in enumerate(requests[:-1], 1):
        if requests[index].process != request.process:
            continue
        name = f"{request.answer.kind} ({request.status or request.answer.end})"
        if index not in first:
            yield Promise.SILENT(request.at, f"{name} failed, and no transition tells")
        elif first[index].reason not in _reasons(record.plan.options, request):
            yield Promise.REASON(request.at, f"{name} was told as {first[index].reason}")


def _reasons(options, request):
    """Return the reasons that may be given for a failure."""
    answer = request.answer
    if not request.met:
        return _ALWAYS if follows_all(options, answer) else _ALWAYS | {Reason.PROTOCOL}
    if answer.kind is Kind.STATUS:
        return _ALWAYS | {Reason.SERVER if request.status >= _SERVER_ERRORS else Reason.STATUS}
    if not request.opened:
        return _ALWAYS | {Reason.CONNECT}
    paused = options.event_timeout is not None or any(each.does is Does.PAUSE for each in answer.live)
    # Closing is a part of the read that finds the end, and may last until that counts as silence.
    late = _STALLS if paused or answer.close_takes else set()
    return _ALWAYS | _BY_END[answer.end] | late


def _figures(record):
    """The figures agree with each other and with what was told, at every moment, and in the end with the log."""
    told = {}
    for seen in record.seen:
        counts, stats, fact = told.setdefault(seen.process, Counter()), seen.stats, seen.fact
        match fact:
            case ServerSentEvent():
                counts["delivered"] += 1
            case Gap():
                counts["gaps"] += 1
                counts["lost"] += fact.missing or 0
            case Opened():
                counts["opened"] += 1
            case StateChange(new=StreamState.RECONNECTING | StreamState.ERROR):
                counts["stalls"] += fact.reason in _STALLS
                # Where the stream ends, the reason of that hides the silence that ended its last connection.
                counts["hidden"] += fact.reason is Reason.RETRIES
            case StateChange(reason=Reason.COMPLETE):
                counts["hidden"] += 1
        counts["callback_errors"] = seen.raised
        if stats.received != stats.delivered + stats.duplicates + stats.heartbeats + stats.filtered:
            yield Promise.COUNTERS(seen.at, f"received does not add up: {stats}")
        for name in ("delivered", "gaps", "lost", "callback_errors"):
            if getattr(stats, name) != counts[name]:
                yield Promise.COUNTERS(seen.at, f"{name} is {getattr(stats, name)}, told were {counts[name]}")
        if isinstance(fact, Note) and fact.did is Did.LEFT:
            yield from _sums(record, seen, counts)


def _sums(record, seen, counts):
    """What the client counted, the server must have sent."""
    stats = seen.stats
    requests = [each for each in record.log.requests if each.process == seen.process]
    beats = sum(each.heartbeats + sum(event.what is What.BEAT for event in each.events) for each in requests)
    opened = sum(each.opened for each in requests)
    bounds = {
        "received": (0, sum(len(each.events) + each.heartbeats for each in requests)),
        "heartbeats": (0, beats),
        "connections": (counts["opened"], opened),
        "reconnects": (max(stats.connections - 1, 0),) * 2,
        "failed_attempts": (0, len(requests) - stats.connections),
        "stalls": (counts["stalls"], counts["stalls"] + counts["hidden"]),
        "partial": (0, opened),
    }
    for name, (low, high) in bounds.items():
        if not low <= getattr(stats, name) <= high:
            yield Promise.COUNTERS(seen.at, f"{name} is {getattr(stats, name)}, not from {low} to {high}")


def _closing(record):
    """`aclose()` returns in time; no event comes once it is called, and nothing is asked for once it is back."""
    for began in record.notes(Did.ACLOSE):
        back = next((seen for seen in record.notes(Did.ACLOSED) if seen.process == began.process), None)
        if back is not None and back.at - began.at > CLOSING_SECONDS:
            yield Promise.CLOSING(began.at, f"aclose() took {back.at - began.at:.3f} s")
        for seen in record.seen[record.seen.index(began) + 1 :]:
            if seen.process == began.process and isinstance(seen.fact, ServerSentEvent):
                yield Promise.CLOSING(seen.at, "an event was delivered after aclose()")
            if back is not None and seen.process == back.process and seen.requests > back.requests:
                yield Promise.CLOSING(seen.at, "a request was sent after aclose()")


def _restarts(record):
    """`restart()` ends the connection that is up, before anything else can; only its closing may be under way."""
    asked = {}
    for seen in record.seen:
        change = seen.fact
        if isinstance(change, Note) and change.did is Did.RESTART and seen.state in _UP:
            asked.setdefault(seen.process, seen.at)
        if not isinstance(change, StateChange) or change.new in _UP:
            continue
        at = asked.pop(seen.process, None)
        if (
            at is not None
            and seen.at > at + CLOSING_SECONDS
            and change.reason not in _ALWAYS - {Reason.RETRIES}
        ):
            yield Promise.RESTART(seen.at, f"{change.reason}, but restart() was called at {at:.3f} s")
