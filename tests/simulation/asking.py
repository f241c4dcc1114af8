"""Invariants about requests: where each goes, what it bears, and what follows from its failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resilient_sse import NotResumableError, Reason, StateChange, StreamState, Verdict
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse.testing.steps import RecordedRequest
from tests.simulation.consumer import BODY, OWN_HEADERS, token_in
from tests.simulation.plan import Options
from tests.simulation.record import Record, Seen, Violation
from tests.simulation.redirects import Leg, legs
from tests.simulation.truth import Sent
from tests.simulation.words import verdict_in

__all__ = ["check_asking", "obstructed"]

_TRANSIENT = (408, 409, 425, 429, *(status for status in range(500, 600) if status not in (501, 505)))
_NO_CONTENT, _UNAUTHORIZED, _NOT_FOUND, _GONE = 204, 401, 404, 410
_FAILED = (StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED)


def check_asking(record: Record) -> Iterator[Violation]:
    """Check every request and what was made of its answer."""
    for request in record.truth.requests:
        yield from _check_way(record, request)
    yield from _check_tokens(record)
    yield from _check_verdicts(record)


def obstructed(options: Options, seen: Seen) -> bool:
    """Whether the request must not be sent again: its body is spent, or it would repeat what was delivered."""
    if options.method == "GET":
        return False
    dispatched = seen.stats.delivered + seen.stats.filtered > 0
    return options.body == "once" or (dispatched and seen.last_event_id is None)


def _check_way(record: Record, request: Sent) -> Iterator[Violation]:
    """Each attempt begins at the original address, and follows the redirects to the end, and no other."""
    expected, _ = legs(record.plan.options, request.answer)
    if len(request.hops) > len(expected):
        yield Violation("request", request.at, f"{len(request.hops)} requests, not {len(expected)}")
    for hop, leg in zip(request.hops, expected, strict=False):
        for wrong in _wrong(record.plan.options, request, hop, leg):
            yield Violation("request", request.at, f"{hop}: {wrong}")


def _wrong(options: Options, request: Sent, hop: RecordedRequest, leg: Leg) -> Iterator[str]:
    if (hop.url, hop.method) != (leg.url, leg.method):
        yield f"not {leg.method} {leg.url}"
    if hop.content != (BODY if leg.method == "POST" else b""):
        yield f"the body is {hop.content!r}"
    if hop.last_event_id != request.cursor:
        yield f"not behind {request.cursor}"
    own = [name for name in OWN_HEADERS if name in hop.headers]
    wanted = [*OWN_HEADERS] if leg.trusted and options.credentials != "none" else []
    if own != wanted:
        yield f"of the caller's headers it bears {own}, not {wanted}"


def _check_tokens(record: Record) -> Iterator[Violation]:
    """Headers that a function makes are made afresh for each attempt."""
    if record.plan.options.credentials != "fresh":
        return
    last = 0
    for request in record.truth.requests:
        token = token_in(request.hops[0].headers.get("authorization", "0"))
        if token <= last:
            yield Violation("credentials", request.at, f"token {token} was sent after token {last}")
        last = token


@dataclass(slots=True)
class _Standing:
    """What a stream knows of its server, for the table of statuses."""

    proven: bool = False
    refused: bool = False
    judged: int = 0


def _check_verdicts(record: Record) -> Iterator[Violation]:
    """A failure is retried, ends the stream, or is raised, as the table of statuses and the hook say."""
    standings: dict[int, _Standing] = {}
    for seen in record.seen:
        change = seen.fact
        if not isinstance(change, StateChange):
            continue
        standing = standings.setdefault(seen.process, _Standing())
        if change.reason is Reason.OPENED and change.old is not StreamState.WAITING:
            standing.proven, standing.refused = True, False
        if change.new not in _FAILED or not seen.requests:
            continue
        request = record.truth.requests[seen.requests - 1]
        fresh = request.process == seen.process and standing.judged != seen.requests
        if fresh and change.reason is not Reason.CLOSED:
            standing.judged = seen.requests
            wanted = _verdicts(record, request, change, standing)
            text = _fits(record.plan.options, seen, change, wanted)
            if text is not None:
                yield Violation("verdict", seen.at, f"{_failure(request, change)} {text}")
        if change.new is StreamState.ERROR:
            standing.refused = False  # whoever iterates again begins anew


def _failure(request: Sent, change: StateChange) -> str:
    return f"status {request.status}" if request.status else change.reason.value


def _fits(options: Options, seen: Seen, change: StateChange, wanted: frozenset[Verdict]) -> str | None:
    """Return what is wrong about what followed, `None` if nothing is."""
    match change.new:
        case StreamState.RECONNECTING:
            if Verdict.RETRY not in wanted:
                return "was retried"
            return (
                "was retried, although the request must not be repeated"
                if obstructed(options, seen)
                else None
            )
        case StreamState.CLOSED:
            return None if Verdict.STOP in wanted else "ended the stream"
        case _:
            pass
    if isinstance(change.error, NotResumableError):
        return None if obstructed(options, seen) or Verdict.RAISE in wanted else "was not retried"
    retried = change.reason is Reason.RETRIES
    return None if (Verdict.RETRY if retried else Verdict.RAISE) in wanted else "was raised"


def _verdicts(record: Record, request: Sent, change: StateChange, standing: _Standing) -> frozenset[Verdict]:
    """Return what may be made of a failure: one verdict, but for the ends that no error tells."""
    options = record.plan.options
    if request.status != _UNAUTHORIZED and change.reason is not Reason.RESTART:
        standing.refused = False  # the next 401 is not in a row with the last
    if change.reason in (Reason.RESTART, Reason.GAP):
        return frozenset({Verdict.RETRY})
    if not request.met:
        return frozenset({Verdict.RAISE})  # of a redirect that cannot be followed
    if request.status is not None and not request.opened:
        return frozenset({_of_status(options, request, standing)})
    standing.refused = False
    return _of_lost(options, request, change)


def _of_lost(options: Options, request: Sent, change: StateChange) -> frozenset[Verdict]:
    """Return what may be made of a connection that came up and was lost."""
    if change.new is StreamState.CLOSED:
        ended = any(event.kind == "done" for event in request.events) or options.on_eof == "complete"
        possible = (verdict_in(options.classify, rule.partition(" ")[0]) for rule in options.classify)
        return frozenset({Verdict.STOP}) if ended else frozenset(filter(None, possible))
    if options.on_eof == "complete" and change.reason is Reason.EOF:
        return frozenset()
    error = change.error.__cause__ if change.reason is Reason.RETRIES and change.error else change.error
    about = error.reason.value if isinstance(error, ConnectionLostError) else change.reason.value
    return frozenset({verdict_in(options.classify, about) or Verdict.RETRY})


def _of_status(options: Options, request: Sent, standing: _Standing) -> Verdict:
    status = request.status or 0
    verdict = verdict_in(options.classify, str(status))
    if verdict is not None:
        return verdict
    if status == _NO_CONTENT:
        return Verdict.STOP
    if status == _UNAUTHORIZED:
        again = options.credentials == "fresh" and not standing.refused
        standing.refused = True
        return Verdict.RETRY if again else Verdict.RAISE
    standing.refused = False
    told = request.retry_after is not None and status != _GONE
    transient = told or status in _TRANSIENT or (status == _NOT_FOUND and standing.proven)
    return Verdict.RETRY if transient else Verdict.RAISE
