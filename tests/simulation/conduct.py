"""Invariants about conduct: states, silence, counters, connections, and the bound on closing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

from resilient_sse import Gap, Reason, ServerSentEvent, StateChange, StreamState
from resilient_sse._core.events import Opened
from resilient_sse._core.session import TRANSITIONS
from tests.simulation.record import Note, Record, Seen, Violation
from tests.simulation.redirects import legs
from tests.simulation.truth import Sent

__all__ = ["check_conduct"]

CLOSING_SECONDS = 4.1
"""`aclose()` takes no longer: two seconds for the connection and two for the loop that is to end."""

_STALLS = frozenset({Reason.STALL, Reason.EVENT_TIMEOUT})
_BY_END: dict[str, frozenset[Reason]] = {
    "drop": frozenset({Reason.RESET}),
    "cut": frozenset({Reason.RESET}),
    "eof": frozenset({Reason.EOF, Reason.COMPLETE}),
    "stall": _STALLS,
}
_ALWAYS = frozenset({Reason.RESTART, Reason.GAP, Reason.RETRIES, Reason.CLOSED, Reason.COMPLETE})
_UP = (StreamState.CONNECTED, StreamState.WAITING)
_SERVER_ERRORS = 500


def check_conduct(record: Record) -> Iterator[Violation]:
    """Check everything about conduct but the delays."""
    for check in _CHECKS:
        yield from check(record)


def _check_end(record: Record) -> Iterator[Violation]:
    at = record.seen[-1].at if record.seen else 0.0
    if record.outcome == "stuck":
        yield Violation("stuck", at, "the run did not end")
    if record.max_live > 1:
        yield Violation("one-connection", at, f"{record.max_live} connections were open at once")
    if record.left_open:
        yield Violation("one-connection", at, f"{record.left_open} connections were left open")


def _check_transitions(record: Record) -> Iterator[Violation]:
    """Only legal transitions, each from where the one before has led, each with a text."""
    states: dict[int, StreamState] = {}
    for seen in record.seen:
        change = seen.fact
        if not isinstance(change, StateChange):
            continue
        before = states.get(seen.process, StreamState.CONNECTING)
        if change.old is not before:
            yield Violation("transitions", seen.at, f"{change.old} after {before}")
        if change.reason not in TRANSITIONS.get((change.old, change.new), ()):
            yield Violation(
                "transitions", seen.at, f"{change.old} -> {change.new} because of {change.reason}"
            )
        if not change.message:
            yield Violation("silent", seen.at, f"no text for {change.old} -> {change.new}")
        if change.new is StreamState.RECONNECTING and change.attempt < 1:
            yield Violation("silent", seen.at, "a reconnect without the number of its attempt")
        states[seen.process] = change.new


def _check_silence(record: Record) -> Iterator[Violation]:
    """Between a request that failed and the next one, the failure was told, by its right name."""
    told: dict[int, list[StateChange]] = {}
    for seen in record.seen:
        if isinstance(seen.fact, StateChange):
            told.setdefault(seen.requests, []).append(seen.fact)
    requests = record.truth.requests
    for index, request in enumerate(requests[:-1], 1):
        if requests[index].process != request.process:
            continue
        failures = [
            change
            for change in told.get(index, ())
            if change.new in (StreamState.RECONNECTING, StreamState.ERROR)
        ]
        if not failures:
            yield Violation("silent", request.at, f"{_named(request)} failed, and no transition tells")
        elif failures[0].reason not in _expected(record, request):
            yield Violation("reason", request.at, f"{_named(request)} was told as {failures[0].reason}")


def _named(request: Sent) -> str:
    return f"{request.answer.kind} ({request.status or request.answer.end})"


def _expected(record: Record, request: Sent) -> frozenset[Reason]:
    """Return the reasons that may be given for a failure."""
    if not request.met:
        return _ALWAYS if legs(record.plan.options, request.answer)[1] else _ALWAYS | {Reason.PROTOCOL}
    if request.answer.kind in ("refuse", "connect-timeout", "no-headers"):
        return _ALWAYS | {Reason.CONNECT}
    if request.answer.kind == "status":
        status = request.status or 0
        return _ALWAYS | {Reason.SERVER if status >= _SERVER_ERRORS else Reason.STATUS}
    if not request.opened:
        return _ALWAYS | {Reason.CONNECT}
    paused = record.plan.options.event_timeout is not None or any(
        "pause" in each for each in request.answer.live
    )
    # Closing is a part of the read that finds the end, and may last until that counts as silence.
    late = _STALLS if paused or request.answer.close_takes else frozenset[Reason]()
    return _ALWAYS | _BY_END[request.answer.end] | late


def _check_counters(record: Record) -> Iterator[Violation]:
    """The figures agree with each other and with what was told, at every moment."""
    told: dict[int, Counter[str]] = {}
    for seen in record.seen:
        counts = told.setdefault(seen.process, Counter())
        _count(seen, counts)
        stats = seen.stats
        if stats.received != stats.delivered + stats.duplicates + stats.heartbeats + stats.filtered:
            yield Violation("counters", seen.at, f"received does not add up: {stats}")
        found = {
            "delivered": stats.delivered,
            "gaps": stats.gaps,
            "lost": stats.lost,
            "callback_errors": stats.callback_errors,
        }
        counts["callback_errors"] = seen.raised
        for name, value in found.items():
            if value != counts[name]:
                yield Violation("counters", seen.at, f"{name} is {value}, told were {counts[name]}")
        if isinstance(seen.fact, Note) and seen.fact.kind == "left":
            yield from _check_sums(record, seen, counts)


def _count(seen: Seen, counts: Counter[str]) -> None:
    match seen.fact:
        case ServerSentEvent():
            counts["delivered"] += 1
        case Gap(missing=missing):
            counts["gaps"] += 1
            counts["lost"] += missing or 0
        case Opened():
            counts["opened"] += 1
        case StateChange(new=StreamState.RECONNECTING | StreamState.ERROR, reason=reason):
            counts["stalls"] += reason in _STALLS
        case _:
            pass


def _check_sums(record: Record, seen: Seen, counts: Counter[str]) -> Iterator[Violation]:
    """What the client counted, the server must have sent."""
    stats = seen.stats
    requests = [each for each in record.truth.requests if each.process == seen.process]
    sent = sum(len(each.events) + each.heartbeats for each in requests)
    beats = sum(each.heartbeats + sum(event.kind == "beat" for event in each.events) for each in requests)
    opened = sum(each.opened for each in requests)
    # Where the stream ends, the reason of that hides the silence that ended its last connection.
    hidden = sum(
        isinstance(each.fact, StateChange) and each.fact.reason in (Reason.RETRIES, Reason.COMPLETE)
        for each in record.seen
        if each.process == seen.process
    )
    claims = {
        f"received is {stats.received}, read were {sent}": stats.received <= sent,
        f"heartbeats is {stats.heartbeats}, read were {beats}": stats.heartbeats <= beats,
        f"connections is {stats.connections}, opened were {opened}": stats.connections <= opened,
        f"connections is {stats.connections}, told were {counts['opened']}": stats.connections
        >= counts["opened"],
        f"reconnects is {stats.reconnects}": stats.reconnects == max(stats.connections - 1, 0),
        f"failed_attempts is {stats.failed_attempts}": stats.failed_attempts
        <= len(requests) - stats.connections,
        f"stalls is {stats.stalls}, told were {counts['stalls']}": 0
        <= stats.stalls - counts["stalls"]
        <= hidden,
        f"partial is {stats.partial}, connections {opened}": stats.partial <= opened,
    }
    for text, holds in claims.items():
        if not holds:
            yield Violation("counters", seen.at, text)


def _check_closing(record: Record) -> Iterator[Violation]:
    """`aclose()` returns in time; nothing is told or asked for after it."""
    for began, _ in record.notes("aclose"):
        ends = [seen.at for seen, _ in record.notes("aclosed") if seen.process == began.process]
        took = (ends[0] - began.at) if ends else 0.0
        if took > CLOSING_SECONDS:
            yield Violation("closing", began.at, f"aclose() took {took:.3f} s")
        after = record.seen[record.seen.index(began) + 1 :]
        for seen in (each for each in after if each.process == began.process):
            if isinstance(seen.fact, ServerSentEvent):
                yield Violation("closing", seen.at, "an event was delivered after aclose()")
            if seen.requests > began.requests:
                yield Violation("closing", seen.at, "a request was sent after aclose()")


def _check_restarts(record: Record) -> Iterator[Violation]:
    """`restart()` ends the connection that is up, before anything else can; only its closing may be under way."""
    asked: dict[int, float] = {}
    for seen in record.seen:
        change = seen.fact
        if isinstance(change, Note) and change.kind == "restart" and seen.state in _UP:
            asked.setdefault(seen.process, seen.at)
        if not isinstance(change, StateChange) or change.new in _UP:
            continue
        at = asked.pop(seen.process, None)
        late = at is not None and seen.at > at + CLOSING_SECONDS
        if late and change.reason not in _ALWAYS - {Reason.RETRIES}:
            yield Violation("restart", seen.at, f"{change.reason}, but restart() was called at {at:.3f} s")


_Check: TypeAlias = Callable[[Record], Iterator[Violation]]
_CHECKS: tuple[_Check, ...] = (
    _check_end,
    _check_transitions,
    _check_silence,
    _check_counters,
    _check_closing,
    _check_restarts,
)
