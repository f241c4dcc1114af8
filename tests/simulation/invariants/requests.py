"""Where each request goes, what it bears, and what follows from its failure."""

from dataclasses import dataclass
from itertools import count

from resilient_sse import ConnectionLostError, NotResumableError, Reason, StateChange, StreamState, Verdict
from tests.simulation.consumer import BODY, OWN_HEADERS, token_in
from tests.simulation.log import What
from tests.simulation.plan import Dialect
from tests.simulation.record import Promise
from tests.simulation.server import MADE, MOST_REDIRECTS, PARAM, URL, position_of

_TRANSIENT = {408, 409, 425, 429, *range(500, 600)} - {501, 505}
_BECOMES_GET = (301, 302, 303)
_NO_CONTENT, _UNAUTHORIZED, _NOT_FOUND, _GONE = 204, 401, 404, 410
_FAILED = (StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED)


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
    yield from _tokens(record)
    yield from _verdicts(record)


def obstructed(options, seen):
    """Whether the request must not be sent again: its body is spent, or it would repeat what was delivered."""
    if not options.post or options.dialect is Dialect.LOCATION:
        return False
    return options.once or (seen.stats.delivered + seen.stats.filtered > 0 and seen.last_event_id is None)


def follows_all(options, answer):
    """Whether a client comes to an answer through its redirects."""
    return len(_legs(options, answer, URL, "POST" if options.post else "GET")) == len(answer.redirects) + 1


def _legs(options, answer, url, method):
    """
    Return address and method of each request of an attempt, and whether it may bear what is the caller's.

    The way ends before an eleventh redirect, and before one that wants a body again that is spent or not for it.
    """
    legs = [(url, method, True)]
    for number, redirect in zip(count(1), answer.redirects, strict=False):
        url, method, trusted = legs[-1]
        method = "GET" if redirect.status in _BECOMES_GET else method
        elsewhere = redirect.elsewhere and not redirect.itself
        if number > MOST_REDIRECTS or (method == "POST" and (options.once or elsewhere)):
            break
        url = redirect.url(number, url)
        legs.append((url, method, trusted and url.startswith("https://simulation")))
    return legs


def _wrong(options, request, is_made):
    """Each attempt begins at its address, follows the redirects, and no other, and bears what it must."""
    url, method = (MADE, "GET") if is_made else (URL, "POST" if options.post else "GET")
    if options.dialect in (Dialect.QUERY, Dialect.JSON) and request.cursor is not None:
        url += f"?{PARAM}={request.cursor}"
    legs = _legs(options, request.answer, url, method)
    if len(request.hops) > len(legs):
        yield f"{len(request.hops)} requests, not {len(legs)}"
    for hop, (url, method, trusted) in zip(request.hops, legs, strict=False):
        own = [name for name in OWN_HEADERS if name in hop.headers]
        found = {
            "address": (hop.url, url),
            "method": (hop.method, method),
            "body": (hop.content, BODY if method == "POST" else b""),
            "position": (position_of(hop, options.dialect), request.cursor),
            "caller's headers": (own, [*OWN_HEADERS] if trusted and options.token != "none" else []),
        }
        yield from (
            f"{hop}: the {what} is {got!r}, not {want!r}"
            for what, (got, want) in found.items()
            if got != want
        )


def _tokens(record):
    """Headers that a function makes are made afresh for each attempt."""
    if record.plan.options.token != "fresh":
        return
    last = 0
    for request in record.log.requests:
        token = token_in(request.hops[0].headers.get("authorization", "0"))
        if token <= last:
            yield Promise.CREDENTIALS(request.at, f"token {token} was sent after token {last}")
        last = token


@dataclass
class _Standing:
    """What a stream knows of its server, for the table of statuses."""

    proven: bool = False
    refused: bool = False
    judged: int = 0


def _verdicts(record):
    """A failure is retried, ends the stream, or is raised, as the table of statuses and the hook say."""
    options, standings = record.plan.options, {}
    for seen in record.seen:
        change = seen.fact
        if not isinstance(change, StateChange):
            continue
        standing = standings.setdefault(seen.process, _Standing())
        if change.reason is Reason.OPENED and change.old is not StreamState.WAITING:
            standing.proven, standing.refused = True, False
        if change.new not in _FAILED or not seen.requests:
            continue
        request = record.log.requests[seen.requests - 1]
        fresh = request.process == seen.process and standing.judged != seen.requests
        if fresh and change.reason is not Reason.CLOSED:
            standing.judged = seen.requests
            wanted = _wanted(options, request, change, standing)
            if wrong := _misfit(options, seen, change, wanted):
                what = f"status {request.status}" if request.status else change.reason.value
                yield Promise.VERDICT(seen.at, f"{what} {wrong}")
        if change.new is StreamState.ERROR:
            standing.refused = False  # whoever iterates again begins anew


def _misfit(options, seen, change, wanted):
    """Return what is wrong about what followed, if anything is."""
    must_not = obstructed(options, seen)
    if change.new is StreamState.RECONNECTING:
        if Verdict.RETRY not in wanted:
            return "was retried"
        return "was retried, although the request must not be repeated" if must_not else None
    if change.new is StreamState.CLOSED:
        return None if Verdict.STOP in wanted else "ended the stream"
    if isinstance(change.error, NotResumableError):
        return None if must_not or Verdict.RAISE in wanted else "was not retried"
    return (
        None
        if (Verdict.RETRY if change.reason is Reason.RETRIES else Verdict.RAISE) in wanted
        else "was raised"
    )


def _wanted(options, request, change, standing):
    """Return what may be made of a failure: one verdict, but for the ends that no error tells."""
    if request.status != _UNAUTHORIZED and change.reason is not Reason.RESTART:
        standing.refused = False  # the next 401 is not in a row with the last
    if change.reason in (Reason.RESTART, Reason.GAP):
        return {Verdict.RETRY}
    if not request.met:
        return {Verdict.RAISE}  # of a redirect that cannot be followed
    if request.status is not None and not request.opened:
        return {_of_status(options, request, standing)}
    standing.refused = False
    if change.new is StreamState.CLOSED:
        ended = any(event.what is What.DONE for event in request.events) or options.on_eof == "complete"
        return {Verdict.STOP} if ended else {rule.verdict for rule in options.classify}
    if options.on_eof == "complete" and change.reason is Reason.EOF:
        return set()
    error = change.error.__cause__ if change.reason is Reason.RETRIES and change.error else change.error
    about = error.reason if isinstance(error, ConnectionLostError) else change.reason
    return {options.rule(about) or Verdict.RETRY}


def _of_status(options, request, standing):
    status = request.status
    if verdict := options.rule(status):
        return verdict
    if status == _NO_CONTENT:
        return Verdict.STOP
    if status == _UNAUTHORIZED:
        again = options.token == "fresh" and not standing.refused
        standing.refused = True
        return Verdict.RETRY if again else Verdict.RAISE
    told = request.retry_after is not None and status != _GONE
    transient = told or status in _TRANSIENT or (status == _NOT_FOUND and standing.proven)
    return Verdict.RETRY if transient else Verdict.RAISE
