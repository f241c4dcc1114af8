from __future__ import annotations

import gc
import tracemalloc

import pytest

from resilient_sse._core.dedup import Deduplicator, Sighting


def seen(window: Deduplicator, *events: tuple[str, str, str]) -> list[Sighting]:
    """Look at each event, then remember it."""
    sightings = []
    for event in events:
        sightings.append(window.look(*event))
        window.remember(*event)
    return sightings


def test_new_events_are_new():
    """An id that was not seen is new."""
    events = [("1", "message", "a"), ("2", "message", "a")]
    assert seen(Deduplicator(10), *events) == [Sighting.NEW, Sighting.NEW]


def test_the_same_again_is_a_duplicate():
    """The same id with the same content was seen before, however often (R150)."""
    event = ("1", "message", "a")
    assert seen(Deduplicator(10), event, event, event)[1:] == [Sighting.DUPLICATE] * 2


@pytest.mark.parametrize(
    "other", [("1", "message", "b"), ("1", "add", "a")], ids=["other-data", "other-type"]
)
def test_the_same_id_with_other_content_is_a_conflict(other):
    """Type and data are part of what is known: an id used twice loses nothing."""
    assert seen(Deduplicator(10), ("1", "message", "a"), other, other) == [
        Sighting.NEW,
        Sighting.CONFLICT,
        Sighting.DUPLICATE,
    ]


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


@pytest.mark.parametrize("content", [("message", "a"), ("add", ""), ("x", "y" * 1000)])
def test_a_stored_id_is_in_the_window_from_the_start(content):
    """The first event with the stored id counts as seen, whatever it says: its content is not known here."""
    window = Deduplicator(10)
    window.resume_from("7")
    assert window.look("7", *content) is Sighting.DUPLICATE


def test_a_stored_id_is_expected_once():
    """Once it has come, other content under that id is new to us."""
    window = Deduplicator(10)
    window.resume_from("7")
    assert seen(window, ("7", "m", "a"), ("7", "m", "a"), ("7", "m", "b")) == [
        Sighting.DUPLICATE,
        Sighting.DUPLICATE,
        Sighting.CONFLICT,
    ]


def test_a_stored_id_stays_in_the_window_behind_other_events():
    """A replay that begins too early brings it later again: it is in the window like any other."""
    window = Deduplicator(10)
    window.resume_from("7")
    assert seen(window, ("8", "m", "a"), ("7", "m", "b")) == [Sighting.NEW, Sighting.DUPLICATE]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_stored_id_leaves_the_window_in_its_turn(size):
    """An id that comes much later is an event of its own, and must not be lost (X17)."""
    window = Deduplicator(size)
    window.resume_from("7")
    seen(window, *[(f"a{n}", "m", "") for n in range(size - 1)])
    assert window.look("7", "m", "") is Sighting.DUPLICATE
    seen(window, ("b", "m", ""))
    assert window.look("7", "m", "") is Sighting.NEW


def test_a_known_id_needs_no_expectation():
    """An id whose content is known is judged by its content."""
    window = Deduplicator(10)
    seen(window, ("7", "m", "a"))
    window.resume_from("7")
    assert window.look("7", "m", "a") is Sighting.DUPLICATE
    assert window.look("7", "m", "b") is Sighting.CONFLICT


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


def test_a_full_window_is_smaller_than_its_ids():
    """1,024 ids are 80 KB as plain dictionary keys; the window keeps compact digests instead (X17)."""
    window = Deduplicator(1024)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(3000):
            window.remember(f"{n:>200}", "message", "x" * 200)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(window) == 1024
    assert after - before < 80_000
