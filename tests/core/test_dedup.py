from __future__ import annotations

from resilient_sse._core import dedup
from resilient_sse._core.dedup import Deduplicator, Sighting


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
