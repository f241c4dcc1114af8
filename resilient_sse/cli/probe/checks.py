"""The checklist for servers, held against what a probe has seen.  Pure: findings in, verdicts out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import dropwhile, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from resilient_sse.cli.probe.seen import Item, Seen
from resilient_sse.testing.wire import counted

if TYPE_CHECKING:
    from resilient_sse.cli.probe.asking import Findings

__all__ = [
    "FAIL",
    "NOT_SEEN",
    "OK",
    "WARN",
    "Check",
    "Judged",
    "check_all",
    "compare",
]  # checks are in `_POINTS`

Judged: TypeAlias = tuple[str, str]
"""A verdict, and what was found."""

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
NOT_SEEN: Final = "not seen"  # nothing came that would tell


class Check(NamedTuple):
    """A point of the checklist: its name, verdict, what was seen, and what to change where it warns or fails."""

    id: str
    verdict: str
    found: str
    change: str


# A client's default `stall_timeout`, and half of it: at most so many seconds between two heartbeats.
_STALL: Final = 30.0
_OFTEN: Final = 15.5
# So long a silence without a heartbeat means that there are none: the list asks for one every 10 s.
_QUIET: Final = 20.0
_SLOW_HEADERS: Final = 1.0
# Seconds of silence that make an arrival one of its own, and those between the halves of an event that is held.
_APART: Final = 0.5
_HELD: Final = 0.25
# So many events at once are a burst; so few bytes in so many reads are a trickle.
_BURST: Final = 3
_READS, _BYTES = 20, 8
_DIGITS: Final = 18
_NO_CONTENT: Final = 204
# Seconds of silence in which a replay has stopped, and is not just slow.
_PAUSE: Final = 1.0
# Of what a server says in a header.
_LONGEST: Final = 200


def check_all(found: Findings) -> list[Check]:
    """Go through the list; of an answer that is no event stream there is but one thing to say."""
    points = _POINTS if found.first.is_stream else _POINTS[:1] if found.first.status else _POINTS[1:2]
    judged = ((name, change, *check(found)) for name, check, change in points)
    return [
        Check(name, verdict, told[:_LONGEST], change * (verdict in (WARN, FAIL)))
        for name, change, verdict, told in judged
    ]


_POINTS: list[tuple[str, Callable[[Findings], Judged], str]] = []


def _point(change: str) -> Callable[[Callable[[Findings], Judged]], None]:
    """Put a function on the list, with what to change where it warns or fails."""
    return lambda check: _POINTS.append((check.__name__.replace("_", "-"), check, change))


# --- The answer


@_point("Check path, method and credentials; send status 200 and Content-Type: text/event-stream.")
def answer(found: Findings) -> Judged:
    first = found.first
    if first.is_stream:
        return OK, f"status {first.status}"
    return FAIL, f"status {first.status}, content type {first.headers.get('content-type', 'none')}"


@_point(
    "Flush the headers as soon as the request is accepted.  What buffers or compresses holds them, too: switch "
    "that off (nginx: proxy_buffering off; lighttpd: server.stream-response-body = 1)."
)
def headers(found: Findings) -> Judged:
    if not found.first.status:
        return FAIL, f"none in {found.first.seconds:.1f} s"
    at = found.first.headers_at
    return WARN if at >= _SLOW_HEADERS else OK, f"after {at:.2f} s"


@_point("Send text/event-stream; charset=utf-8: it is UTF-8 whatever is said.")
def content_type(found: Findings) -> Judged:
    kind = found.first.headers["content-type"]
    charset = re.search(r"charset=\"?([\w-]+)", kind, re.IGNORECASE)
    return WARN if charset and charset[1].lower() not in ("utf-8", "utf8") else OK, kind


@_point(
    "Speak HTTP/1.1 with chunks on a connection that is kept (nginx: proxy_http_version 1.1), or "
    "HTTP/2: otherwise a cut looks like an end."
)
def framing(found: Findings) -> Judged:
    version, headers = found.first.version, found.first.headers
    if version == "HTTP/1.0":
        return FAIL, version
    if "content-length" in headers:
        return WARN, f"Content-Length: {headers['content-length']}, so it was known before it was sent"
    if version == "HTTP/1.1" and "transfer-encoding" not in headers:
        return WARN, "HTTP/1.1 without chunks"
    if "close" in headers.get("connection", "").lower():
        return WARN, f"{version}, Connection: close"
    return OK, f"{version}, {headers.get('transfer-encoding', 'in frames')}"


@_point("Send Cache-Control: no-cache, or a cache may answer.")
def cache_control(found: Findings) -> Judged:
    for seen in filter(None, (found.first, found.squeezed)):
        if (age := seen.headers.get("age", "0")) != "0":
            return FAIL, f"a cache has answered (Age: {age})"
    value = found.first.headers.get("cache-control", "").lower()
    if "no-cache" in value or "no-store" in value:
        return OK, value
    return FAIL if re.search(r"public|max-age=[1-9]", value) else WARN, value or "none"


@_point("Send X-Accel-Buffering: no, and nginx does not hold events back.")
def x_accel_buffering(found: Findings) -> Judged:
    value = found.first.headers.get("x-accel-buffering", "").lower()
    if not value:
        return NOT_SEEN, "none; nginx takes the header out of what it hands on"
    return OK if value == "no" else FAIL, value


@_point("Do not compress text/event-stream, or flush the compressor after each event.")
def compression(found: Findings) -> Judged:
    first, squeezed = found.first, found.squeezed
    if coding := first.headers.get("content-encoding", "").replace("identity", ""):
        return FAIL, f"{coding}, which was not asked for"
    if squeezed is None:
        return NOT_SEEN, f"{found.method} was sent once, without asking for it"
    if squeezed.status and not squeezed.is_stream:
        return NOT_SEEN, f"a client that takes gzip gets status {squeezed.status}"
    coding = squeezed.headers.get("content-encoding", "")
    if squeezed.status and not coding:
        return OK, "none, also for a client that takes gzip"
    if any(arrival.events or arrival.beats for arrival in squeezed.arrivals):
        return OK, f"{coding} for a client that takes it; {squeezed} in {squeezed.seconds:.1f} s"
    due = first.first_byte is not None and 2 * first.first_byte <= squeezed.seconds
    told = f"a client that takes gzip can read nothing in {squeezed.seconds:.1f} s"
    return FAIL if due else NOT_SEEN, told + (squeezed.ended and f": {squeezed.ended}")


# --- What came, and when


@_point(
    "Flush after each event.  Switch buffering off in what stands before the server (nginx: "
    "proxy_buffering off, or X-Accel-Buffering: no)."
)
def buffering(found: Findings) -> Judged:
    first, arrivals = found.first, found.first.arrivals
    if not arrivals:
        return WARN if first.ended in ("", "eof") else NOT_SEEN, f"not one byte in {first.seconds:.1f} s"
    if first.reads > _READS and first.size < _BYTES * first.reads:
        return WARN, f"{first.size / first.reads:.1f} bytes at a time"
    halves = [later for one, later in pairwise(arrivals) if one.inside and (one.events or one.beats)]
    cut = sum(later.silence >= _HELD for later in halves)
    slow = first.headers_at >= _SLOW_HEADERS
    late = [arrival for arrival in arrivals if arrival.silence >= _APART or (slow and arrival is arrivals[0])]
    # Of one kind: the lines of one comment are of different kinds.
    kinds = [Counter(re.sub(r"\d+", "0", f"{beat.event}:{beat.data}") for beat in one.beats) for one in late]
    beats = max((many for kind in kinds for many in kind.values()), default=0)
    bursts = [len(arrival.events) for arrival in late if len(arrival.events) >= _BURST]
    after = f"after up to {first.longest_silence:.1f} s of silence"
    if beats > 1:
        return FAIL, f"{beats} heartbeats at once, {after}"
    if cut:
        told = f"held in the midst of an event, {counted(cut, 'time')}, {after}"
        return FAIL if cut > 1 or bursts else WARN, told
    if len(bursts) > 1:
        return WARN, f"up to {max(bursts)} events at once, {after}"
    if bursts and slow and len(arrivals) == 1 and first.ended == "eof":
        return WARN, f"all of it at once, after {first.headers_at:.1f} s"
    if len(arrivals) < _BURST:
        return NOT_SEEN, f"too few arrivals to tell: {first} in {counted(len(arrivals), 'arrival')}"
    return OK, f"{first} in {counted(len(arrivals), 'arrival')}"


@_point(
    "Write UTF-8, in lines such as 'id: 7' and 'data: ...', with a blank line after each event, and "
    "no event of more than a few MiB."
)
def event_format(found: Findings) -> Judged:
    first = found.first
    if first.trouble:
        return FAIL, first.trouble
    if first.size and not first.count:
        return FAIL, f"{first.size:,} bytes, and no event or comment"
    if first.arrivals and first.arrivals[-1].inside and first.ended == "eof":
        return FAIL, "ends with half an event, which clients drop"
    return OK if first.count else NOT_SEEN, f"{first}, {first.size:,} bytes"


@_point(
    "Send a comment, ': ping', or an event 'heartbeat', after 10 s of silence, with no id or one of its own."
)
def heartbeat(found: Findings) -> Judged:
    first, every = found.first, found.first.cadence
    of_events = {event.id for event in first.events}
    beats = [beat for arrival in first.arrivals for beat in arrival.beats]
    if taken := [beat.id for beat in beats if beat.id and beat.id in of_events]:
        return FAIL, f"one has the id of an event, {min(taken)}, which is lost if it is resumed after"
    if every is None and first.beats:
        (beat,) = first.beats
        every, told = beat.silence, f"one, {beat.began - first.headers_at:.1f} s behind the headers"
    elif every is None:
        silence = first.longest_silence
        return FAIL if silence >= _QUIET else NOT_SEEN, f"none in {silence:.1f} s of silence"
    else:
        told = f"every {every:.1f} s"
    return OK if every <= _OFTEN else WARN if every < _STALL else FAIL, told


@_point("Give each event an id of its own: a number that rises by one, the same for everybody.")
def ids(found: Findings) -> Judged:
    events = found.first.events[_greetings(found.first.events) :]
    ids = [event.id for event in events if event.id]
    if not events:
        return NOT_SEEN, "no event came"
    if found.way and "cursor" in found.way.dialect:
        return OK, f"positions are read by {found.way.name}"
    if len(ids) < len(events):
        return WARN if ids else FAIL, f"{len(events) - len(ids)} of {counted(len(events), 'event')} have none"
    if twice := len(events) - len({*events}):
        return FAIL, f"{counted(twice, 'event')} came again on one connection"
    if len({*ids}) < len(ids):
        return WARN, f"{len(ids)} events share {counted(len({*ids}), 'id')}"
    if not all(name.isascii() and name.isdigit() and len(name) <= _DIGITS for name in ids):
        return OK, "unique; no numbers, so a hole would not show"
    numbers = [*map(int, ids)]
    if back := next((later for former, later in pairwise(numbers) if later < former), None):
        return FAIL, f"they go back, to {back}"
    holes = numbers[-1] - numbers[0] + 1 - len(numbers)
    return WARN if holes else OK, f"{numbers[0]} to {numbers[-1]}, {holes or 'none'} left out"


@_point("Keep events, and send first what follows the id in Last-Event-ID: all of it, once, in order.")
def resume(found: Findings) -> Judged:
    if found.way and found.outcome:
        verdict, told = found.outcome
        return verdict, f"by {found.way.name}: {told}"
    if not found.first.events:
        return NOT_SEEN, "no event came to resume after"
    if found.once:
        return NOT_SEEN, f"{found.method} was sent once, for it may do something; --again sends it again"
    return FAIL, "no event says where to go on"


def _greetings(events: Sequence[Item]) -> int:
    """Count what stands before the first id: each connection is told it, so it is not part of what is resumed."""
    return next((at for at, event in enumerate(events) if event.id), 0)


def compare(known: Sequence[Item], anchor: int, seen: Seen) -> Judged:
    """Hold what came against what had followed that one of the *known* events."""
    got, due = seen.events, anchor + 1
    behind = known[due:]
    if not seen.status:
        why = f": {seen.ended}" if seen.ended else ""
        return FAIL if seen.ended else NOT_SEEN, f"no answer in {seen.seconds:.1f} s{why}"
    if not seen.is_stream and (behind or seen.status != _NO_CONTENT):
        return FAIL, f"was refused with status {seen.status}"
    hello = _greetings(known)
    got = [*dropwhile(lambda item: not item.id, got[:hello]), *got[hello:]]
    if anchor > hello and known[hello] in got[:1]:
        return FAIL, "began at the start again, whatever the id"
    before = next((at for at, item in enumerate(got) if item not in known[:due]), len(got))
    came = got[before:]
    if came and behind and not {*came} & {*behind}:
        others = f", from {came[0].id} on" if came[0].id else ""
        return FAIL, f"none of {counted(len(behind), 'event')} came again, but others{others}"
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


@_point(
    "End responses in full.  What cuts a silent one is a limit on the way (nginx: "
    "proxy_read_timeout): send heartbeats more often than that."
)
def end(found: Findings) -> Judged:
    first = found.first
    silent = f"{first.last_silence:.1f} s of silence"
    if not first.ended:
        silence = f"of which up to {first.longest_silence:.1f} s were silent"
        return OK, f"open after {first.seconds:.1f} s, {silence}"
    if first.ended != "eof":
        return FAIL, f"{first.ended}, after {first.seconds:.1f} s and {silent}"
    if first.last_silence >= _SLOW_HEADERS:
        return WARN, f"ended after {silent}: an idle limit"
    return OK, f"ended cleanly after {first.seconds:.1f} s"
