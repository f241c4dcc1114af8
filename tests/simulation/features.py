"""Which ways of using a stream a run has really gone: requests, hooks, callbacks, events without an id."""

from __future__ import annotations

from collections.abc import Iterator

from resilient_sse import NotResumableError, Reason, StateChange, StreamState
from resilient_sse._core.errors import BadStatusError, ConnectionLostError
from tests.simulation.record import Note, Record
from tests.simulation.redirects import targets
from tests.simulation.truth import Sent
from tests.simulation.words import verdict_in

__all__ = ["FEATURES", "features"]

FEATURES = (
    *("redirect 301", "redirect 302", "redirect 303", "redirect 307", "redirect 308"),
    *("chain of redirects", "redirect loop that ends", "redirect to another origin", "too many redirects"),
    *("fixed token", "fresh token", "accepted after a 401", "given up after a 401"),
    *(
        "POST",
        "POST sent again",
        "POST after a redirect",
        "POST whose body is spent",
        "POST without a position",
    ),
    *("classify: retry", "classify: stop", "classify: raise"),
    *("activity()", "restart() in the handler", "callbacks that never fail", "callbacks that fail"),
    *("event without id delivered", "event without id behind a hole", "late event delivered"),
    *("retry field told with its event", "reads judged in batches"),
)
"""Everything that is counted besides faults; what a run uses throughout counts once a run."""

_UNAUTHORIZED = 401
_FOLLOWED, _MOST = 2, 10


def features(record: Record) -> Iterator[str]:
    """Return what a run has reached, each as often as it happened."""
    for request in record.truth.requests:
        yield from _of_request(record, request)
    yield from _of_changes(record)
    yield from _of_events(record)
    options = record.plan.options
    if options.credentials != "none":
        yield f"{options.credentials} token"
    if options.unwatched:
        yield "reads judged in batches"
    if record.notes("activity"):
        yield "activity()"
    if record.told:
        failed = any(seen.raised for seen in record.seen)
        yield "callbacks that fail" if failed else "callbacks that never fail"
    in_handler = {deed.event for deed in record.plan.deeds if deed.kind == "restart" and deed.event}
    handed = len(record.notes("handed"))
    yield from ("restart() in the handler" for event in in_handler if event <= handed)


def _of_request(record: Record, request: Sent) -> Iterator[str]:
    followed = list(targets(request.answer))[: len(request.hops) - 1]
    yield from (f"redirect {status}" for status, _ in followed)
    if request.hops[-1].method == "POST":
        yield "POST"
        if followed:
            yield "POST after a redirect"
        elif request is not record.truth.requests[0]:
            yield "POST sent again"
    if not request.met:
        yield from ["too many redirects"] * (len(followed) == _MOST)
        return
    if len(followed) >= _FOLLOWED:
        own = {target for _, target in followed} == {"self"}
        yield "redirect loop that ends" if own else "chain of redirects"
    if any(target == "elsewhere" for _, target in followed):
        yield "redirect to another origin"


def _of_changes(record: Record) -> Iterator[str]:
    refused = False
    for seen in record.seen:
        change = seen.fact
        if isinstance(change, Note):
            refused = refused and change.kind != "process"
            if isinstance(change.error, NotResumableError):
                spent = record.plan.options.body == "once"
                yield "POST whose body is spent" if spent else "POST without a position"
            continue
        if not isinstance(change, StateChange):
            continue
        error = change.error
        if isinstance(error, BadStatusError) and error.status == _UNAUTHORIZED:
            if change.new is StreamState.ERROR and refused:
                yield "given up after a 401"
            refused = change.new is StreamState.RECONNECTING
        elif refused and change.reason is Reason.OPENED:
            refused = False
            yield "accepted after a 401"
        yield from _of_hook(record, seen.requests, change)


def _of_hook(record: Record, requests: int, change: StateChange) -> Iterator[str]:
    rules = record.plan.options.classify
    if not rules or change.new not in (StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED):
        return
    error = change.error
    request = record.truth.requests[requests - 1] if requests else None
    if isinstance(error, BadStatusError):
        about = str(error.status)
    elif isinstance(error, ConnectionLostError):
        about = error.reason.value
    elif change.reason is Reason.COMPLETE and request is not None and request.status is not None:
        about = str(request.status) if not request.opened else request.answer.end
    else:
        return
    verdict = verdict_in(rules, about)
    if verdict is not None:
        yield f"classify: {verdict.name.lower()}"


def _of_events(record: Record) -> Iterator[str]:
    high: dict[int, int] = {}
    for seen, note in record.notes("handed"):
        event = record.published(note.event)
        if event is None or note.event is None:
            continue
        if event.kind == "plain":
            yield "event without id delivered"
            request = record.truth.requests[seen.requests - 1]
            if event not in request.events:
                yield "event without id behind a hole"
        elif not record.plan.options.sequence:
            late = event.ordinal < high.get(seen.process, 0) and record.plan.options.dedup == "always"
            high[seen.process] = max(high.get(seen.process, 0), event.ordinal)
            yield from ["late event delivered"] * late
        if note.event.retry is not None:
            yield "retry field told with its event"
