from __future__ import annotations

import pytest

from resilient_sse._core import dedup
from resilient_sse._core.dedup import Deduplicator, Sighting, rank


def seen(window: Deduplicator, *events: tuple[str, str, str]) -> list[Sighting]:
    """Look at each event, then remember it."""
    sightings = []
    for event in events:
        sightings.append(window.look(*event))
        window.remember(*event)
    return sightings


def test_type_and_data_are_not_run_together():
    """What belongs to the type is not taken for data."""
    assert seen(Deduplicator(10), ("1", "ab", "c"), ("1", "a", "bc"))[1] is Sighting.CONFLICT


def test_looking_is_not_remembering():
    """An event that was only looked at is still new."""
    window = Deduplicator(10)
    assert [window.look("1", "message", "a") for _ in range(2)] == [Sighting.NEW] * 2
    assert len(window) == 0


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_window_is_bounded(size):
    """The last *size* events are known, the one before them is not (X17)."""
    window = Deduplicator(size)
    seen(window, *[(str(n), "message", "") for n in range(20)])
    assert len(window) == size
    known = [n for n in range(20) if window.look(str(n), "message", "") is not Sighting.NEW]
    assert known == list(range(20 - size, 20))


def test_a_duplicate_takes_no_room():
    """An event that comes again does not push another one out."""
    window = Deduplicator(2)
    seen(window, ("1", "m", ""), ("2", "m", ""), ("2", "m", ""), ("2", "m", ""))
    assert len(window) == 2
    assert window.look("1", "m", "") is Sighting.DUPLICATE


def test_an_id_is_known_as_long_as_one_event_with_it_is():
    """Of two events with one id, the older leaves the window and the id stays known; then the younger leaves."""
    window = Deduplicator(2)
    seen(window, ("1", "m", "a"), ("1", "m", "b"), ("2", "m", ""))
    assert window.look("1", "m", "a") is Sighting.CONFLICT
    assert window.look("1", "m", "b") is Sighting.DUPLICATE
    seen(window, ("3", "m", ""))
    assert window.look("1", "m", "b") is Sighting.NEW


# The id to resume from


def test_a_stored_id_is_expected_once():
    """Once it has come, other content under that id is new to us."""
    window = Deduplicator(10)
    window.resume_from("7")
    assert seen(window, ("7", "m", "a"), ("7", "m", "a"), ("7", "m", "b")) == [
        Sighting.DUPLICATE,
        Sighting.DUPLICATE,
        Sighting.CONFLICT,
    ]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_stored_id_leaves_the_window_in_its_turn(size):
    """An id that comes much later is an event of its own, and must not be lost (X17)."""
    window = Deduplicator(size)
    window.resume_from("7")
    seen(window, *[(f"a{n}", "m", "") for n in range(size - 1)])
    assert window.look("7", "m", "") is Sighting.DUPLICATE
    seen(window, ("b", "m", ""))
    assert window.look("7", "m", "") is Sighting.NEW


def test_forgetting():
    """After a reset of the numbering nothing is known, not even the id to resume from (P23)."""
    window = Deduplicator(10)
    seen(window, ("1", "m", "a"), ("1", "m", "b"))
    window.clear()
    assert len(window) == 0
    assert seen(window, ("1", "m", "a")) == [Sighting.NEW]
    window.resume_from("7")
    window.clear()
    assert window.look("7", "m", "a") is Sighting.NEW


# Ids that count


def number(at: int, data: str = "") -> tuple[str, str, str]:
    """Write down one event of a stream that counts."""
    return str(at), "message", data or f"data {at}"


@pytest.mark.parametrize("length", [999, 1000, 1001, 5000])
def test_a_replayed_backlog_of_any_length_repeats_nothing(length):
    """A high-water mark knows what has left the window: no cliff behind the thousandth event (3.2)."""
    window = Deduplicator(1000, "auto")
    events = [number(at) for at in range(1, length + 1)]
    seen(window, *events)
    window.connected(2, resumed=True)
    assert seen(window, *events) == [Sighting.DUPLICATE] * length
    assert seen(window, number(length + 1)) == [Sighting.NEW]


def test_a_numbering_that_starts_anew_is_no_replay():
    """The first events differ: what has left the window is then known by its number no longer (3.2)."""
    window = Deduplicator(10, "auto")
    seen(window, *[number(at, f"old {at}") for at in range(1, 101)])
    window.connected(2, resumed=True)
    sightings = seen(window, *[number(at, f"new {at}") for at in range(1, 101)])
    assert Sighting.DUPLICATE not in sightings
    assert sightings[0] is Sighting.CONFLICT


def test_what_lies_before_the_first_event_is_new():
    """Nobody has seen it, however low its number is."""
    window = Deduplicator(2, "auto")
    seen(window, *[number(at) for at in range(100, 110)])
    window.connected(2, resumed=True)
    assert window.look(*number(99)) is Sighting.NEW
    assert window.look(*number(100)) is Sighting.DUPLICATE


def test_on_the_first_connection_a_low_number_is_new():
    """Nothing is replayed there: the id has left the window, and may have been given again."""
    window = Deduplicator(2)
    seen(window, *[number(at) for at in range(1, 10)])
    assert window.look(*number(1)) is Sighting.NEW


@pytest.mark.parametrize("text", ["-1", "+1", "1.0", " 1", "\u0661", "", "1a", "9" * 19, "1" * 20])
def test_what_has_no_rank(text):
    """Only ASCII digits count, and what fits into 64 bits with the texts that are shorter."""
    assert rank(text) == 0


def test_no_two_ids_have_one_rank():
    """Numbers rise, with zeros before them or not, and "7" is not "007"."""
    texts = [f"{n:0{width}}" for width in range(1, 5) for n in range(10**width)]
    assert [rank(text) for text in texts] == list(range(1, len(texts) + 1))
    assert rank("8112260925743664696") == 2**63 - 1
    assert rank("8112260925743664697") == 0


@pytest.mark.parametrize("form", ["{}", "{:08}", "{:02}"])
def test_the_mark_holds_for_one_way_to_write_numbers(form):
    """A backlog is known by its numbers, zeros or not, and a number of another width is another id (3.2)."""
    window = Deduplicator(10, "auto")
    events = [(form.format(n), "message", "x") for n in range(1, 2000)]
    seen(window, *events)
    window.connected(2, resumed=True)
    assert seen(window, *events) == [Sighting.DUPLICATE] * 1999
    assert [window.look(f"{n:04}", "message", "x") for n in (1, 50, 199)] == [Sighting.NEW] * 3


def test_ids_rise_again_after_a_fall():
    """Once a whole window has risen, the index goes, and a replay is known by its numbers again."""
    window = Deduplicator(3)
    seen(window, number(1), number(2), number(1, "other"))
    assert window._buckets
    seen(window, number(3), number(4), number(5))
    assert not window._buckets
    seen(window, *map(number, range(6, 20)))
    window.connected(2, resumed=True)
    assert window.look(*number(6)) is Sighting.DUPLICATE


def test_a_run_of_ids_that_rise_again_is_taken_apart():
    """Somewhere in it the index goes, and what follows is known by its numbers for good."""
    window = Deduplicator(10)
    seen(window, number(1), ("x", "message", ""))
    for start in range(2, 20, 3):
        run = [number(at) for at in range(start, start + 3)]
        if not window.remember_run(*zip(*run, strict=True)):
            seen(window, *run)
    assert not window._buckets


def test_places_in_the_index_begin_anew_before_they_overflow(monkeypatch):
    """They are 32 bits wide; a stream may bring more events than that."""
    monkeypatch.setattr(dedup, "_LAST_PLACE", 500)
    window = Deduplicator(100)
    for n in range(0, 2000, 7):
        assert window.remember_run([f"x{m}" for m in range(n, n + 7)], ["m"] * 7, ["d"] * 7)
        assert window._count <= 500
        assert window.look(f"x{n}", "m", "d") is Sighting.DUPLICATE
        assert (window.look(f"x{n - 93}", "m", "d") is Sighting.DUPLICATE) is (n >= 93)
        assert window.look(f"x{n - 94}", "m", "d") is Sighting.NEW


def test_ids_cannot_be_chosen_so_that_they_cost_much():
    """Numbers that are alike in their low or high bits fall into buckets as any others do, so chains are short."""
    for step in (2**10, 2**20, 2**40, 10**9):
        window = Deduplicator(1000)
        for n in range(1000, 0, -1):
            window.remember(str(n * step), "m", "x")
        assert len(set(window._buckets)) > 400  # about 640 of 1,024


# What is dropped


def drops(window: Deduplicator, *events: tuple[str, str, str]) -> list[bool]:
    """Say of each event whether it is dropped."""
    return [window.remember(*event) is Sighting.DUPLICATE and window.drops for event in events]


def test_auto_on_a_healthy_connection():
    """A repetition is believed where ids have only risen, two at least; elsewhere it is an event (3.2)."""
    on, off = ("switch", "message", "on"), ("switch", "message", "off")
    window = Deduplicator(10, "auto")
    assert drops(window, number(1), number(1), number(2), number(2), number(1)) == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert drops(Deduplicator(10, "auto"), on, on, on) == [False] * 3
    assert drops(Deduplicator(10, "auto"), number(2), number(1), number(1)) == [False] * 3
    assert drops(Deduplicator(10, "auto"), number(1), number(2), on, number(2)) == [False] * 4
    assert drops(Deduplicator(10, "auto"), on, off, on) == [False] * 3


def test_auto_on_a_connection_that_resumed():
    """A known id with known content is a replay there, whatever ids look like (3.2)."""
    on, off = ("switch", "message", "on"), ("door", "message", "off")
    window = Deduplicator(10, "auto")
    drops(window, on, off)
    window.connected(2, resumed=True)
    assert drops(window, on, off) == [True, True]
    window.connected(3, resumed=False)
    assert drops(window, on, off) == [False, False]


def test_auto_bears_a_conflict_over_two_connections():
    """Other content under a known id is delivered and counted; ids still name events (3.2)."""
    window = Deduplicator(10, "auto")
    drops(window, number(1), number(2))
    window.connected(2, resumed=True)
    assert drops(window, number(1, "changed"), number(2)) == [False, True]
    assert not window.meaningless


def test_always_gives_up_never():
    """R150 to the letter, also where ids name nothing."""
    window = Deduplicator(10)
    assert drops(window, ("1", "m", "a"), ("1", "m", "b"), ("1", "m", "a")) == [False, False, True]


def test_a_switch_that_comes_back_is_not_left_off():
    """On, and behind a resume off, on: the last is an event, for its id has just named another one (3.2)."""
    on, off = ("switch", "message", "on"), ("switch", "message", "off")
    window = Deduplicator(10, "auto")
    drops(window, on)
    window.connected(2, resumed=True)
    assert drops(window, off, on, off, on) == [False] * 4
    assert window.meaningless


def test_a_server_that_has_lost_its_tail_loses_no_event():
    """Ids far below the highest are events: only a replay from the beginning is known to be one (3.2)."""
    window = Deduplicator(10, "auto")
    drops(window, *map(number, range(1, 101)))
    window.connected(2, resumed=True)
    assert drops(window, *(number(n, "anew") for n in range(40, 90))) == [False] * 50
    window = Deduplicator(10, "auto")
    drops(window, *map(number, range(1, 101)))
    window.connected(2, resumed=True)
    assert drops(window, *map(number, range(1, 101))) == [True] * 100
