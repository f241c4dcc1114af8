from __future__ import annotations

import gc
import tracemalloc

import pytest

from resilient_sse._core.cursor import usable_as_cursor
from resilient_sse._core.delivery import Delivery
from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import State, integers
from resilient_sse._core.states import Reason
from resilient_sse._core.stats import StreamStats

CLOSED = Closed(reason=Reason.COMPLETE)


def intake(**options) -> Delivery:
    """Make an intake with its first connection open, which drops whatever it knows unless told otherwise."""
    made = Delivery(StreamOptions(**{"dedup": "always", **options}), StreamStats())
    made.connected(1, resumed=made.cursor is not None)
    return made


def numbered(**options) -> Delivery:
    """Make one that checks integer ids."""
    return intake(sequence=integers, **options)


def block(event_id: str | int | None = None, data: str | None = "", event: str = "") -> Block:
    """Make a block whose data tells its id, if none is given."""
    text = event_id if event_id is None else str(event_id)
    return Block(event=event, data=f"of {text}" if data == "" else data, id=text)


def taken(source: Delivery) -> list:
    """Take everything there is; the figures must agree at every step."""
    items = []
    while len(items) < 10_000:
        item = source.take()
        figures = source._stats
        assert figures.received == (
            figures.delivered + figures.duplicates + figures.heartbeats + figures.filtered
        )
        if item is None and not source.unfinished:
            return items
        if item is not None:
            items.append(item)
    raise AssertionError("there is no end of it")


def given(source: Delivery, *items) -> list:
    """Put *items* and take what comes of them."""
    for item in items:
        source.put(item)
    return taken(source)


def ids(items: list) -> list:
    """Show events by their ids and gaps as they are."""
    return [item.id if isinstance(item, ServerSentEvent) else item for item in items]


def reconnected(source: Delivery, connection: int = 2) -> None:
    """Replace the connection."""
    source.connected(connection, resumed=True)


def asks(source: Delivery) -> bool:
    """Tell whether the connection is to be replaced."""
    return source.sequence.state is State.ASKING


def hole(after: int, before: int) -> Gap:
    """Say what is missing between two numbers."""
    return Gap(kind="hole", after_id=str(after), before_id=str(before), missing=before - after - 1)


# What is delivered


def test_an_event_tells_all_its_block_said():
    """Type, data, own id, id in force, retry and connection reach the consumer."""
    source = intake()
    source.connected(3, resumed=True)
    (event,) = given(source, Block(event="add", data="a\nb", id="7", retry=100))
    assert event == ServerSentEvent(
        event="add", data="a\nb", id="7", last_event_id="7", retry=100, connection=3
    )


def test_an_event_without_a_type_is_a_message():
    """No type means message, as the standard has it."""
    (event,) = given(intake(), block("1"))
    assert event.event == "message"


def test_the_id_in_force_is_inherited_but_not_owned():
    """An event without an id field has none, but knows the one in force."""
    events = given(intake(), block("7", "a"), block(None, "b"))
    assert [(event.id, event.last_event_id) for event in events] == [("7", "7"), (None, "7")]


def test_a_block_without_data_delivers_nothing_but_its_id():
    """An id alone is put in force; a retry alone changes nothing (P9)."""
    source = intake()
    events = given(source, block("7", None), Block(retry=5), block(None, "b"))
    assert [event.last_event_id for event in events] == ["7"]
    assert source.cursor == "7"
    assert source._stats.received == 1


def test_everything_comes_in_the_order_of_the_wire():
    """Notices, comments and events keep their order (R35)."""
    opened = Opened(connection=1, status=200, headers={})
    lost = Disconnected(reason=Reason.EOF, attempt=1, delay=1.0)
    items = given(intake(), opened, Comment("c"), block("1"), Comment("d"), lost)
    assert [type(item) for item in items] == [
        Opened,
        Comment,
        ServerSentEvent,
        Comment,
        Disconnected,
    ]


def test_nothing_is_judged_before_it_is_asked_for():
    """Pulling is what counts an event: what the consumer never saw is not delivered."""
    source = intake()
    source.put(block("1"))
    source.put(block("2"))
    source.take()
    assert (source._stats.received, source.cursor) == (1, "1")


def test_a_flood_of_what_nobody_gets_is_judged_in_portions():
    """A long run of dropped items says that it is unfinished, so that the event loop stays alive."""
    source = intake()
    for _ in range(2000):
        source.put(block(None, "{}", "heartbeat"))
    source.put(block("1"))
    portions = 0
    while (event := source.take()) is None:
        assert source.unfinished
        portions += 1
        assert portions < 100
    assert portions > 1
    assert event.id == "1"
    assert source.take() is None
    assert not source.unfinished


# Duplicates


def test_an_inherited_id_is_never_a_duplicate():
    """`id:7 a / b / c / id:8 d` delivers four events."""
    events = given(intake(), block("7", "a"), block(None, "b"), block(None, "c"), block("8", "d"))
    assert [event.data for event in events] == ["a", "b", "c", "d"]


def test_events_without_ids_are_never_duplicates():
    """Equal contents without an id are as many events."""
    source = intake()
    assert len(given(source, *[block(None, "a")] * 5)) == 5
    assert source._stats.duplicates == 0


def test_a_repeated_event_is_dropped_and_counted():
    """The second delivery of an id never reaches the consumer (R14, R150, R175)."""
    source = intake()
    assert ids(given(source, block("1"), block("2"), block("1"), block("2"), block("3"))) == ["1", "2", "3"]
    assert (source._stats.duplicates, source._stats.delivered, source._stats.received) == (2, 3, 5)


def test_the_same_id_with_other_content_is_delivered_and_counted():
    """A server that uses an id twice loses nothing."""
    source = intake()
    events = given(source, block("1", "a"), block("1", "b"), block("1", "b"), block("1", "a", "add"))
    assert [event.data for event in events] == ["a", "b", "a"]
    assert (source._stats.id_conflicts, source._stats.duplicates) == (2, 1)


def test_a_type_that_is_spelt_out_is_the_same_type():
    """`event: message` and no event field are one type."""
    source = intake()
    assert len(given(source, block("1", "a"), block("1", "a", "message"))) == 1


def test_replays_that_overlap():
    """A server that replays five events too many on each of three reconnects costs no duplicate (R63)."""
    source = intake()
    delivered = given(source, *map(block, range(1, 21)))
    for connection in (2, 3, 4):
        reconnected(source, connection)
        high = int(source.cursor)
        delivered += given(source, *map(block, range(high - 4, high + 11)))
    assert [int(event.id) for event in delivered] == list(range(1, 51))
    assert source._stats.duplicates == 15


def test_a_duplicate_does_not_move_the_cursor_back():
    """A connection that is lost during an overlapping replay resumes where the stream had got to."""
    source = intake()
    given(source, block("1"), block("2"), block("3"))
    reconnected(source)
    given(source, block("2"))
    assert source.cursor == source.last_event_id == "3"


@pytest.mark.parametrize(
    "mode, resumed, connection, delivered",
    [
        pytest.param("always", False, 1, 1, id="always-first"),
        pytest.param("always", True, 1, 1, id="always-resumed"),
        pytest.param("always", True, 2, 1, id="always-reconnected"),
        pytest.param("replay", False, 1, 2, id="replay-first"),
        pytest.param("replay", True, 1, 1, id="replay-resumed"),
        pytest.param("replay", True, 2, 1, id="replay-reconnected"),
        pytest.param("replay", False, 2, 1, id="replay-reconnected-without-id"),
        pytest.param("off", False, 1, 2, id="off-first"),
        pytest.param("off", True, 2, 2, id="off-reconnected"),
    ],
)
def test_modes(mode, resumed, connection, delivered):
    """Duplicates are dropped always, on reconnected connections only, or never."""
    source = intake(dedup=mode)
    source.connected(connection, resumed=resumed)
    assert len(given(source, block("1"), block("1"))) == delivered
    assert source._stats.duplicates == 2 - delivered


def test_what_the_first_connection_brought_is_known_to_the_second():
    """In replay mode the window is filled from the start, and used after the reconnect."""
    source = intake(dedup="replay")
    assert len(given(source, block("1"), block("1"), block("2"))) == 3
    reconnected(source)
    assert ids(given(source, block("2"), block("3"))) == ["3"]


def test_the_window_is_bounded():
    """An event that has left the window is new again (X17)."""
    source = intake(dedup_window=2)
    assert ids(given(source, block("1"), block("2"), block("3"), block("1"), block("1"))) == list("1231")


def test_a_stored_id_is_not_delivered_again():
    """A server that replays inclusively, from the stored id itself, causes no repeat."""
    source = intake(last_event_id="7")
    assert ids(given(source, block("7"), block("8"))) == ["8"]
    assert source._stats.duplicates == 1


@pytest.mark.parametrize("make", [intake, numbered], ids=["opaque", "numbered"])
def test_a_stored_id_is_not_delivered_by_a_later_replay_either(make):
    """It is in the window from the start, and stays there like any other."""
    source = make(last_event_id="7")
    items = given(source, block("8"))
    reconnected(source)
    items += given(source, block("7"), block("8"), block("9"))
    assert ids(items) == ["8", "9"]


@pytest.mark.parametrize("mode", ["always", "replay"])
def test_a_position_that_is_loaded_later_is_not_delivered_again(mode):
    """A checkpoint counts as the given id does, and replaces it."""
    source = intake(last_event_id="3", dedup=mode)
    source.resume_from("7")
    source.connected(1, resumed=True)
    assert source.cursor == "7"
    assert ids(given(source, block("7", "whatever"), block("8"))) == ["8"]


def test_a_cleared_position_resumes_nowhere():
    """An empty stored id means that there is none."""
    source = intake()
    source.resume_from("")
    assert (source.cursor, source.last_event_id) == (None, "")


# Heartbeats


def test_heartbeats_are_not_delivered():
    """They count as heartbeats, and never as data (X13, R138)."""
    source = intake()
    assert ids(given(source, block("1"), block(None, "{}", "heartbeat"), block("2"))) == ["1", "2"]
    figures = source._stats
    assert (figures.received, figures.delivered, figures.heartbeats) == (3, 2, 1)


def test_heartbeats_are_never_duplicates():
    """The same heartbeat ten times is ten heartbeats, and its id is free for data (X13)."""
    source = intake()
    assert ids(given(source, *[block("5", "{}", "heartbeat")] * 10, block("5"))) == ["5"]
    figures = source._stats
    assert (figures.heartbeats, figures.duplicates, figures.id_conflicts) == (10, 0, 0)


def test_heartbeats_move_the_id():
    """The id of a heartbeat is one to resume from (X13)."""
    source = intake()
    given(source, block("5", "{}", "heartbeat"))
    assert source.cursor == source.last_event_id == "5"


def test_a_replayed_heartbeat_does_not_move_the_cursor_back():
    """After a replay that began too early, the id to resume from is that of the last delivered event (R37)."""
    source = intake()
    given(source, block("a", "{}", "heartbeat"), block("b"))
    reconnected(source)
    assert given(source, block("a", "{}", "heartbeat"), block("b")) == []
    assert source.cursor == source.last_event_id == "b"


def test_heartbeats_may_be_delivered():
    """`heartbeat_events=()` delivers all (X13)."""
    source = intake(heartbeat_events=())
    (event,) = given(source, block("5", "{}", "heartbeat"))
    assert event.event == "heartbeat"
    assert source._stats.heartbeats == 0


def test_heartbeats_by_other_names():
    """The types are a setting; message can be one (R138)."""
    source = intake(heartbeat_events=frozenset({"ping", "message"}))
    assert ids(given(source, block("1"), block("2", "", "ping"), block("3", "", "heartbeat"))) == ["3"]
    assert source._stats.heartbeats == 2


def test_heartbeats_are_part_of_the_numbering():
    """Their numbers leave no holes, and missing ones do (X13)."""
    source = numbered()
    items = given(source, block(1), block(2, "{}", "heartbeat"), block(3), block(5, "{}", "heartbeat"))
    assert ids(items) == ["1", "3"]
    assert asks(source)


# Filters


@pytest.mark.parametrize(
    "events", [["add", "drop"], {"add", "drop"}, lambda event: event.event != "message"], ids=type
)
def test_filters(events):
    """A collection of types, or a function of the event, chooses what is delivered (P17, R199)."""
    source = intake(events=events)
    assert ids(given(source, block("1", "a", "add"), block("2"), block("3", "a", "drop"))) == ["1", "3"]
    figures = source._stats
    assert (figures.received, figures.delivered, figures.filtered) == (3, 2, 1)


def test_message_is_a_type_like_others():
    """An event without a type passes a filter for message."""
    assert len(given(intake(events=("message",)), block("1"), block("2", "", "add"))) == 1


def test_filtered_events_advance_the_position():
    """The resume id is the last seen, not the last delivered (P17)."""
    source = numbered(events=lambda event: int(event.id) % 10 == 0)
    assert ids(given(source, *map(block, range(1, 96)))) == [str(n) for n in range(10, 91, 10)]
    assert source.cursor == "95"
    assert source._stats.filtered == 86


def test_filtered_events_are_remembered():
    """A filtered event that is replayed is a duplicate, and not filtered twice."""
    source = intake(events=["add"])
    given(source, block("1"), block("1"))
    assert (source._stats.filtered, source._stats.duplicates) == (1, 1)


def test_a_filter_does_not_see_what_is_not_for_it():
    """Duplicates, heartbeats and blocks without data are decided before."""
    asked = []
    source = intake(events=lambda event: asked.append(event.id) or True)
    given(source, block("1"), block("1"), block("2", "{}", "heartbeat"), block("3", None))
    assert asked == ["1"]


# Functions that raise


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
        pytest.param({"sequence": Moody(integers)}, id="sequence"),
    ],
)
def test_a_function_that_raises_loses_nothing(options):
    """The event stays at the head, uncounted, and comes when the consumer asks again."""
    source = intake(**options)
    source.put(Comment("before"))
    source.put(block("1"))
    source.put(block("2"))
    assert source.take() == Comment("before")
    with pytest.raises(ZeroDivisionError):
        source.take()
    assert source._stats == StreamStats()
    assert (source.cursor, source.last_event_id, source.fresh, source.done) == (None, "", False, False)
    assert ids(taken(source)) == ["1", "2"]
    assert source._stats.duplicates == 0


# The end


@pytest.mark.parametrize("until", ["done", lambda event: event.data == "[DONE]"], ids=["type", "function"])
def test_until(until):
    """The event that matches is delivered, and nothing behind it is judged (P19)."""
    source = intake(until=until)
    items = given(source, block("1"), block("2", "[DONE]", "done"), block("3"), Comment("late"))
    assert ids(items) == ["1", "2"]
    assert source.done
    assert source._stats.received == 2
    source.end(CLOSED)
    assert taken(source) == [CLOSED]


def test_until_asks_whether_it_is_true():
    """A function may answer with anything that is true or false."""
    assert given(intake(until=lambda event: None), block("1"), block("2"))[1].id == "2"
    source = intake(until=lambda event: "yes")
    assert ids(given(source, block("1"), block("2"))) == ["1"]


def test_until_without_an_end():
    """Without `until` no event ends the stream."""
    source = intake()
    given(source, block("1", "", "done"))
    assert not source.done


def test_the_end_passes_every_filter():
    """The event that `until` matches is delivered, wanted or not, and then the stream is at its end (P19)."""
    source = intake(until="done", events=["add"])
    assert ids(given(source, block("1"), block("2", "", "done"), block("3", "", "add"))) == ["2"]
    assert source.done
    assert (source._stats.delivered, source._stats.filtered) == (1, 1)


def test_nothing_comes_behind_the_end():
    """What is held back for healing came before the event that ended the stream and is given out first (R8)."""
    source = numbered(until="done")
    items = given(source, block(1), block(3))
    reconnected(source)
    items += given(source, block(None, "", "done"))
    source.end(CLOSED)
    assert ids(items + taken(source)) == ["1", hole(1, 3), "3", None, CLOSED]


@pytest.mark.parametrize("replayed", [2, 4])
def test_what_was_held_behind_the_end_is_not_delivered_before_it(replayed):
    """An end with a number stands in its place; what the server sent after it counts no more (R8)."""
    source = numbered(until="done")
    items = given(source, block(1), block(3), block(4, "", "done"), block(5))
    reconnected(source)
    items += given(source, block(replayed, "of 2" if replayed == 2 else "", "" if replayed == 2 else "done"))
    assert ids(items) == ["1", hole(1, 3) if replayed == 4 else "2", "3", "4"]
    assert source.done


def test_an_end_without_a_number_keeps_its_place_among_the_held():
    """It came behind the block before it, and what follows that in the numbering came after the end (R8)."""
    source = numbered(until="done")
    items = given(source, block(1), block(3), block(None, "", "done"), block(4))
    reconnected(source)
    assert ids(items + given(source, block(2))) == ["1", "2", "3", None]


def test_an_end_without_until_keeps_what_is_queued():
    """What came before the end is still delivered (R25)."""
    source = intake()
    source.put(block("1"))
    source.end(CLOSED)
    assert ids(taken(source)) == ["1", CLOSED]


def test_an_end_while_healing_gives_out_what_was_held():
    """No replay will come: the hole is reported and what was held is delivered (R8, R16)."""
    source = numbered()
    items = given(source, block(1), block(4), block(5))
    source.end(CLOSED)
    assert ids(items + taken(source)) == ["1", hole(1, 4), "4", "5", CLOSED]


def test_an_end_that_discards():
    """A stream that is closed by its owner gives out nothing more, and counts nothing more."""
    source = numbered()
    given(source, block(1), block(4))
    source.put(Comment("x"))
    source.end(CLOSED, discard=True)
    assert taken(source) == [CLOSED]
    assert (source._stats.received, source._stats.gaps) == (1, 0)


# Ids that cannot be sent


@pytest.mark.parametrize(
    "event_id",
    [
        pytest.param("a\tb", id="tab"),
        pytest.param("a\x1bb", id="escape"),
        pytest.param("a\x7fb", id="delete"),
        pytest.param("\x00", id="nul"),
        pytest.param("a\rb", id="cr"),
        pytest.param("a\nb", id="lf"),
        pytest.param("a\n", id="lf-at-the-end"),
        pytest.param(" a", id="space-in-front"),
        pytest.param("a ", id="space-behind"),
        pytest.param(" ", id="space"),
        pytest.param("x" * 4097, id="4097-bytes"),
        pytest.param("é" * 2049, id="4098-bytes"),
        pytest.param("a\ud800", id="surrogate"),
    ],
)
def test_an_id_that_no_header_can_carry(event_id):
    """It is delivered and in force, but the last good one stays the one to resume from; it is counted (P7)."""
    assert not usable_as_cursor(event_id)
    source = intake()
    events = given(source, block("7"), block(event_id, "a"), block(None, "b"))
    assert [event.last_event_id for event in events] == ["7", event_id, event_id]
    assert (source.cursor, source.last_event_id) == ("7", event_id)
    assert source._stats.unusable_ids == 1
    given(source, block("8"))
    assert source.cursor == "8"


@pytest.mark.parametrize(
    "event_id",
    ["0", "-1", "a b", "a  b", "é😀\u2028", "x" * 4096, "é" * 2048, "😀" * 1024, "\u00a0", "\x80", '"\\,;'],
    ids=ascii,
)
def test_an_id_that_a_header_can_carry(event_id):
    """Whatever UTF-8 can say without control characters resumes (P7)."""
    assert usable_as_cursor(event_id)
    source = intake()
    given(source, block(event_id, "a"))
    assert source.cursor == event_id
    assert source._stats.unusable_ids == 0


def test_an_empty_id_is_not_usable():
    """Nothing resumes from nothing."""
    assert not usable_as_cursor("")


def test_an_id_that_cannot_be_sent_is_still_known():
    """A duplicate is one whatever its id looks like."""
    source = intake()
    assert len(given(source, block("a\tb"), block("a\tb"))) == 1


def test_an_empty_id_clears():
    """After `id:` alone there is no id to resume from, and later events inherit none (P8, R175)."""
    source = intake()
    events = given(source, block("7"), block("", "b"), block(None, "c"))
    assert [(event.id, event.last_event_id) for event in events] == [("7", "7"), ("", ""), (None, "")]
    assert (source.cursor, source.last_event_id) == (None, "")
    assert source._stats.unusable_ids == 0


def test_events_that_clear_the_id_are_never_duplicates():
    """An empty id identifies nothing."""
    assert len(given(intake(), *[block("", "a")] * 3)) == 3


# Whether a connection has proved itself


@pytest.mark.parametrize(
    "item, fresh",
    [
        pytest.param(block("2"), True, id="new-event"),
        pytest.param(block(None, "x"), True, id="event-without-id"),
        pytest.param(block("1", "other"), True, id="conflict"),
        pytest.param(block("1"), False, id="duplicate"),
        pytest.param(block("2", "{}", "heartbeat"), False, id="heartbeat"),
        pytest.param(block("2", None), False, id="id-only"),
        pytest.param(Comment(""), False, id="comment"),
    ],
)
def test_what_is_new(item, fresh):
    """Only an event that was not there before shows that a connection is worth something (R163)."""
    source = intake()
    given(source, block("1"))
    reconnected(source)
    assert not source.fresh
    given(source, item)
    assert source.fresh is fresh


# Gaps that others report


def test_reported_gaps_are_counted():
    """Each gap the consumer is told counts, with what is known to be missing."""
    source = intake()
    gaps = [Gap(kind="unresumable", after_id="7"), Gap(kind="unresumable", missing=3)]
    assert given(source, *gaps) == gaps
    assert (source._stats.gaps, source._stats.lost) == (2, 3)


# Numbered streams: holes


def test_contiguous_numbers():
    """Numbers that count up by one need no healing (R35, R36)."""
    source = numbered()
    assert ids(given(source, *map(block, range(5, 55)))) == [str(n) for n in range(5, 55)]
    assert not asks(source)
    assert (source._stats.gaps, source._stats.lost) == (0, 0)


def test_without_a_sequence_ids_are_opaque():
    """By default numbers mean nothing (X14)."""
    source = intake()
    assert ids(given(source, block(1), block(9), block(3))) == ["1", "9", "3"]
    assert source.sequence is None


def test_events_without_a_number_take_no_part():
    """No id, an opaque one, and an empty one neither fill nor show a hole."""
    source = numbered()
    items = given(source, block(1), block(None, "x"), block("opaque"), block("", "y"), block(2))
    assert ids(items) == ["1", None, "opaque", "", "2"]
    assert not asks(source)


def test_a_hole_is_held_back():
    """The event that shows a hole and those behind it wait, uncounted, for the replay (P22)."""
    source = numbered()
    assert ids(given(source, block(1), block(2), block(4), block(5))) == ["1", "2"]
    assert asks(source)
    assert source.cursor == "2"
    assert source._stats.received == 2
    assert ids(given(source, block(6))) == []


def test_a_hole_is_healed_by_a_replay():
    """What the replay brings is delivered in order, once; there was no loss (R34, R36, R37, P22)."""
    source = numbered()
    items = given(source, *map(block, range(1, 7)), block(9), block(10))
    reconnected(source)
    assert not asks(source)
    items += given(source, *map(block, range(7, 12)))
    assert ids(items) == [str(n) for n in range(1, 12)]
    assert (source._stats.gaps, source._stats.lost, source._stats.duplicates) == (0, 0, 0)


def test_a_healing_replay_may_overlap():
    """A replay that begins too early heals all the same (R63)."""
    source = numbered()
    items = given(source, block(1), block(2), block(4))
    reconnected(source)
    items += given(source, block(1), block(2), block(3), block(4))
    assert ids(items) == ["1", "2", "3", "4"]
    assert (source._stats.duplicates, source._stats.gaps) == (2, 0)


def test_a_replay_that_is_cut_is_resumed():
    """A connection that is lost in the middle of the replay loses nothing of it."""
    source = numbered()
    items = given(source, block(1), block(5))
    reconnected(source)
    items += given(source, block(2))
    assert source.cursor == "2"
    reconnected(source, 3)
    items += given(source, block(3), block(4), block(5))
    assert ids(items) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "nothing",
    [(), (Comment(""),), (block(1),), (block(None, "x"),)],
    ids=["empty", "comment", "old", "opaque"],
)
def test_healing_goes_on_over_connections_without_numbers(nothing):
    """A connection that says nothing about the hole decides nothing about it."""
    source = numbered()
    given(source, block(1), block(3))
    reconnected(source)
    given(source, *nothing)
    assert not asks(source)
    reconnected(source, 3)
    assert ids(given(source, block(2), block(3))) == ["2", "3"]
    assert source._stats.gaps == 0


def test_a_hole_that_is_not_replayed_is_one_gap():
    """It is reported once, with what is missing, before the held events, and the stream goes on (P22, R104)."""
    source = numbered()
    items = given(source, *map(block, range(1, 7)), block(9), block(10))
    reconnected(source)
    items += given(source, block(9), block(10), block(11))
    assert ids(items) == [*"123456", hole(6, 9), "9", "10", "11"]
    assert (source._stats.gaps, source._stats.lost) == (1, 2)
    assert not asks(source)


def test_a_hole_is_asked_for_once():
    """One reconnect that does not help is enough: a hole costs no second one."""
    source = numbered()
    given(source, block(1), block(3))
    reconnected(source)
    assert ids(given(source, block(4))) == [hole(1, 3), "3", "4"]
    assert not asks(source)


def test_the_stream_may_have_gone_on_meanwhile():
    """A server that only knows the present leaves another hole behind what was held, and both are reported."""
    source = numbered()
    items = given(source, block(1), block(3))
    reconnected(source)
    items += given(source, block(6), block(7))
    assert ids(items) == ["1", hole(1, 3), "3", hole(3, 6), "6", "7"]
    assert source._stats.lost == 3


def test_two_holes_are_healed_at_once():
    """One replay fills both."""
    source = numbered()
    items = given(source, block(1), block(3), block(5))
    reconnected(source)
    items += given(source, *map(block, range(2, 7)))
    assert ids(items) == list("123456")


def test_two_holes_that_are_not_replayed_are_two_gaps():
    """Each is reported in its place, after one reconnect for both."""
    source = numbered()
    items = given(source, block(1), block(3), block(6))
    reconnected(source)
    items += given(source, block(3), block(6))
    assert ids(items) == ["1", hole(1, 3), "3", hole(3, 6), "6"]
    assert (source._stats.gaps, source._stats.lost) == (2, 3)
    assert not asks(source)


def test_a_hole_behind_a_healed_one_is_asked_for_in_turn():
    """Each new hole has its own chance."""
    source = numbered()
    items = given(source, block(1), block(3))
    reconnected(source)
    items += given(source, block(2), block(3), block(5))
    assert asks(source)
    reconnected(source, 3)
    items += given(source, block(4), block(5))
    assert ids(items) == list("12345")


def test_a_hole_behind_a_reported_one_is_asked_for_in_turn():
    """The patience for what was held ends with it."""
    source = numbered()
    given(source, block(1), block(3))
    reconnected(source)
    given(source, block(4))
    assert ids(given(source, block(6))) == []
    assert asks(source)


def test_a_replay_that_begins_inside_the_hole():
    """A server that has kept a part replays it: only the rest is lost, nothing comes twice, order holds (R35)."""
    source = numbered()
    items = given(source, block(1), block(5), block(6))
    reconnected(source)
    items += given(source, *map(block, range(3, 8)))
    assert ids(items) == ["1", hole(1, 3), "3", "4", "5", "6", "7"]
    assert (source._stats.gaps, source._stats.lost) == (1, 1)


def test_a_hole_at_the_first_event_of_a_connection():
    """A reconnect that continues too late is asked again, once (R37)."""
    source = numbered()
    items = given(source, block(1), block(2))
    reconnected(source)
    items += given(source, block(5))
    assert asks(source)
    reconnected(source, 3)
    items += given(source, block(5))
    assert ids(items) == ["1", "2", hole(2, 5), "5"]


def test_a_hole_behind_the_stored_id():
    """A stored number is the last contiguous one: a stream that starts later has a hole (R37, R48)."""
    source = numbered(last_event_id="19")
    assert given(source, block(22)) == []
    assert asks(source)
    reconnected(source)
    assert ids(given(source, block(20), block(21), block(22))) == ["20", "21", "22"]


def test_a_stored_number_that_is_continued():
    """20 follows 19, also for a position that was loaded later (R48)."""
    source = numbered(last_event_id="19")
    assert ids(given(source, block(20))) == ["20"]
    source = numbered()
    source.resume_from("-1")
    assert ids(given(source, block(0), block(1))) == ["0", "1"]


def test_a_held_event_tells_the_connection_it_came_over():
    """What was held back came over the old connection, and says so."""
    source = numbered()
    given(source, block(1), block(3))
    reconnected(source)
    events = [item for item in given(source, block(4)) if isinstance(item, ServerSentEvent)]
    assert [(event.id, event.connection) for event in events] == [("3", 1), ("4", 2)]


def test_releasing_what_is_held():
    """If there is no other connection, the hole is reported and what was held is delivered."""
    source = numbered()
    given(source, block(1), block(3), block(4))
    source.sequence.release()
    assert ids(taken(source)) == [hole(1, 3), "3", "4"]
    assert not asks(source)


def test_a_released_hole_does_not_excuse_later_ones():
    """Once what was held is out, the next hole is asked for as usual."""
    source = numbered()
    given(source, block(1), block(3))
    source.sequence.release()
    taken(source)
    reconnected(source)
    given(source, block(5))
    assert asks(source)


def test_gaps_by_another_numbering():
    """Any function of the id serves; ids in the gap are those of the wire."""
    source = intake(sequence=lambda event_id: int(event_id.rpartition("-")[2]))
    given(source, block("a-1"), block("a-4"))
    reconnected(source)
    items = given(source, block("b-4"))
    assert items[0] == Gap(kind="hole", after_id="a-1", before_id="a-4", missing=2)


def test_healing_lasts_until_the_server_shows_where_it_continues():
    """From the moment the connection is replaced to its first number ahead or in its place."""
    source = numbered()
    given(source, block(1), block(3))
    assert source.sequence.state is State.ASKING
    reconnected(source)
    assert source.sequence.state is State.HEALING
    given(source, block(1))
    assert source.sequence.state is State.HEALING
    given(source, block(2))
    assert source.sequence.state is State.FOLLOWING


def test_what_the_replay_does_not_reach_is_still_held():
    """A replay that is cut before it comes to what was held leaves that for later, in its place."""
    source = numbered()
    items = given(source, block(1), block(5))
    reconnected(source)
    items += given(source, block(2), block(3))
    reconnected(source, 3)
    items += given(source, block(4))
    assert ids(items) == ["1", "2", "3", "4", "5"]
    assert source._stats.gaps == 0


def test_what_comes_behind_the_held_stays_behind_it():
    """Of a large read, more follows what was held already: its events without an id overtake nothing (R35)."""
    source = numbered()
    items = given(source, block(1), block(3))
    for item in (block(None, "x"), block(4)):
        source.put(item)
    source.sequence.hold()
    reconnected(source)
    assert ids(items + given(source, block(2))) == ["1", "2", "3", None, "4"]


def test_late_numbers_of_a_reported_hole():
    """What was reported as lost and comes with a later replay is no new numbering: nothing comes twice (R63)."""
    source = numbered()
    items = given(source, block(1), block(3))
    reconnected(source)
    items += given(source, block(3), block(4))
    reconnected(source, 3)
    items += given(source, *map(block, range(1, 6)))
    assert [item.kind for item in items if isinstance(item, Gap)] == ["hole"]
    assert [item.id for item in items if isinstance(item, ServerSentEvent)] == ["1", "3", "4", "5"]


# Numbered streams: the same numbers again


def test_replayed_numbers_are_no_reset():
    """An overlapping replay of a numbered stream is dropped, without gap or notice (R63)."""
    source = numbered()
    items = given(source, *map(block, range(1, 21)))
    reconnected(source)
    items += given(source, *map(block, range(16, 26)))
    assert ids(items) == [str(n) for n in range(1, 26)]
    assert (source._stats.duplicates, source._stats.gaps) == (5, 0)


def test_a_numbering_that_falls_back():
    """From 500 to 1: one reset notice, and no event is suppressed (P23, R40)."""
    source = numbered()
    given(source, *[block(n, f"old {n}") for n in range(491, 501)])
    reconnected(source)
    items = given(source, *[block(n, f"new {n}") for n in range(1, 600)])
    assert items[0] == Gap(kind="reset", after_id="500", before_id="1")
    assert [int(item.id) for item in items[1:]] == list(range(1, 600))
    assert (source._stats.gaps, source._stats.lost, source._stats.duplicates) == (1, 0, 0)
    assert source.cursor == "599"


def test_a_numbering_that_falls_back_within_the_window():
    """Numbers that are known with other content are events of a new numbering (P23)."""
    source = numbered()
    given(source, *[block(n, f"old {n}") for n in range(1, 6)])
    reconnected(source)
    items = given(source, *[block(n, f"new {n}") for n in range(1, 8)])
    assert ids(items) == [Gap(kind="reset", after_id="5", before_id="1"), *"1234567"]
    assert source._stats.duplicates == 0


def test_a_new_numbering_that_begins_at_the_last_number():
    """From 1 to another 1, or 5 to another 5: on a new connection that is no id used twice (P23, R40)."""
    for last in (1, 5):
        source = numbered()
        given(source, *[block(n, "old") for n in range(1, last + 1)])
        reconnected(source)
        items = given(source, block(last, "new"), block(last + 1, "new"))
        gap = Gap(kind="reset", after_id=str(last), before_id=str(last))
        assert ids(items) == [gap, str(last), str(last + 1)]


def test_what_was_held_came_over_the_connection_before():
    """The last number came up from what was held: for the new connection, the same number is its first (P23)."""
    source = numbered()
    given(source, block(1), block(3))
    reconnected(source)
    source.sequence.release()
    assert ids(taken(source)) == [hole(1, 3), "3"]
    assert ids(given(source, block(3, "new"))) == [Gap(kind="reset", after_id="3", before_id="3"), "3"]


def test_a_new_numbering_that_begins_inside_a_reported_hole():
    """A number that was reported lost tells nothing; with what tells it, it belongs to the new numbering (P23)."""
    source = numbered()
    given(source, block(4), block(7))
    reconnected(source)
    assert ids(given(source, block(7))) == [hole(4, 7), "7"]
    reconnected(source, 3)
    items = given(source, block(6, "new"), block(7, "new"), block(8, "new"))
    assert ids(items) == [Gap(kind="reset", after_id="7", before_id="6"), "6", "7", "8"]
    reconnected(source, 4)
    assert given(source, block(6, "new")) == []
    source.sequence.settle()  # the connection ends: what was repeated alone is no further numbering
    assert taken(source) == []


@pytest.mark.parametrize("first, last", [(1, 99), (100, 1)], ids=["late", "older"])
def test_a_long_replay_is_not_kept(first, last):
    """What is kept apart is bounded by the window, and all of it counts as repeated when it shows to be (X17)."""
    source = numbered(dedup_window=10)
    given(source, block(first), block(100))
    reconnected(source)
    given(source, block(100))
    reconnected(source, 3)
    assert given(source, *map(block, range(2, 100))) == []
    assert len(source.sequence._apart) == 10
    assert ids(given(source, block(100), block(101))) == ["101"]
    assert source._stats.duplicates == 1 + 98 + 1 + (first == last + 99)


@pytest.mark.parametrize("ends", [True, False])
def test_a_long_new_numbering_is_asked_for_again(ends):
    """Of what was kept apart only the beginning is there; the rest is no loss, but a hole that is healed (P23)."""
    source = numbered(dedup_window=10)
    given(source, block(100, "old"))
    reconnected(source)
    items = given(source, *[block(n, "new") for n in range(1, 100 if ends else 101)])
    if ends:
        source.sequence.settle()
    items += taken(source)
    assert ids(items) == [Gap(kind="reset", after_id="100", before_id="1"), *map(str, range(1, 11))]
    assert (source.cursor, asks(source)) == ("10", not ends)
    reconnected(source, 3)
    items = given(source, *[block(n, "new") for n in range(11, 103)])
    assert ids(items) == [str(n) for n in range(11, 103)]
    assert source._stats.lost == 0


@pytest.mark.parametrize("behind", [block(8), block(9), block(None), block(8, None)], ids=str)
def test_a_late_number_is_dropped_when_the_stream_goes_on(behind):
    """What was reported lost and comes late is told from a new numbering by what follows it (P23, R63)."""
    source = numbered()
    given(source, block(4), block(7))
    reconnected(source)
    given(source, block(7))
    reconnected(source, 3)
    items = given(source, block(6), behind)
    assert ids(items) == ([behind.id] if behind.data and behind.id != "9" else [])
    assert (source._stats.duplicates, source._stats.gaps, asks(source)) == (2, 1, behind.id == "9")


@pytest.mark.parametrize("echo", [block(1, "{}", "heartbeat"), block(1, None)], ids=["heartbeat", "id-only"])
def test_a_heartbeat_with_the_last_id_hides_no_new_numbering(echo):
    """It has brought the last number, and still the first event that bears it may be of a new numbering (P23)."""
    source = numbered()
    given(source, block(1))
    reconnected(source)
    items = given(source, echo, block(1, "new"), block(2, "new"))
    assert ids(items) == [Gap(kind="reset", after_id="1", before_id="1"), "1", "2"]


def test_an_id_used_twice_is_no_new_numbering():
    """On one connection, or behind an inclusive replay, another event with the last id is just that."""
    source = numbered()
    given(source, block(1), block(2), block(2, "said again"))
    reconnected(source)
    assert ids(given(source, block(2), block(2, "a third"), block(3))) == ["2", "3"]
    assert source._stats.gaps == 0


def test_a_new_numbering_suppresses_nothing():
    """An id that the old numbering used twice is known to the window, too, which starts anew as well (P23)."""
    source = numbered()
    given(source, *[block(n, "old") for n in (1, 2, 3)], block(3, "said again"))
    reconnected(source)
    items = given(source, block(1, "new"), block(2, "new"), block(3, "said again"))
    assert ids(items) == [Gap(kind="reset", after_id="3", before_id="1"), *"123"]
    assert source._stats.duplicates == 0


def test_each_block_is_numbered_once():
    """The caller's function is asked once for each block, whatever becomes of it."""
    asked = []

    def number(event_id):
        asked.append(event_id)
        return int(event_id)

    source = intake(sequence=number)
    given(source, block(1), block(2), block(2, "said again"), block(2), block(1), block(3, None))
    assert asked == ["1", "2", "2", "2", "1", "3"]


def test_a_numbering_that_falls_back_on_an_open_connection():
    """A server behind a proxy may restart without the connection noticing (P23)."""
    source = numbered()
    items = given(source, block(500, "old"), block(1, "new"), block(2, "new"))
    assert ids(items) == ["500", Gap(kind="reset", after_id="500", before_id="1"), "1", "2"]


def test_a_numbering_that_falls_back_twice():
    """Each restart is one notice."""
    source = numbered()
    items = given(source, block(9, "a"), block(1, "b"), block(2, "b"), block(1, "c"), block(2, "c"))
    assert [item.before_id for item in items if isinstance(item, Gap)] == ["1", "1"]
    assert len(items) == 7


def test_a_numbering_that_falls_back_into_a_reported_hole():
    """On the connection that showed the hole, numbers in it are no late replay but a new numbering (P23)."""
    source = numbered()
    given(source, block(1, "old"), block(5, "old"))
    reconnected(source)
    items = given(source, block(5, "old"), block(6, "old"), block(3, "new"), block(4, "new"))
    assert ids(items) == [hole(1, 5), "5", "6", Gap(kind="reset", after_id="6", before_id="3"), "3", "4"]


def test_holes_of_a_new_numbering_are_asked_for():
    """However high the old numbering was, and whatever was asked for in it (P22, P23)."""
    source = numbered()
    given(source, block(500), block(503))
    reconnected(source)
    items = given(source, block(503), block(1, "new"), block(3, "new"))
    assert ids(items) == [hole(500, 503), "503", Gap(kind="reset", after_id="503", before_id="1"), "1"]
    assert asks(source)


@pytest.mark.parametrize("dedup, told", [("always", 0), ("off", 1)])
def test_a_heartbeat_tells_no_replay_from_a_new_numbering(dedup, told):
    """What is older than the first event waits for an event to tell; without dedup nothing waits (3.6)."""
    source = numbered(dedup=dedup)
    given(source, block(100))
    reconnected(source)
    items = given(source, block(98), block(None, "{}", "heartbeat"), block(99))
    assert [item.kind for item in items if isinstance(item, Gap)] == ["reset"] * told


def test_what_leaves_numbers_out_is_no_replay():
    """A replay of what is older goes on number by number; anything else begins anew (P23)."""
    source = numbered()
    given(source, block(100))
    reconnected(source)
    items = given(source, block(97), block(99))
    assert ids(items) == [Gap(kind="reset", after_id="100", before_id="97"), "97"]
    assert asks(source)


def test_the_new_numbering_may_start_anywhere():
    """The first number after a restart is not held against the old ones."""
    source = numbered()
    items = given(source, block(500, "old"), block(40, "new"), block(41, "new"))
    assert ids(items) == ["500", Gap(kind="reset", after_id="500", before_id="40"), "40", "41"]
    given(source, block(43, "new"))
    assert asks(source)


def test_a_numbering_that_falls_back_while_healing():
    """The restarted server cannot fill the hole: it is reported, then the held events, then the reset."""
    source = numbered()
    items = given(source, block(5, "old"), block(8, "old"))
    reconnected(source)
    items += given(source, block(1, "new"), block(2, "new"))
    source.sequence.settle()
    items += taken(source)
    assert ids(items) == ["5", hole(5, 8), "8", Gap(kind="reset", after_id="8", before_id="1"), "1", "2"]


def test_a_heartbeat_behind_is_no_reset():
    """A heartbeat or an id alone does not tell a replay from a restart; the next event does (X13)."""
    source = numbered()
    given(source, block(5, "old"))
    reconnected(source)
    assert given(source, block(1, "{}", "heartbeat"), block(1, None)) == []
    assert source.cursor == "5"
    assert given(source, block(2, "new")) == []
    source.sequence.settle()  # the connection ends, or holds, without a number that is known
    assert ids(taken(source)) == [Gap(kind="reset", after_id="5", before_id="2"), "2"]


def test_the_last_number_with_other_content_is_a_conflict():
    """An id that is used twice in a row has not fallen back: both are delivered, and it is counted."""
    source = numbered()
    items = given(source, block(5, "a"), block(5, "b"), block(6))
    assert ids(items) == ["5", "5", "6"]
    assert (source._stats.id_conflicts, source._stats.gaps) == (1, 0)
    reconnected(source)
    assert given(source, block(5, "a"), block(5, "b"), block(6)) == []
    assert (source._stats.duplicates, source._stats.gaps) == (3, 0)


def test_a_numbered_stream_without_deduplication():
    """Replays are delivered again if the caller wants them, and are still no reset."""
    source = numbered(dedup="off")
    items = given(source, block(1), block(2))
    reconnected(source)
    items += given(source, block(1), block(2), block(3))
    assert ids(items) == ["1", "2", "1", "2", "3"]
    assert source._stats.gaps == 0
    assert source.cursor == "3"


def test_a_numbered_stream_needs_little_memory():
    """Integer ids are known by a high-water mark, without a set of ids: 12 KB are enough (X17, R209)."""
    source = numbered()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(3000):
            source.put(block(number, "x" * 100))
            source.take()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 12_000


def test_events_that_inherit_an_id_may_say_the_same():
    """Without an id of its own no event is a repeat, even if its data and the id in force are (F3, R150)."""
    source = intake()
    items = given(source, block("7", "tick"), block(None, "tick"), block(None, "tick"), block("8", "tick"))
    assert [item.data for item in items] == ["tick"] * 4


# What was sent


def declared(**options) -> Delivery:
    """Make an intake that reads a total from the completing event."""
    return intake(until="done", total=lambda event: int(event.data), **options)


def test_a_declared_total():
    """The completing event says how many came before it (R93, X12)."""
    source = declared()
    given(source, *map(block, range(1, 10)))
    assert source._stats.completion is None
    given(source, block(10, "10", "done"))
    assert (source._stats.declared_total, source._stats.completion) == (10, 90.0)


def test_no_total_for_a_part():
    """Behind a given or stored id only a part of the stream is seen, and the total says nothing of it (X12)."""
    source = declared(last_event_id="5")
    given(source, *map(block, range(6, 10)), block(10, "9", "done"))
    assert source._stats.declared_total is None
    assert source._stats.completion is None


def test_a_total_that_cannot_be_read():
    """What the caller's function raises is raised, and the event stays to be delivered (P18)."""
    totals = iter([ValueError("no total"), 1])

    def total(event):
        found = next(totals)
        if isinstance(found, Exception):
            raise found
        return found

    source = intake(until="done", total=total)
    source.put(block(1))
    source.put(block(2, "x", "done"))
    assert source.take().id == "1"
    with pytest.raises(ValueError, match="no total"):
        source.take()
    assert source.take().id == "2"
    assert source._stats.declared_total == 1


def test_completion_by_numbers():
    """Contiguous ids show what was sent: lost ones count, unknown losses leave no figure (X12, R104)."""
    source = numbered()
    given(source, block(1), block(2), block(5))
    reconnected(source)
    given(source, block(5), block(6))
    assert (source._stats.numbered, source._stats.lost) == (4, 2)
    assert source._stats.completion == pytest.approx(66.7, abs=0.1)
    given(source, block(1, "new"))
    assert (source._stats.unknown_losses, source._stats.completion) == (1, None)


def test_a_repeat_behind_a_numbered_heartbeat_does_not_move_the_cursor_back():
    """The heartbeat's number is the last one that came; what is replayed before it changes nothing (3.2, R64)."""
    source = numbered()
    given(source, block(1), block(2, "{}", "heartbeat"))
    reconnected(source)
    given(source, block(1))
    assert (source.last_event_id, source.cursor) == ("2", "2")
    assert source._stats.duplicates == 1
