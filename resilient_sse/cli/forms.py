"""The forms in which `tail` prints an event: for people, as JSON, or its data alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias

from resilient_sse._core.events import ServerSentEvent
from resilient_sse.cli.output import escape

__all__ = ["Form", "form_named"]

Form: TypeAlias = Callable[[ServerSentEvent], str]

# Continuation lines start with this, so that data cannot pretend to be the next event.
_INDENT = "    "

# What JSON may carry as it is, but a terminal should not be sent.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f]")


def form_named(name: str, *, terminal: bool) -> Form:
    """
    Return the form called *name*.

    Args:
        name: `"text"`, `"json"` or `"raw"`.
        terminal: Whether a person looks at it: then text is coloured, if rich is installed, and raw is escaped.
    """
    match name:
        case "json":
            return _json
        case "raw":
            return _raw_escaped if terminal else _raw
        case _:
            return (_coloured() or _text) if terminal else _text


def _json(event: ServerSentEvent) -> str:
    fields = {
        "event": event.event,
        "data": event.data,
        "id": event.id,
        "last_event_id": event.last_event_id,
        "retry": event.retry,
        "connection": event.connection,
    }
    line = json.dumps(fields, ensure_ascii=False)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n"


def _raw(event: ServerSentEvent) -> str:
    return event.data + "\n"


def _raw_escaped(event: ServerSentEvent) -> str:
    return escape(event.data) + "\n"


def _text(event: ServerSentEvent) -> str:
    return f"{_label(event)} {_body(event)}\n"


def _label(event: ServerSentEvent) -> str:
    label = event.event if event.id is None else f"{event.event} {event.id}"
    return f"[{escape(label)}]"


def _body(event: ServerSentEvent) -> str:
    return escape(event.data).replace("\n", f"\n{_INDENT}")


def _coloured() -> Form | None:
    """Return the text form with a coloured label, or `None` without rich."""
    try:
        from rich.console import Console  # noqa: PLC0415 - it is optional
        from rich.text import Text  # noqa: PLC0415 - it is optional
    except ImportError:
        return None
    console = Console(highlight=False, soft_wrap=True)

    def coloured(event: ServerSentEvent) -> str:
        # Captured instead of printed: there is one way to standard output, and it is `Output`.
        with console.capture() as capture:
            console.print(Text.assemble((_label(event), "cyan"), " ", _body(event)))
        return capture.get()

    return coloured
