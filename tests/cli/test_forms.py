"""How events are printed."""

import json
import sys
from collections.abc import Callable

import pytest

from resilient_sse import ServerSentEvent
from resilient_sse.cli.forms import form_named

PLAIN = ServerSentEvent(event="news", data="one\ntwo", id="7", last_event_id="7", retry=100, connection=2)
HOSTILE = ServerSentEvent(event="e\x9b2J", data="\x1b[31mred\x07\n\x7f", id="a\x1bb", last_event_id="a\x1bb")

Form = Callable[[ServerSentEvent], str]


def form(name: str, *, terminal: bool = False) -> Form:
    """Return a form."""
    return form_named(name, terminal=terminal)


def test_text():
    """Type, id and data; what follows the first line is indented, so that it cannot pass for an event."""
    assert form("text")(PLAIN) == "[news 7] one\n    two\n"
    assert form("text")(ServerSentEvent(data="x", last_event_id="7")) == "[message] x\n"


def test_text_escapes():
    """No control character reaches the terminal, wherever it hides."""
    assert form("text")(HOSTILE) == "[e\\x9b2J a\\x1bb] \\x1b[31mred\\x07\n    \\x7f\n"


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    """With rich and a terminal the label has a colour, and nothing else has a control character."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = form("text", terminal=True)(HOSTILE)
    assert shown == "\x1b[36m[e\\x9b2J a\\x1bb]\x1b[0m \\x1b[31mred\\x07\n    \\x7f\n"


def test_text_is_never_markup():
    """Brackets are the server's own."""
    assert "[bold]x" in form("text", terminal=True)(ServerSentEvent(data="[bold]x"))


def test_text_without_rich(monkeypatch: pytest.MonkeyPatch):
    """Without rich a terminal gets plain text."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert form("text", terminal=True)(PLAIN) == form("text")(PLAIN)


def test_json():
    """One line with every field, harmless for a terminal, and what was sent once decoded."""
    line = form("json")(PLAIN)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "event": "news",
        "data": "one\ntwo",
        "id": "7",
        "last_event_id": "7",
        "retry": 100,
        "connection": 2,
    }
    hostile = form("json")(HOSTILE)
    assert hostile[:-1].isprintable()
    assert json.loads(hostile)["data"] == HOSTILE.data
    assert '"é"' in form("json")(ServerSentEvent(data="é"))


def test_raw():
    """The data as it is, but not to a terminal."""
    assert form("raw")(HOSTILE) == HOSTILE.data + "\n"
    assert form("raw", terminal=True)(HOSTILE) == "\\x1b[31mred\\x07\n\\x7f\n"
