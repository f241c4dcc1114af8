"""Histories of consumers that were killed, and what must be true of them."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple


class Handled(NamedTuple):
    """One effect: the run of the program that had it, and the number of the event."""

    run: int
    event: int


def violations(history: list[Handled], *, window: int, last: int | None = None) -> list[str]:
    """
    List what a merged history of runs, in the order of their effects, breaks.

    Args:
        history: The effects.  Events are numbered from 1; runs follow each other, each killed but the last.
        window: How many events may come again after a kill: those that were not committed.
        last: The number of the last event, if the last run came to its end.
    """
    found: list[str] = []
    before = done = 0  # the run before, and the highest event that was handled
    for run, effects in groupby(history, key=lambda handled: handled.run):
        events = [handled.event for handled in effects]
        if run < before:
            found.append(f"run {run} works after run {before} has begun")
        if events != list(range(events[0], events[0] + len(events))):
            found.append(f"run {run} leaves out or repeats some of {events}")
        if not max(0, done - window) < events[0] <= done + 1:
            found.append(f"run {run} begins at {events[0]}, behind {done} and a window of {window}")
        before, done = run, max(done, *events)
    if last is not None and done != last:
        found.append(f"{done} is the end, and not {last}")
    return found
