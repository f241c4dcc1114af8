"""How a server may be asked to go on, and what its answer says about that.  Pure: the asking is done elsewhere."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from resilient_sse import resume
from resilient_sse._core.events import ServerSentEvent
from resilient_sse.cli.probe.seen import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.cli.probe.seen import Item, Seen
    from resilient_sse.resume import Dialect

__all__ = ["RESUMES", "Outcome", "Way", "compare", "ways_of"]

RESUMES: Final = frozenset({"resumed", "repeats", "partial", "complete"})
"""The outcomes that show nothing lost."""

# Seconds of silence in which a replay has stopped, and is not just slow.
_PAUSE: Final = 1.0


class Outcome(NamedTuple):
    """
    What asking to resume brought.

    Attributes:
        kind: `resumed`: what followed.  `repeats`: so it did, behind some that were known.  `partial`: the
            beginning of it, then silence.  `complete`: nothing follows.  `start`: all of it again.  `skips`: not
            all that followed.  `lost`: what the first connection had left out.  `renamed`: ids that name other
            events now.  `live`: only what is new.  `refused`: no stream.  `nothing`: too little to tell.
        found: The same in words.
    """

    kind: str
    found: str


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
    ways = [_way(name, dialect, known) for fits, name, dialect in candidates if fits]
    return [way for way in ways if way is not None]


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


def compare(way: Way, seen: Seen) -> Outcome:
    """Hold what came against what had followed the event that was named."""
    known, got, due = way.known, seen.events, way.anchor + 1
    behind = known[due:]
    if not got:
        return _without_events(seen, behind)
    first = got[0]
    if behind and first == behind[0]:
        at = due
    elif first in known:
        at = known.index(first)
    elif behind and behind[0] in got:
        more = counted(got.index(behind[0]), "event")
        return Outcome("lost", f"brought {more} that had been left out before")
    elif _is_renamed(first, known):
        return Outcome("renamed", f"event {first.id} is another one on each connection")
    elif behind:
        missing = counted(len(behind), "event")
        return Outcome("live", f"went on with what is new; {missing} did not come again")
    else:
        return Outcome("nothing", "nothing had followed the event that was named")
    if at > due:
        return Outcome("skips", f"left out {counted(at - due, 'event')} behind the one that was named")
    if at == 0 < way.anchor:
        return Outcome("start", "began at the start again, whatever the id")
    came = len(got) - (due - at)
    if not behind or came <= 0:
        return Outcome("live" if behind else "nothing", "only what was known came again")
    for ours, theirs in zip(behind, got[due - at :], strict=False):
        if ours != theirs:
            kind = "lost" if ours in got else "skips"
            return Outcome(kind, f"had {theirs.id or 'another event'} where {ours.id or 'an event'} was due")
    told = f"{min(len(behind), came)} of {counted(len(behind), 'event')} came again"
    pace = max(arrival.silence for arrival in seen.arrivals)
    if not way.ends_in(seen) and (seen.ended or seen.last_silence > max(_PAUSE, 2 * pace)):
        return Outcome("skips" if seen.ended else "partial", f"{told}, and then none")
    if at == due:
        return Outcome("resumed", f"{told}, in order")
    return Outcome("repeats", f"{told}, behind {counted(due - at, 'event')} known before")


def _is_renamed(event: Item, known: Sequence[Item]) -> bool:
    """Whether an event that is not known has the id of a known one, or its data, if those are all different."""
    data = {item.data for item in known if item.id}
    return any(event.id == item.id for item in known if item.id) or (
        len(data) == len(known) and event.data in data
    )


def _without_events(seen: Seen, behind: Sequence[Item]) -> Outcome:
    match seen.status:
        case 204:
            return Outcome("skips" if behind else "complete", "says that nothing follows (204)")
        case 200 | 201 if behind:
            return Outcome("live", f"brought nothing; {counted(len(behind), 'event')} did not come again")
        case 200 | 201:
            return Outcome("nothing", "nothing had followed the event that was named")
        case 0:
            kind = "refused" if seen.ended else "nothing"
            return Outcome(kind, f"no answer in {seen.seconds:.1f} s{seen.ended and f': {seen.ended}'}")
        case status:
            return Outcome("refused", f"was refused with status {status}")
