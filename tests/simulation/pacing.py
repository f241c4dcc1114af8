"""
Invariants about time: every delay in its band and really waited, and the retry budget spent to the last attempt.

The bands are worked out here from the plan, not by the client's own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resilient_sse import Reason, RetriesExhaustedError, StateChange, StreamState
from tests.simulation.plan import Options
from tests.simulation.record import Note, Record, Seen, Violation

__all__ = ["check_pacing", "delay_band"]

_LEAST = 0.1
"""Seconds; a server that asks for less is not heeded further."""
_SETTLED = 1.0
_LONGEST = 5.0
_CLOSE = 1e-6


def delay_band(
    options: Options, attempt: int, *, retry: float | None, retry_after: float | None
) -> tuple[float, float]:
    """
    Return the shortest and the longest delay before *attempt*, in seconds (R27, R28, R53-R56).

    Args:
        options: The plan's.
        attempt: Counted from 1.
        retry: The `retry` field in force, in seconds.
        retry_after: The `Retry-After` of the last answer, in seconds.
    """
    initial, factor, maximum, jitter = options.backoff
    most = options.max_server_delay
    wishes = [min(max(wish, _LEAST), most) for wish in (retry, retry_after) if wish is not None]
    base = initial if retry is None else min(max(retry, _LEAST), most)
    nominal = min(base * factor ** (attempt - 1), maximum)
    low, high = nominal * (1 - jitter), min(nominal * (1 + jitter), maximum)
    floor = max(wishes, default=0.0)
    if floor > low:
        low, high = floor, max(high, min(floor * (1 + jitter), most), floor)
    return low, high


@dataclass(slots=True)
class _Outage:
    """
    One process of the consumer, as far as its failures go.

    Attributes:
        failures: In a row.
        retry: The `retry` field in force, in seconds.
        opened_at: When the present connection was opened.
        news: New events at that time.
    """

    failures: int = 0
    retry: float | None = None
    opened_at: float | None = None
    news: int = 0


def check_pacing(record: Record) -> Iterator[Violation]:
    """Check every delay and every budget."""
    outages: dict[int, _Outage] = {}
    for seen in record.seen:
        outage = outages.setdefault(seen.process, _Outage())
        if isinstance(seen.fact, StateChange):
            yield from _changed(record, seen, seen.fact, outage)
        elif isinstance(seen.fact, Note) and isinstance(seen.fact.error, RetriesExhaustedError):
            yield from _exhausted(record, seen, seen.fact.error)
    yield from _waited(record)


def _changed(record: Record, seen: Seen, change: StateChange, outage: _Outage) -> Iterator[Violation]:
    news = seen.stats.delivered + seen.stats.filtered
    if change.reason is Reason.OPENED and change.old is not StreamState.WAITING:
        outage.opened_at, outage.news = seen.at, news
        return
    if change.new not in (StreamState.RECONNECTING, StreamState.ERROR):
        return
    request = record.truth.requests[seen.requests - 1] if seen.requests else None
    heard = outage.retry
    if request is not None and request.retries and outage.opened_at is not None:
        *before, outage.retry = [each / 1000 for each in request.retries]
        heard = before[-1] if before else heard
    answered = request is not None and change.reason is Reason.EOF and request.brought
    _well(record, seen, outage, news, answered=answered)
    if change.new is StreamState.RECONNECTING:
        after = None if request is None or outage.opened_at is not None else request.retry_after
        after = None if change.reason is Reason.RESTART else after
        counts = change.reason is not Reason.RESTART and not answered
        yield from _reconnects(record, seen, change, outage, counts=counts, retry_after=after, heard=heard)
    else:
        yield from _gives_up(record, seen, change, outage)
    outage.opened_at = None


def _well(record: Record, seen: Seen, outage: _Outage, news: int, *, answered: bool) -> None:
    """End the outage if the connection had brought something new, had held for long, or has ended as polls do."""
    if outage.opened_at is None:
        return
    settled = seen.at - outage.opened_at > max(min(record.plan.options.backoff[2], _LONGEST), _SETTLED)
    if news > outage.news or settled or answered:
        outage.failures = 0


def _reconnects(
    record: Record,
    seen: Seen,
    change: StateChange,
    outage: _Outage,
    *,
    counts: bool,
    retry_after: float | None,
    heard: float | None,
) -> Iterator[Violation]:
    options = record.plan.options
    delay = -1.0 if change.delay is None else change.delay
    if not counts:  # the program wanted it, or the server polls by design
        expected, attempt = max(outage.failures, 1), 1
    else:
        outage.failures += 1
        expected = attempt = outage.failures
    if change.attempt != expected:
        yield Violation(
            "attempts", seen.at, f"attempt {change.attempt}, the failures before make it {expected}"
        )
        outage.failures = attempt = change.attempt
    if counts and options.max_retries is not None and change.attempt > options.max_retries:
        yield Violation("attempts", seen.at, f"attempt {change.attempt} of {options.max_retries}")
    low, high = delay_band(options, attempt, retry=outage.retry, retry_after=retry_after)
    at_once = change.reason is Reason.RESTART and delay == 0.0
    given_up = change.reason in (Reason.RESTART, Reason.GAP) and not at_once
    if given_up and not low - _CLOSE <= delay <= high + _CLOSE:
        # What arrived in the very moment in which the client gave the connection up may have gone with it.
        outage.retry = heard
        low, high = delay_band(options, attempt, retry=outage.retry, retry_after=retry_after)
    if not at_once and not low - _CLOSE <= delay <= high + _CLOSE:
        yield Violation("delay", seen.at, f"{delay} s before attempt {attempt}, not in [{low}, {high}]")


def _gives_up(record: Record, seen: Seen, change: StateChange, outage: _Outage) -> Iterator[Violation]:
    allowed = record.plan.options.max_retries
    if change.reason is Reason.RETRIES and outage.failures != allowed:
        yield Violation("attempts", seen.at, f"gave up after {outage.failures} retries of {allowed}")
    outage.failures = 0  # whoever iterates again begins anew


def _exhausted(record: Record, seen: Seen, error: RetriesExhaustedError) -> Iterator[Violation]:
    allowed = record.plan.options.max_retries
    if allowed is None or error.attempts != allowed + 1:
        yield Violation(
            "attempts", seen.at, f"{error.attempts} attempts were told, {allowed} retries allowed"
        )


def _waited(record: Record) -> Iterator[Violation]:
    """No request comes before its delay is over; one that nothing held up comes exactly then."""
    due: float | None = None
    held = asked = False
    count = 0
    for seen in record.seen:
        if seen.requests > count:
            at = record.truth.requests[count].at
            early = due is not None and at < due - _CLOSE and not asked
            late = due is not None and at > due + _CLOSE and not held
            if early or late:
                yield Violation("delay", at, f"a request at {at:.6f} s was due at {due:.6f} s")
            due, asked = None, False
        count = seen.requests
        if isinstance(seen.fact, StateChange):
            reconnects = seen.fact.new is StreamState.RECONNECTING
            due, held = (seen.at + (seen.fact.delay or 0.0) if reconnects else None), False
        elif isinstance(seen.fact, Note):
            held = True
            asked |= seen.fact.kind in ("restart", "left")
