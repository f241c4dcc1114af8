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


# The id to resume from


# Ids that count


def number(at: int, data: str = "") -> tuple[str, str, str]:
    """Write down one event of a stream that counts."""
    return str(at), "message", data or f"data {at}"


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


def test_events_of_one_id_are_taken_together():
    """The tokens of a message have its id, all of them: none is lost, each but the first is a conflict (R150)."""
    window = Deduplicator(4, "auto")
    assert window.remember("msg", "message", "0") is Sighting.NEW
    tokens = list("001233")
    assert window.remember_run(["msg"] * 6, ["message"] * 6, tokens) == 3
    assert (window.meaningless, window.drops, len(window)) == (True, False, 4)
    assert window.remember_run(["msg"] * 2, ["message"] * 2, list("34")) == 1
    window.connected(2, resumed=True)
    assert window.remember_run(["msg"] * 2, ["message"] * 2, list("45")) is None


def test_places_in_the_index_begin_anew_before_they_overflow(monkeypatch):
    """They are 32 bits wide; a stream may bring more events than that."""
    monkeypatch.setattr(dedup, "_LAST_PLACE", 500)
    window = Deduplicator(100)
    for n in range(0, 2000, 7):
        assert window.remember_run([f"x{m}" for m in range(n, n + 7)], ["m"] * 7, ["d"] * 7) == 0
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
