"""States, silence, connections, figures, and the bound on closing."""

from collections import Counter

from resilient_sse import Gap, Opened, Reason, ServerSentEvent, StateChange, StreamState
from resilient_sse._core.session import TRANSITIONS
from tests.simulation.log import What
from tests.simulation.record import Did, Note, Outcome, Promise

CLOSING_SECONDS = 4.1
"""`aclose()` takes no longer: two seconds for the connection and two for the loop that is to end."""

STALLS = {Reason.STALL, Reason.EVENT_TIMEOUT}
"""The reasons of silence."""

ALWAYS = {Reason.RESTART, Reason.GAP, Reason.RETRIES, Reason.CLOSED, Reason.COMPLETE}
"""What may end a connection whatever the server does."""
_UP = (StreamState.CONNECTED, StreamState.WAITING)


def check_states(record):
    """Check everything about conduct but the delays."""
    for check in (_end, _transitions, _figures, _closing, _restarts):
        yield from check(record)


def _end(record):
    at = record.seen[-1].at if record.seen else 0.0
    if record.outcome is Outcome.STUCK:
        yield Promise.CLOSING(at, "the run did not end")
    if record.max_live > 1:
        yield Promise.CLOSING(at, f"{record.max_live} connections were open at once")
    if record.left_open:
        yield Promise.CLOSING(at, f"{record.left_open} connections were left open")


def _transitions(record):
    """Only legal transitions, each from where the one before has led, each with a text."""
    states = {}
    for seen in record.seen:
        change = seen.fact
        if not isinstance(change, StateChange):
            continue
        before = states.get(seen.process, StreamState.CONNECTING)
        if change.old is not before:
            yield Promise.STATES(seen.at, f"{change.old} after {before}")
        if change.reason not in TRANSITIONS.get((change.old, change.new), ()):
            yield Promise.STATES(seen.at, f"{change.old} -> {change.new} because of {change.reason}")
        if not change.message:
            yield Promise.STATES(seen.at, f"no text for {change.old} -> {change.new}")
        if change.new is StreamState.RECONNECTING and change.attempt < 1:
            yield Promise.STATES(seen.at, "a reconnect without the number of its attempt")
        states[seen.process] = change.new


def _figures(record):
    """The figures agree with each other and with what was told, at every moment, and in the end with the log."""
    told = {}
    for seen in record.seen:
        counts, stats, fact = told.setdefault(seen.process, Counter()), seen.stats, seen.fact
        counts["delivered"] += isinstance(fact, ServerSentEvent)
        counts["opened"] += isinstance(fact, Opened)
        if isinstance(fact, Gap):
            counts["gaps"] += 1
            counts["lost"] += fact.missing or 0
        if isinstance(fact, StateChange):
            failed = fact.new in (StreamState.RECONNECTING, StreamState.ERROR)
            counts["stalls"] += failed and fact.reason in STALLS
            # Where the stream ends, the reason of that hides the silence that ended its last connection.
            counts["hidden"] += fact.reason in (Reason.RETRIES, Reason.COMPLETE)
        bounds = {name: (counts[name],) * 2 for name in ("delivered", "gaps", "lost")}
        judged = stats.delivered + stats.duplicates + stats.heartbeats + stats.filtered
        bounds["received"] = judged, judged
        if isinstance(fact, Note) and fact.did is Did.LEFT:
            bounds |= _sums(record, seen, counts, judged)
        for name, (low, high) in bounds.items():
            if not low <= getattr(stats, name) <= high:
                yield Promise.COUNTERS(seen.at, f"{name} is not from {low} to {high}: {stats}")


def _sums(record, seen, counts, judged):
    """What the client counted, the server must have sent."""
    requests = [each for each in record.log.requests if each.process == seen.process]
    beats = sum(each.heartbeats + sum(event.what is What.BEAT for event in each.events) for each in requests)
    opened, connections = sum(each.opened for each in requests), seen.stats.connections
    return {
        "received": (judged, sum(len(each.events) + each.heartbeats for each in requests)),
        "heartbeats": (0, beats),
        "connections": (counts["opened"], opened),
        "reconnects": (max(connections - 1, 0),) * 2,
        "failed_attempts": (0, len(requests) - connections),
        "stalls": (counts["stalls"], counts["stalls"] + counts["hidden"]),
        "partial": (0, opened),
    }


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
        if isinstance(change, StateChange) and change.new not in _UP:
            at = asked.pop(seen.process, seen.at)
            if seen.at > at + CLOSING_SECONDS and change.reason not in ALWAYS - {Reason.RETRIES}:
                yield Promise.CLOSING(seen.at, f"{change.reason}, but restart() was called at {at:.3f} s")
