from __future__ import annotations

import pytest

from resilient_sse._core.delivery import Delivery
from resilient_sse._core.events import Closed, Comment, ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import Reason
from resilient_sse._core.stats import StreamStats

CLOSED = Closed(reason=Reason.COMPLETE)


def delivery(**options) -> Delivery:
    """Make one with its first connection open, which drops whatever it knows unless told otherwise."""
    made = Delivery(StreamOptions(**{"dedup": "always", **options}), StreamStats())
    made.connected(1, resumed=made.cursor is not None)
    return made


def block(event_id: str | None = None, data: str | None = "", event: str = "") -> Block:
    """Make a block whose data tells its id, if none is given."""
    return Block(event, f"of {event_id}" if data == "" else data, event_id)


HEARTBEAT = block("5", "{}", "heartbeat")


def taken(source: Delivery) -> list:
    """Take everything there is; the figures must agree at every step."""
    items = []
    while (item := source.take()) is not None or source.unfinished:
        items += [item] if item is not None else []
        stats = source._stats
        assert stats.received == stats.delivered + stats.duplicates + stats.heartbeats + stats.filtered
    return items


def given(source: Delivery, *items) -> list:
    """Put *items* and take what comes of them."""
    for item in items:
        source.put(item)
    return taken(source)


def ids(items: list) -> list:
    """Show events by their ids and gaps as they are."""
    return [item.id if isinstance(item, ServerSentEvent) else item for item in items]


# What was seen before, and which id is in force


def test_what_is_a_duplicate():
    """An id of its own with the same type and data; `event: message` and no type are one (R14, R150, P8)."""
    source = delivery()
    events = [
        block("1", "a"),
        block("1", "b"),
        block("1", "b"),
        block("1", "a", "add"),
        block("1", "a", "message"),
    ]
    assert [event.data for event in given(source, *events)] == ["a", "b", "a"]
    assert (source._stats.id_conflicts, source._stats.duplicates) == (2, 2)
    assert len(given(source, *[block("", "a")] * 3, *[block(None, "a")] * 3)) == 6


@pytest.mark.parametrize(
    "items, cursor",
    [
        pytest.param([block("5", None)], "5", id="id-only"),
        pytest.param([HEARTBEAT], "5", id="heartbeat"),
        pytest.param([block("2")], "3", id="duplicate"),
        pytest.param([HEARTBEAT, block("2")], "3", id="heartbeat-in-a-replay"),
        pytest.param([block("", "x")], None, id="cleared"),
    ],
)
def test_which_id_is_in_force(items, cursor):
    """That of a duplicate is not: it would move the cursor back (P9, R37, X13)."""
    source = delivery()
    given(source, block("2"), block("3"))
    source.connected(2, resumed=True)
    given(source, *items)
    assert (source.cursor, source.last_event_id) == (cursor, cursor or "")


# What is for the consumer


@pytest.mark.parametrize(
    "options, told, figures",
    [
        pytest.param({}, ["1", "2"], (2, 2, 0), id="none"),
        pytest.param({"heartbeat_events": ()}, ["1", "5", "2", "5"], (4, 0, 0), id="no-heartbeats"),
        pytest.param({"heartbeat_events": {"message"}}, ["5", "2", "5"], (3, 1, 0), id="message-is-one"),
        pytest.param({"events": ["add"], "dedup": "always"}, ["2"], (1, 2, 1), id="types"),
        pytest.param({"events": ("message",)}, ["1"], (1, 2, 1), id="message"),
        pytest.param({"events": lambda event: event.event}, ["1", "2"], (2, 2, 0), id="function"),
        pytest.param({"events": {"heartbeat"}}, ["5", "5"], (2, 0, 2), id="heartbeats-wanted"),
    ],
)
def test_filters(options, told, figures):
    """Types, or a function of the event, choose; heartbeats are none of it, nor ever repeats (P17, R138, X13)."""
    source = delivery(**{"dedup": "off", **options})
    assert ids(given(source, block("1"), HEARTBEAT, block("2", "", "add"), HEARTBEAT)) == told
    stats = source._stats
    assert (stats.delivered, stats.heartbeats, stats.filtered) == figures


class Moody:
    """A function of the user's that raises once."""

    def __init__(self, answer):
        self.answer = answer
        self.raised = False

    def __call__(self, argument):
        if not self.raised:
            self.raised = True
            raise ZeroDivisionError
        return self.answer(argument) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"events": Moody(True)}, id="events"),
        pytest.param({"until": Moody(False)}, id="until"),
        pytest.param({"error_events": Moody(False)}, id="error-events"),
        pytest.param({"sequence": Moody(integers)}, id="sequence"),
        pytest.param({"until": "message", "total": Moody(0)}, id="total"),
    ],
)
def test_a_function_that_raises_loses_nothing(options):
    """The event stays at the head, uncounted, and comes when the consumer asks again (P18)."""
    source = delivery(**options)
    source.put(Comment("before"))
    source.put(block("1"))
    source.put(block("2"))
    assert source.take() == Comment("before")
    with pytest.raises(ZeroDivisionError):
        source.take()
    assert source._stats == StreamStats()
    assert (source.cursor, source.last_event_id, source.fresh, source.done) == (None, "", False, False)
    assert ids(taken(source)) == (["1"] if "total" in options else ["1", "2"])
    assert source._stats.duplicates == 0


# The end
