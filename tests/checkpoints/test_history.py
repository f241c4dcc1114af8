"""The checker of histories sees what is planted, and nothing else."""

from __future__ import annotations

import pytest

from tests.checkpoints.history import Handled, violations

RIGHT = [*[Handled(1, n) for n in range(1, 11)], *[Handled(2, n) for n in range(10, 21)], *[Handled(3, 21)]]
"""Run 1 is killed behind event 10, which comes again; run 2 behind 20, after it was committed."""


def without(event):
    """Lose an event."""
    return [handled for handled in RIGHT if handled.event != event]


def with_at(place, handled):
    """Put an effect in."""
    return [*RIGHT[:place], handled, *RIGHT[place:]]


def swapped(place):
    """Exchange an effect and the next."""
    return [*RIGHT[:place], RIGHT[place + 1], RIGHT[place], *RIGHT[place + 2 :]]


PLANTED = {
    **{f"event {n} is lost": without(n) for n in (1, 2, 5, 9, 11, 15, 19, 20)},
    **{f"event {n} comes twice in a run": with_at(n, Handled(1, n)) for n in (1, 4, 9)},
    **{f"effects {n} and {n + 1} are swapped": swapped(n) for n in (0, 3, 8, 11, 15)},
    **{
        f"run 2 begins at {n}": [h for h in RIGHT if h.run != 2] + [Handled(2, m) for m in range(n, 21)]
        for n in (12,)
    },
    **{
        f"run 2 repeats from {n}": [*RIGHT[:10], *[Handled(2, m) for m in range(n, 21)], RIGHT[-1]]
        for n in (1, 5, 8, 9)
    },
    **{
        f"run 2 jumps to {n}": [*RIGHT[:10], *[Handled(2, m) for m in range(n, 21)], RIGHT[-1]]
        for n in (12, 13, 20)
    },
    "run 1 goes on while run 2 works": with_at(14, Handled(1, 11)),
    "run 1 goes on behind run 3": [*RIGHT, Handled(1, 22)],
    "an event 0": with_at(0, Handled(1, 0)),
    "an event behind the last": [*RIGHT, Handled(3, 22)],
    "the end is missing": RIGHT[:-1],
    "all of run 2 is missing": [*RIGHT[:10], RIGHT[-1]],
    "nothing at all": [],
    "all of it twice": [*RIGHT, *[Handled(h.run + 3, h.event) for h in RIGHT]],
}


def test_a_right_history():
    """Repeats within the window are no violation, neither is a kill behind a commit."""
    assert violations(RIGHT, window=1, last=21) == []
    assert violations(RIGHT, window=1) == []


def test_no_repeats_where_none_are_allowed():
    """With a window of none even one repeat is a violation."""
    assert len(violations(RIGHT, window=0, last=21)) == 1


def test_a_wide_window():
    """What was not committed may come again, and no more."""
    history = [*[Handled(1, n) for n in range(1, 31)], *[Handled(2, n) for n in range(21, 41)]]
    assert violations(history, window=10, last=40) == []
    assert violations(history, window=9, last=40) != []


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_seen(name):
    """Thirty ways to be wrong (P55)."""
    assert violations(PLANTED[name], window=1, last=21) != []


def test_enough_is_planted():
    """Thirty, and each another history."""
    assert len(PLANTED) >= 30
    assert len({tuple(history) for history in PLANTED.values()}) == len(PLANTED)
