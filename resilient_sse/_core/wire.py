"""One event as bytes: what a server writes, and the parser reads."""

from __future__ import annotations

import re
from types import NoneType

from resilient_sse._core.checks import check

LINE_END = re.compile(r"\r\n|\r|\n")
"""The three line ends of the standard; `str.splitlines` knows ten."""


def event(data: str, *, id: str | None = None, event: str | None = None, retry: int | None = None) -> bytes:  # noqa: A002 - the standard's names
    """
    Write one event, blank line included.

    Args:
        data: The text; it becomes one `data:` line for each of its lines.
        id: The event's id; `""` clears the id in force, `None` (the default) writes no id.
        event: The event type; `None` (the default) writes none.
        retry: The reconnection time, in milliseconds; `None` (the default) writes none.

    Raises:
        TypeError: An argument has another type; data that is no text needs `json.dumps` or the like.
        ValueError: *id* or *event* contains a line end, *id* contains a NUL, or *retry* is negative.
    """
    check("data", data, str, "a string: call json.dumps() or the like before")
    check("id", id, (str, NoneType), "a string")
    check("event", event, (str, NoneType), "a string")
    check("retry", retry, (int, NoneType), "a whole number of milliseconds")
    lines: list[str] = []
    if event is not None:
        lines.append(f"event: {_one_line('event', event)}")
    if id is not None:
        if "\0" in id:
            raise ValueError("id must not contain a NUL: clients would ignore it")
        lines.append(f"id: {_one_line('id', id)}")
    if retry is not None:
        if retry < 0:
            raise ValueError(f"retry must not be negative, not {retry!r}")
        lines.append(f"retry: {retry}")
    lines.extend(f"data: {line}" for line in LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


def _one_line(name: str, value: str) -> str:
    if LINE_END.search(value):
        raise ValueError(f"{name} must be a single line, not {value!r}")
    return value
