"""Where each request goes, what it bears, and what follows from its failure."""

from itertools import count

from resilient_sse import NotResumableError, Reason, ServerSentEvent, StateChange, StreamState, Verdict
from tests.simulation.invariants.states import ALWAYS, STALLS
from tests.simulation.plan import Dialect, Does, End, Kind
from tests.simulation.record import Promise
from tests.simulation.run import BODY
from tests.simulation.server import HOP, MADE, PARAM, URL, position_of

_MOST_REDIRECTS = 10
_TRANSIENT = {408, 409, 425, 429, *range(500, 600)} - {501, 505}
_BECOMES_GET = (301, 302, 303)
_NO_CONTENT, _GONE, _SERVER_ERRORS = 204, 410, 500
_FAILED = {
    StreamState.RECONNECTING: Verdict.RETRY,
    StreamState.ERROR: Verdict.RAISE,
    StreamState.CLOSED: Verdict.STOP,
}
_BY_END = {
    End.DROP: {Reason.RESET},
    End.CUT: {Reason.RESET},
    End.EOF: {Reason.EOF, Reason.COMPLETE},
    End.STALL: STALLS,
}


def check_requests(record):
    """Check every request and what was made of its answer."""
    opened = record.opened()
    knows = {}  # where its stream is, by process; `None` for perhaps: it was interrupted as the answer came
    for number, request in enumerate(record.log.requests, 1):
        is_made = knows.get(request.process, False)
        if is_made is None:
            is_made = request.hops[0].method == "GET"
        for wrong in _wrong(record.plan.options, request, is_made):
            yield Promise.REQUEST(request.at, wrong)
        if request.opened and record.plan.options.dialect is Dialect.LOCATION:
            knows[request.process] = is_made or number in opened or None
    yield from _failures(record)


def obstructed(options, seen):
    """Whether the request must not be sent again: its body is spent, or it would repeat what was delivered."""
    if not options.post or options.dialect is Dialect.LOCATION:
        return False
    return options.once or (seen.stats.delivered + seen.stats.filtered > 0 and seen.last_event_id is None)


def _legs(options, answer, url, method):
    """Return address and method of each request of an attempt; no body is sent again that is spent."""
    legs = [(url, method)]
    for number, status in zip(range(1, _MOST_REDIRECTS + 1), answer.redirects, strict=False):
        method = "GET" if status in _BECOMES_GET else method
        if method == "POST" and options.once:
            break
        legs.append((f"{HOP}{number}", method))
    return legs


def _wrong(options, request, is_made):
    """Each attempt begins at its address, follows ten redirects at most, and bears position and body."""
    url, method = (MADE, "GET") if is_made else (URL, "POST" if options.post else "GET")
    if options.dialect in (Dialect.QUERY, Dialect.JSON) and request.cursor is not None:
        url += f"?{PARAM}={request.cursor}"
    legs = _legs(options, request.answer, url, method)
    if len(request.hops) > len(legs):
        yield f"{len(request.hops)} requests, not {len(legs)}"
    for hop, (url, method) in zip(request.hops, legs, strict=False):
        got = hop.url, hop.method, hop.content, position_of(hop, options.dialect)
        want = url, method, BODY if method == "POST" else b"", request.cursor
        if got != want:
            yield f"{hop}: {got}, not {want}"


def _failures(record):
    """A failure is told, by its right name, and is retried, ends the stream or is raised, as its kind says."""
    options, requests, told = record.plan.options, record.log.requests, set()
    done = False
    for seen in record.seen:
        change = seen.fact
        if isinstance(
            change, ServerSentEvent
        ):  # it may have waited behind a hole, and be of a request before
            done = change.event == "done"
        if not isinstance(change, StateChange) or change.new not in _FAILED or change.reason is Reason.CLOSED:
            continue
        request = requests[seen.requests - 1] if seen.requests else None
        if request is None or request.process != seen.process or seen.requests in told:
            continue
        told.add(seen.requests)
        name = repr(request.answer)
        if change.reason not in _reasons(options, request):
            yield Promise.STATES(seen.at, f"{name} was told as {change.reason}")
        made, must_not = _verdict_on(request, change), obstructed(options, seen)
        if made is not _verdict(options, request, change, done=done):
            yield Promise.VERDICT(seen.at, f"{name}, {change.reason.value}: {made}")
        if must_not is not isinstance(change.error, NotResumableError) and made is Verdict.RETRY:
            yield Promise.VERDICT(seen.at, f"{name}: the request may {'not ' * must_not}be sent again")
    for number, request, after in zip(count(1), requests, requests[1:], strict=False):
        if after.process == request.process and number not in told:
            yield Promise.STATES(request.at, f"request {number} failed, and no transition tells")


def _reasons(options, request):
    """Return the reasons that may be given for a failure."""
    answer = request.answer
    if not request.met:
        legs = _legs(options, answer, URL, "POST" if options.post else "GET")
        return ALWAYS if len(legs) > len(answer.redirects) else ALWAYS | {Reason.PROTOCOL}
    if answer.kind is Kind.STATUS:
        return ALWAYS | {Reason.SERVER if answer.status >= _SERVER_ERRORS else Reason.STATUS}
    if not request.opened:
        return ALWAYS | {Reason.CONNECT}
    paused = options.event_timeout is not None or any(each.does is Does.PAUSE for each in answer.live)
    # Closing is a part of the read that finds the end, and may last until that counts as silence.
    late = STALLS if paused or answer.close_takes else set()
    return ALWAYS | _BY_END[answer.end] | late


def _verdict_on(request, change):
    """Return what was made of a failure, but for the budget and for what must not be sent again."""
    spent = isinstance(change.error, NotResumableError) and (request.met or change.reason is Reason.RESTART)
    if spent or change.reason is Reason.RETRIES:
        return Verdict.RETRY
    return _FAILED[change.new]


def _verdict(options, request, change, *, done):
    """Return what is to be made of it; *done* says that the last event was the one that ends the stream."""
    if change.reason in (Reason.RESTART, Reason.GAP):
        return Verdict.RETRY
    if not request.met:
        return Verdict.RAISE  # of a redirect that cannot be followed
    if request.answer.kind is Kind.STATUS:
        if request.answer.status == _NO_CONTENT:
            return Verdict.STOP
        told = request.answer.retry_after is not None and request.answer.status != _GONE
        return Verdict.RETRY if told or request.answer.status in _TRANSIENT else Verdict.RAISE
    done = done and change.new is StreamState.CLOSED
    whole = options.on_eof == "complete" and change.reason in (Reason.EOF, Reason.COMPLETE)
    return Verdict.STOP if done or whole else Verdict.RETRY
