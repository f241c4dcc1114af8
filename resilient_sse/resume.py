"""
Presets for servers that are not resumed by the `Last-Event-ID` header.

Each returns arguments of `ResilientStream`:

```python
ResilientStream(url, **resume.query("since"))
```
"""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from random import random
from typing import TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import quote, urljoin

import anyio

from resilient_sse._client.request import Resume, ResumeFunction
from resilient_sse._core.cursor import CursorFunction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient_sse._core.events import Gap, Opened, ServerSentEvent

__all__ = [
    "Dialect",
    "Resume",
    "control_event",
    "json_body",
    "json_field",
    "json_ids",
    "listen_again",
    "location",
    "mercure",
    "query",
    "refetch",
    "response",
]


class Dialect(TypedDict, total=False):
    """The arguments of `ResilientStream` that make a dialect."""

    cursor: CursorFunction
    resume: ResumeFunction


def query(name: str, *, header: bool = True) -> Dialect:
    """
    Send the position in a query parameter.

    Args:
        name: The parameter.
        header: Whether to send it in the `Last-Event-ID` header, too.
    """

    def resume(position: str | None, _answer: Opened | None) -> Resume | None:
        if position is None:
            return None
        return Resume(params={name: position}, last_event_id=position if header else None)

    return {"resume": resume}


def control_event(
    event: str = "control", *, field: str = "streamNextOffset", param: str = "offset"
) -> Dialect:
    """
    Read the position from events that bring nothing else, and send it in a query parameter (Durable Streams).

    Give the position to begin at as `last_event_id`, such as `"-1"` for the start.  Such events are delivered,
    too; pass `heartbeat_events={event}` if they are not wanted.

    Args:
        event: Their type.
        field: The field of their JSON that holds the position.
        param: The query parameter.
    """

    def cursor(item: ServerSentEvent) -> str | None:
        return _text(_object(_json(item.data)).get(field)) if item.event == event else None

    return {"cursor": cursor, **query(param, header=False)}


def json_field(field: str, param: str) -> Dialect:
    """
    Read the position from a field of the JSON in each event, and send it in a query parameter.

    Args:
        field: The field; an event without it leaves the position where it was.
        param: The query parameter.
    """

    def cursor(item: ServerSentEvent) -> str | None:
        return _text(_object(_json(item.data)).get(field))

    return {"cursor": cursor, **query(param, header=False)}


def response(
    path: str = "responses/{id}",
    *,
    within: str = "response",
    field: str = "sequence_number",
    param: str = "starting_after",
) -> Dialect:
    """
    Begin with a POST, and go on with a GET of what it has made, behind a number (OpenAI's background responses).

    The position is the id and the number, `"resp_1/42"`.

    Args:
        path: Where it is, relative to the stream's URL.
        within: The object in the JSON of an early event that has the `id`.
        field: The field of the JSON of each event that holds the number.
        param: The query parameter.
    """

    def cursor(item: ServerSentEvent) -> str | None:
        body = _object(_json(item.data))
        known, number = item.last_event_id.rpartition("/")[0], _text(body.get(field))
        name = _text(_object(body.get(within)).get("id", known))
        return f"{name}/{number}" if name and number else None

    def resume(position: str | None, _answer: Opened | None) -> Resume | None:
        name, _, number = (position or "").rpartition("/")
        if not name:
            return None
        url = path.format(id=quote(name, safe=""))
        return Resume(url=url, method="GET", params={"stream": "true", param: number})

    return {"cursor": cursor, "resume": resume}


def location() -> Dialect:
    """Begin with a POST, and go on with a GET of the `Location` that it has answered with (LangGraph)."""

    def resume(position: str | None, answer: Opened | None) -> Resume | None:
        if answer is None:
            return None
        target = answer.headers.get("location", "" if answer.connection > 1 else None)
        if target is None:
            return None
        with suppress(ValueError):  # an address that makes no sense is refused when it is used
            target = urljoin(answer.url, target)
        return Resume(url=target, method="GET", last_event_id=position)

    return {"resume": resume}


def json_body(field: str, body: Mapping[str, Any]) -> Dialect:
    """
    Send the position in the body, which is JSON.

    Args:
        field: The field that it is put in.
        body: The rest: what the stream is given as `json`.
    """
    copied = deepcopy(dict(body))  # what the caller changes later changes nothing

    def resume(position: str | None, _answer: Opened | None) -> Resume | None:
        return None if position is None else Resume(json={**copied, field: position})

    return {"resume": resume}


def json_ids() -> Dialect:
    """
    Read ids that are JSON arrays of one position for each partition, and send them back (Wikimedia).

    Of each partition the position furthest on counts: an event that is sent again moves none back.
    """

    def cursor(item: ServerSentEvent) -> str | None:
        new = _places(item.id or "")
        if not new:
            return None
        places: dict[tuple[str, int], dict[str, Any]] = {}
        for place in [*_places(item.last_event_id), *new]:
            at = place["topic"], place["partition"]
            if at not in places or _reached(place) >= _reached(places[at]):
                places[at] = place
        return json.dumps([places[at] for at in sorted(places)], separators=(",", ":"))

    return {"cursor": cursor}


def mercure(param: str = "last_event_id") -> Dialect:
    """
    Resume from where the hub said the subscription began, if no event has come yet.

    The position goes into the header and into a query parameter.  A hub that answers with another id than it was
    asked for has lost events: that is a `Gap`, in whatever dialect.

    Args:
        param: The query parameter; draft 7 and older hubs spell it `"Last-Event-ID"`.
    """

    def resume(position: str | None, answer: Opened | None) -> Resume | None:
        if position is None and answer is not None:
            headers = answer.headers
            position = headers.get("mercure-last-event-id") or headers.get("last-event-id")
        return None if position is None else Resume(params={param: position}, last_event_id=position)

    return {"resume": resume}


def listen_again() -> Dialect:
    """
    Send the first request again, whatever its method: the server cannot resume.

    Each connection after the first reports one `Gap`, as soon as it is open; `refetch` makes a callback for it.
    """

    def resume(_position: str | None, _answer: Opened | None) -> Resume:
        return Resume(lossy=True)

    return {"resume": resume}


def refetch(
    fetch: Callable[[], Awaitable[object]], *, spread: float = 1.0
) -> Callable[[Gap], Awaitable[None]]:
    """
    Return a callback for `on_gap` that calls *fetch*, for servers that cannot give again what was missed.

    The connection is open by then, and what arrives during *fetch* waits behind it: subscribe first, then take
    the snapshot.  However many attempts an outage took, there is one call.

    Args:
        fetch: Loads the present state.  It has to try again by itself, for what it raises is only logged.
        spread: Seconds over which many clients spread their calls, at random.
    """

    async def on_gap(_gap: Gap) -> None:
        await anyio.sleep(random() * spread)  # noqa: S311 - jitter
        await fetch()

    return on_gap


def _json(text: str) -> Any:  # noqa: ANN401 - what the server has sent
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter of brackets nested too deep
        return None


def _object(value: object) -> dict[str, Any]:
    """Return an object of JSON; what is none, such as a sentinel, has no position."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _places(text: str) -> list[dict[str, Any]]:
    """Return the positions of partitions that an id is an array of; what else is in it is left out."""
    found = _json(text)
    array = cast("list[object]", found) if isinstance(found, list) else []
    return [
        place
        for place in map(_object, array)
        if isinstance(place.get("topic"), str)
        and isinstance(place.get("partition"), int)
        and isinstance(_reached(place), int | float)
    ]


def _reached(place: dict[str, Any]) -> Any:  # noqa: ANN401 - what the server has sent
    return place.get("timestamp", place.get("offset", -1))


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
