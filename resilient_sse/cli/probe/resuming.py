"""How a server may be asked to go on, and what its answer says about that.  Pure: the asking is done elsewhere."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from resilient_sse import resume
from resilient_sse._core.events import ServerSentEvent
from resilient_sse.cli.output import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.cli.probe.seen import Item, Seen
    from resilient_sse.resume import Dialect

__all__ = ["FAIL", "NOT_SEEN", "OK", "WARN", "Judged", "Way", "compare", "ways_of"]

Judged: TypeAlias = tuple[str, str]
"""A verdict, and what was found."""

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
NOT_SEEN: Final = "not seen"  # nothing came that would tell

_NO_CONTENT: Final = 204
# Seconds of silence in which a replay has stopped, and is not just slow.
_PAUSE: Final = 1.0


class Way(NamedTuple):
    """A way to ask for what follows a position."""

    name: str
    """The header, or what a program passes for it."""
    dialect: Dialect
    """The same as arguments of a stream."""
    known: Sequence[Item]
    """The events of the first connection."""
    anchor: int
    """The number of the event to resume after."""
    position: str

    def ends_in(self, seen: Seen) -> bool:
        """Whether all has come again."""
        return self.known[-1] in seen.events


def ways_of(first: Seen, *, method: str, param: str | None) -> list[Way]:
    """Return the ways that the *first* connection suggests, the likeliest first; the user knows of *param*."""
    known, headers = first.events, first.headers
    data = "".join(event.data for event in known)
    candidates: list[tuple[bool, str, Dialect]] = [
        ("streamNextOffset" in data, "resume.control_event()", resume.control_event()),
        ('"sequence_number"' in data, "resume.response()", resume.response()),
        (method != "GET" and "location" in headers, "resume.location()", resume.location()),
        ("mercure-last-event-id" in headers, "resume.mercure()", resume.mercure()),
        (any((event.id or "").startswith("[{") for event in known), "resume.json_ids()", resume.json_ids()),
        (param is not None, f"resume_param={param!r}", resume.query(param or "", header=False)),
        (True, "the header Last-Event-ID", {}),
        (True, "resume_param='last_event_id'", resume.query("last_event_id", header=False)),
    ]
    return [way for fits, name, dialect in candidates if fits and (way := _way(name, dialect, known))]


def _way(name: str, dialect: Dialect, known: Sequence[Item]) -> Way | None:
    """Choose an event in the middle, so that what begins at the start or one too early is told from the right."""
    positions = [""]
    for item in known:
        now = positions[-1]
        with suppress(Exception):  # what is not of this dialect has no position in it
            event = ServerSentEvent(event=item.event or "", data=item.data, id=item.id, last_event_id=now)
            now = (dialect["cursor"](event) if "cursor" in dialect else item.id) or now
        positions.append(now)
    del positions[0]
    last = len(known) - 1
    for at in sorted(range(len(known)), key=lambda at: abs(at - last / 2)):
        if positions[at] and (at == last or positions[at] != positions[at + 1]):
            return Way(name, dialect, known, at, positions[at])
    return None


def compare(way: Way, seen: Seen) -> Judged:
    """Hold what came against what had followed the event that was named."""
    known, got, due = way.known, seen.events, way.anchor + 1
    behind = known[due:]
    if not seen.status:
        why = f": {seen.ended}" if seen.ended else ""
        return FAIL if seen.ended else NOT_SEEN, f"no answer in {seen.seconds:.1f} s{why}"
    if not seen.is_stream and (behind or seen.status != _NO_CONTENT):
        return FAIL, f"was refused with status {seen.status}"
    if way.anchor and known[0] in got[:1]:
        return FAIL, "began at the start again, whatever the id"
    before = next((at for at, item in enumerate(got) if item not in known[:due]), len(got))
    came = got[before:]
    again = 0
    for theirs, ours in zip(came, behind, strict=False):
        if theirs != ours:
            what = f"{theirs.id or 'another event'} came where {ours.id or 'an event'} was due"
            return FAIL, f"{what}, behind {counted(again, 'event')}"
        again += 1
    if not behind:
        return (
            OK if seen.status == _NO_CONTENT else NOT_SEEN
        ), "nothing had followed the event that was named"
    told = f"{again} of {counted(len(behind), 'event')} came again"
    pace = max((arrival.silence for arrival in seen.arrivals), default=0.0)
    if again < len(behind) and (seen.ended or not again or seen.last_silence > max(_PAUSE, 2 * pace)):
        return WARN if again and not seen.ended else FAIL, f"{told}, and then none"
    return OK, f"{told}, behind {counted(before, 'event')} known before" if before else f"{told}, in order"
