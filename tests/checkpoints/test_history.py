"""The checker of histories sees what is planted, and nothing else."""

from __future__ import annotations

import pytest

from tests.checkpoints.history import Handled, violations


def runs(*events):
    """Make a history of the events that each run has handled."""
    return [Handled(run, event) for run, handled in enumerate(events, 1) for event in handled]


def up(first, last):
    """Count up."""
    return list(range(first, last + 1))


RIGHT = runs(up(1, 10), up(10, 20), [21])
"""Run 1 is killed behind event 10, which comes again; run 2 behind 20, after it was committed."""

PLANTED = {
    **{
        f"event {n} is lost": [each for each in RIGHT if each.event != n]
        for n in (1, 2, 5, 9, 11, 15, 19, 20)
    },
    **{f"event {n} comes twice in a run": [*RIGHT[:n], Handled(1, n), *RIGHT[n:]] for n in (1, 4, 9)},
    **{
        f"effects {n} and {n + 1} are swapped": [*RIGHT[:n], RIGHT[n + 1], RIGHT[n], *RIGHT[n + 2 :]]
        for n in (0, 3, 8, 11, 15)
    },
    **{f"run 2 begins at {n}": runs(up(1, 10), up(n, 20), [21]) for n in (1, 5, 8, 9, 12, 13, 20)},
    "run 1 goes on while run 2 works": [*RIGHT[:14], Handled(1, 11), *RIGHT[14:]],
    "run 1 goes on behind run 3": [*RIGHT, Handled(1, 22)],
    "an event 0": [Handled(1, 0), *RIGHT],
    "an event behind the last": [*RIGHT, Handled(3, 22)],
    "the end is missing": RIGHT[:-1],
    "all of run 2 is missing": runs(up(1, 10), [], [21]),
    "nothing at all": [],
    "all of it twice": runs(up(1, 10), up(10, 20), [21], up(1, 10), up(10, 20), [21]),
}


def test_right_histories():
    """Repeats within the window are no violation, neither is a kill behind a commit."""
    assert violations(RIGHT, window=1, last=21) == []
    assert violations(RIGHT, window=1) == []
    assert len(violations(RIGHT, window=0, last=21)) == 1
    wide = runs(up(1, 30), up(21, 40))
    assert violations(wide, window=10, last=40) == []
    assert violations(wide, window=9, last=40) != []


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_seen(name):
    """Ways to be wrong (P55)."""
    assert PLANTED[name] != RIGHT
    assert violations(PLANTED[name], window=1, last=21) != []
