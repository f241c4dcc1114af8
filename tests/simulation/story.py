"""What happened in a run, line by line, for whoever replays a seed."""

from __future__ import annotations

from resilient_sse import Gap, ServerSentEvent, StateChange
from tests.simulation.record import Note, Record, Seen

__all__ = ["story"]


def story(record: Record) -> list[str]:
    """Tell every request, transition, event and gap, each with its time."""
    lines: list[tuple[float, str]] = []
    for request in record.truth.requests:
        events = " ".join(f"{event.id}={event.data}" for event in request.events)
        lines.append(
            (request.at, f"-> after {request.cursor}: {request.answer.kind} {request.status}, read {events}")
        )
    lines += [(seen.at, text) for seen in record.seen if (text := _line(seen))]
    return [f"{at:10.3f}  {text}" for at, text in sorted(lines, key=lambda line: line[0])]


def _line(seen: Seen) -> str:
    fact = seen.fact
    match fact:
        case StateChange():
            wait = "" if fact.delay is None else f", attempt {fact.attempt} in {fact.delay:.3f} s"
            return f"   {fact.old.value} -> {fact.new.value} ({fact.reason.value}){wait}"
        case ServerSentEvent():
            return f"   event {fact.id}={fact.data} over connection {fact.connection}"
        case Gap():
            return f"   {fact}"
        case Note(kind=kind, text=text) if kind not in ("handed", "handled"):
            return f"   * {kind} {text or ''}".rstrip()
        case _:
            return ""
