"""Which faults, uses and transitions a run has really reached."""

from dataclasses import fields
from enum import Enum

from resilient_sse import Gap, StateChange
from resilient_sse._core.session import TRANSITIONS
from tests.simulation.plan import Answer, Dialect, Do, Does, End, Ids, Kind, Options
from tests.simulation.record import Did, Note, Outcome

_FIGURES = ("duplicates", "filtered", "heartbeats", "partial", "stalls", "id_conflicts", "callback_errors")
_ERRORS = ("BadStatusError", "RetriesExhaustedError", "NotResumableError", "HandshakeError")
_GAPS = ("hole", "reset", "unresumable")


def _changed(part):
    return (each.name for each in fields(part) if getattr(part, each.name) != each.default)


def _named(enums):
    return {f"{each.__class__.__name__}.{each.name}" for each in enums}


EVERYTHING = frozenset(
    {
        *_named((*Ids, *Dialect, *Kind, *End, *Does, *Do, *Did, *Outcome)) - _named([Outcome.STUCK]),
        *(f"{old.value} -> {new.value}" for old, new in TRANSITIONS),
        *(each.name for part in (Options, Answer) for each in fields(part)),
        *(*_FIGURES, *_ERRORS, *_GAPS, "in batches", "trio"),
    }
)
"""Every name that there is."""


def reached(record):
    """Return the names of all that a run has reached: values of the plan as far as they were played, and facts."""
    options, requests = record.plan.options, record.log.requests
    found = {*_changed(options), options.ids, options.dialect, record.outcome}
    if not options.watched and options.dialect is not Dialect.JSON:
        found.add("in batches")
    if record.plan.backend == "trio":
        found.add("trio")
    for request in requests[: len(record.plan.answers)]:
        answer = request.answer
        found |= {"redirects"} if len(request.hops) > 1 else set()
        if request.met:
            found |= {*_changed(answer), answer.kind}
        if request.opened:
            found |= {answer.end, *(live.does for live in answer.live)}
    for seen in record.seen:
        match seen.fact:
            case StateChange(old=old, new=new):
                found.add(f"{old.value} -> {new.value}")
            case Gap(kind=kind):
                found.add(kind)
            case Note(did=did, error=error):
                found |= {did} if error is None else {did, type(error).__name__}
    handed = len(record.notes(Did.HANDED))
    found |= {deed.do for deed in record.plan.deeds if 0 < deed.event <= handed}
    found |= {Do.ACLOSE} if record.notes(Did.ACLOSE) else set()
    found |= {name for name in _FIGURES if any(getattr(seen.stats, name) for seen in record.notes(Did.LEFT))}
    return {
        f"{type(each).__name__}.{each.name}" if isinstance(each, Enum) else each for each in found
    } & EVERYTHING
