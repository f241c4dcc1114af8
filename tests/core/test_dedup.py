from __future__ import annotations

import random

import pytest

from resilient_sse._core import dedup
from resilient_sse._core.dedup import Deduplicator, Sighting

# Ids that count


@pytest.mark.parametrize("seed", range(60))
def test_a_run_is_remembered_like_its_events(seed):
    """Rising, falling, known and in turn, over reconnects: nobody sees which way was taken (3.2)."""
    draw = random.Random(seed)
    mode = draw.choice(["auto", "auto", *dedup.DEDUP_MODES])
    whole, single = Deduplicator(9, mode), Deduplicator(9, mode)
    for connection in range(1, 40):
        if draw.random() < 0.7:
            resumed = draw.random() < 0.7
            for window in (whole, single):
                window.connected(connection, resumed=resumed)
        start, count, step = draw.randrange(30), draw.randrange(1, 9), draw.choice([0, 0, 1, 1, 3, -1])
        pool = draw.choice([["a", "b", "7"], [*"cdefgh"]])
        ids = [draw.choice(pool) if step == 0 else str(start + 9 + step * at) for at in range(count)]
        run = [(each, "m", draw.choice("xxxxxy")) for each in ids]
        judged = [(single.remember(*event), single.drops) for event in run]
        dropped = [at for at, each in enumerate(judged) if each == (Sighting.DUPLICATE, True)]
        conflicts = [each for each, _ in judged].count(Sighting.CONFLICT)
        assert whole.remember_run(*zip(*run, strict=True)) == (conflicts, dropped)
        assert [getattr(whole, name) for name in STATE] == [getattr(single, name) for name in STATE]


def test_places_in_the_index_begin_anew_before_they_overflow(monkeypatch):
    """They are 32 bits wide; a stream may bring more events than that."""
    monkeypatch.setattr(dedup, "_LAST_PLACE", 500)
    window = Deduplicator(100)
    for n in range(0, 2000, 7):
        assert window.remember_run([f"x{m}" for m in range(n, n + 7)], ["m"] * 7, ["d"] * 7) == (0, [])
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


STATE = ("_keys", "_contents", "_risen", "_top", "_only_rose", "meaningless", "drops", "_on_this_connection")

# What is dropped
