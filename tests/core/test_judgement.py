from __future__ import annotations

import pytest

from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.judgement import IntakeOptions, usable_as_cursor


@pytest.mark.parametrize(
    "event_id, usable",
    [
        ("7", True),
        ("a b", True),
        ("é豆", True),
        ("", False),
        (" 7", False),
        ("7 ", False),
        ("a\tb", False),
        ("a\x7fb", False),
        ("\ud800", False),
        ("x" * 4096, True),
        ("x" * 4097, False),
        ("豆" * 1366, False),
    ],
)
def test_ids_that_a_header_can_carry(event_id, usable):
    """No control characters, no edge spaces, at most 4 KiB of UTF-8 (P7)."""
    assert usable_as_cursor(event_id) is usable


@pytest.mark.parametrize("wanted", [{"add"}, ["add"], lambda event: event.event == "add"])
def test_wanted_events(wanted):
    """A filter is a collection of types or a function (P17)."""
    options = IntakeOptions(events=wanted)
    assert options.wants(ServerSentEvent(event="add"))
    assert not options.wants(ServerSentEvent(event="del"))
    assert IntakeOptions().wants(ServerSentEvent(event="del"))


@pytest.mark.parametrize("until", ["done", lambda event: event.event == "done"])
def test_the_last_event(until):
    """The end is an event type or a function (P19)."""
    options = IntakeOptions(until=until)
    assert options.ends_with(ServerSentEvent(event="done"))
    assert not options.ends_with(ServerSentEvent())
    assert not IntakeOptions().ends_with(ServerSentEvent(event="done"))
