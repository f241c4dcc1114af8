"""The connections of a probe: which there are, how long each is listened to, and when there is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import httpx

from resilient_sse import resume
from resilient_sse._client.log import redacted
from resilient_sse._client.request import PreparedRequest, RequestTemplate
from resilient_sse._client.transport.connection import Connection
from resilient_sse._client.transport.errors import raise_translated, translated
from resilient_sse._client.transport.redirects import exchange
from resilient_sse._core.errors import HandshakeError, ResilientSSEError
from resilient_sse._core.events import Opened, ServerSentEvent
from resilient_sse.cli.probe.checks import FAIL, OK, WARN, Judged, compare
from resilient_sse.cli.probe.seen import Item, Seen
from resilient_sse.resume import Dialect

# Up to which share of the time the first connection may last, and asking to resume.
_LISTENS: Final = 0.7
_RESUMES: Final = 0.9
# Seconds for each further answer, unless the first has shown that it takes longer.
_PATIENCE: Final = 3.0
# Enough is so many heartbeats and events, or, of a stream that is never quiet, so many events and seconds.
_BEATS, _EVENTS = 2, 3
_MANY_EVENTS, _BUSY_SECONDS = 20, 5.0
_TICK: Final = 0.5


class Way(NamedTuple):
    """A way to ask for what follows a position."""

    name: str
    """The header, or what a program passes for it."""
    dialect: Dialect
    """The same as arguments of a stream."""
    anchor: int
    """Which of the first connection's events to resume after, counted from 0."""
    position: str


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
            return Way(name, dialect, at, positions[at])
    return None


@dataclass(slots=True)
class Findings:
    """What a probe has seen."""

    method: str
    url: str  # without credentials and query
    once: bool  # whether the request was not sent again, for it may do something
    first: Seen  # the connection that was listened to
    way: Way | None = None  # how the server was asked to resume, if it was,
    outcome: Judged | None = None  # and what that brought
    squeezed: Seen | None = None  # a connection that would have taken gzip, if there was one


async def examine(
    client: httpx.AsyncClient,
    template: RequestTemplate,
    *,
    auth: tuple[str, str] | None = None,
    connect_timeout: float | None = 10.0,
    seconds: float = 45.0,
    again: bool = False,
    resume_param: str | None = None,
    tell: Callable[[str], object] = lambda _text: None,
) -> Findings:
    """
    Ask for a stream, to resume it, and to compress it; return what came of it, *seconds* later at the latest.

    A request that may do something is sent *again* only if that is so.  *tell* is told what is waited for.  A
    `ResilientSSEError` says that there is no answer at all.
    """
    limits = {**dict.fromkeys(("connect", "write", "pool"), connect_timeout), "read": None}
    options: dict[str, Any] = {"extensions": {"timeout": limits}}
    if credentials := auth or template.userinfo:
        options["auth"] = credentials
    listen, clock = partial(_listen, client, options, tell), anyio.current_time
    start = clock()
    request = await template.prepare(None)
    first = await listen(request, "events", until=start + _LISTENS * seconds, enough=_is_enough)
    once = not (template.repeatable or again)
    found = Findings(request.method, redacted(request.url), once, first)
    if not first.is_stream:
        return found
    patience, until = max(_PATIENCE, 2 * (first.first_event or 0.0)), start + _RESUMES * seconds
    answer = Opened(
        connection=1, status=first.status, headers=first.headers, last_event_id=None, url=template.url
    )
    known = first.events
    for way in ways_of(first, method=found.method, param=resume_param):
        try:
            resuming = replace(template, resume=way.dialect.get("resume"))
            following = await resuming.prepare(way.position, answer)
        except HandshakeError as error:  # what the server has named is no address
            found.way, found.outcome = found.way or way, found.outcome or (FAIL, str(error))
            continue
        if clock() >= until or (once and following.method == found.method):
            continue
        what, due = f"what follows {way.position[:40]}", min(clock() + patience, until)
        seen = await listen(following, what, until=due, enough=lambda seen: known[-1] in seen.events)
        verdict, told = compare(known, way.anchor, seen)
        if found.way is None or verdict in (OK, WARN):
            found.way, found.outcome = way, (verdict, told)
        if verdict in (OK, WARN):
            break
    if not once:
        due = min(clock() + patience, start + seconds)
        found.squeezed = await listen(request, "gzip", until=due, enough=_is_readable, encoding="gzip")
    return found


async def _listen(
    client: httpx.AsyncClient,
    options: dict[str, Any],
    tell: Callable[[str], object],
    request: PreparedRequest,
    what: str,
    *,
    until: float,
    enough: Callable[[Seen], bool],
    encoding: str = "identity",
) -> Seen:
    """Send a request and take what comes until it is enough, or until a moment of the event loop's clock."""
    seen, began, clock = Seen(), anyio.current_time(), anyio.current_time
    connection: Connection | None = None
    tell(what)
    try:
        with anyio.CancelScope(deadline=until):
            url = httpx.URL(request.url)
            response = await exchange(client, request, url, encoding=encoding, options=options)
            connection = Connection(response)
            seen.headers_at = clock() - began
            seen.status, seen.headers = connection.status, connection.headers
            seen.version = response.extensions.get("http_version", b"HTTP/1.1").decode("ascii", "replace")
        if connection is not None and seen.is_stream:
            try:
                connection.decode()
            except ValueError as unknown:  # a content coding that cannot be undone
                seen.ended = str(unknown)
            while not (seen.ended or seen.is_full or enough(seen)) and clock() < until:
                # No scope around it: a read that is woken goes on, and would leave it in the wrong order.
                data = await connection.receive(min(_TICK, until - clock()))
                seen.seconds = clock() - began
                if data is None:
                    seen.ended = "eof"
                elif data:
                    seen.take(data, seen.seconds)
    except Exception as exc:  # noqa: BLE001 - raised again, unless it is the network's
        error = translated(exc, opened=connection is not None)
        nothing = encoding == "identity" and request.cursor is None and connection is None
        if nothing or not isinstance(error, ResilientSSEError):
            raise_translated(exc, opened=False)
        seen.ended = getattr(error, "detail", "") or str(error)
    finally:
        seen.seconds = clock() - began
        if connection is not None:
            await connection.source.end()
            await connection.aclose()
    return seen


def _is_enough(seen: Seen) -> bool:
    events = len(seen.events)
    quiet = len(seen.beats) >= _BEATS and events >= _EVENTS
    return quiet or (events >= _MANY_EVENTS and seen.seconds >= _BUSY_SECONDS)


def _is_readable(seen: Seen) -> bool:
    return seen.count > 0 or "content-encoding" not in seen.headers
