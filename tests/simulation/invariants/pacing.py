"""
Every delay in its band and really waited for, and the retry budget spent to the last attempt.

The bands are worked out here from the plan, not by the client's own code.
"""

from dataclasses import dataclass, field

from resilient_sse import Reason, RetriesExhaustedError, StateChange, StreamState
from tests.simulation.invariants.states import CLOSING_SECONDS
from tests.simulation.record import Did, Note, Promise

_LEAST = 0.1
"""Seconds; a server that asks for less is not heeded further."""
_SETTLED = 1.0
_LONGEST = 5.0
_CLOSE = 1e-6


def check_pacing(record):
    """Check every delay and every budget."""
    outages = {}
    for seen in record.seen:
        outage = outages.setdefault(seen.process, _Outage())
        if isinstance(seen.fact, StateChange):
            yield from _changed(record, seen, outage)
        elif isinstance(seen.fact, Note) and isinstance(seen.fact.error, RetriesExhaustedError):
            allowed, attempts = record.plan.options.max_retries, seen.fact.error.attempts
            if allowed is None or attempts != allowed + 1:
                yield Promise.PACE(seen.at, f"{attempts} attempts were told, {allowed} retries allowed")
    yield from _waited(record)


def _band(options, attempt, *, retry, retry_after):
    """Return the shortest and the longest delay before *attempt*, in seconds (R27, R28, R53-R56)."""
    initial, factor, maximum, jitter = options.backoff
    most = options.max_server_delay
    wishes = [min(max(wish, _LEAST), most) for wish in (retry, retry_after) if wish is not None]
    base = initial if retry is None else min(max(retry, _LEAST), most)
    nominal = min(base * factor ** (attempt - 1), maximum)
    low, high = nominal * (1 - jitter), min(nominal * (1 + jitter), maximum)
    floor = max(wishes, default=0.0)
    if floor > low:
        low, high = floor, max(high, min(floor * (1 + jitter), most), floor)
    return low - _CLOSE, high + _CLOSE


@dataclass
class _Outage:
    """
    One process of the consumer, as far as its failures go.

    It knows how many there were in a row, when the connection was opened, how many new events there were at that
    time, and the `retry` field in force, in seconds.  Of that there are several as long as nobody can know: one
    that arrives in the very moment in which the client gives the connection up may go with it.
    """

    failures: int = 0
    opened_at: float | None = None
    news: int = 0
    retries: list = field(default_factory=lambda: [None])


def _changed(record, seen, outage):
    change, options = seen.fact, record.plan.options
    news = seen.stats.delivered + seen.stats.filtered
    if change.reason is Reason.OPENED and change.old is not StreamState.WAITING:
        outage.opened_at, outage.news = seen.at, news
        return
    if change.new not in (StreamState.RECONNECTING, StreamState.ERROR):
        return
    request = record.log.requests[seen.requests - 1] if seen.requests else None
    opened = outage.opened_at is not None
    answered = request is not None and change.reason is Reason.EOF and request.brought
    if opened:
        for at, milliseconds in request.retries:
            unsure = change.reason in (Reason.RESTART, Reason.GAP) and at >= seen.at - CLOSING_SECONDS
            outage.retries = [milliseconds / 1000, *(outage.retries if unsure else ())]
        # It had brought something new, had held for long, or has ended as polls do.
        settled = seen.at - outage.opened_at > max(min(options.backoff[2], _LONGEST), _SETTLED)
        if news > outage.news or settled or answered:
            outage.failures = 0
    if change.new is StreamState.ERROR:
        if change.reason is Reason.RETRIES and outage.failures != options.max_retries:
            yield Promise.PACE(seen.at, f"gave up after {outage.failures} retries of {options.max_retries}")
        outage.failures = 0  # whoever iterates again begins anew
    else:
        after = (
            None
            if request is None or not request.met or opened or change.reason is Reason.RESTART
            else request.answer.retry_after
        )
        # Others are wanted by the program, or by a server that polls by design.
        failed = change.reason is not Reason.RESTART and not answered
        yield from _reconnects(options, seen, outage, failed=failed, retry_after=after)
    outage.opened_at = None


def _reconnects(options, seen, outage, *, failed, retry_after):
    change = seen.fact
    outage.failures += failed
    expected = outage.failures if failed else max(outage.failures, 1)
    attempt = expected if failed else 1
    if change.attempt != expected:
        yield Promise.PACE(seen.at, f"attempt {change.attempt}, the failures before make it {expected}")
        outage.failures = attempt = change.attempt
    if failed and options.max_retries is not None and change.attempt > options.max_retries:
        yield Promise.PACE(seen.at, f"attempt {change.attempt} of {options.max_retries}")
    delay = -1.0 if change.delay is None else change.delay
    if change.reason is Reason.RESTART and delay == 0.0:
        return
    bands = {each: _band(options, attempt, retry=each, retry_after=retry_after) for each in outage.retries}
    fitting = [each for each, (low, high) in bands.items() if low <= delay <= high]
    if not fitting:
        yield Promise.PACE(seen.at, f"{delay} s before attempt {attempt}, not in {[*bands.values()]}")
    outage.retries = fitting or outage.retries


def _waited(record):
    """No request comes before its delay is over; one that nothing held up comes exactly then."""
    due, held, asked, count = None, False, False, 0
    for seen in record.seen:
        if seen.requests > count:
            at = record.log.requests[count].at
            early = due is not None and at < due - _CLOSE and not asked
            if early or (due is not None and at > due + _CLOSE and not held):
                yield Promise.PACE(at, f"a request at {at:.6f} s was due at {due:.6f} s")
            due, asked = None, False
        count = seen.requests
        if isinstance(seen.fact, StateChange):
            reconnects = seen.fact.new is StreamState.RECONNECTING
            due, held = (seen.at + (seen.fact.delay or 0.0) if reconnects else None), False
        elif isinstance(seen.fact, Note):
            held = True
            asked |= seen.fact.did in (Did.RESTART, Did.LEFT)
