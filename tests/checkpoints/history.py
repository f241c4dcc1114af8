"""Histories of consumers that were killed, and what must be true of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Handled", "violations"]


@dataclass(frozen=True)
class Handled:
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
    done = 0  # the highest event that was handled
    run = 0
    before: int | None = None  # the event before, in the same run
    for number, handled in enumerate(history):
        event = handled.event
        if event < 1 or (last is not None and event > last):
            found.append(f"effect {number}: there is no event {event}")
        if handled.run < run:
            found.append(f"effect {number}: run {handled.run} works after run {run} has begun")
        if handled.run != run:
            run, before = handled.run, None
        if before is not None and event != before + 1:
            found.append(f"effect {number}: {event} follows {before} in run {run}")
        if event > done + 1:
            found.append(f"effect {number}: {done + 1} to {event - 1} were not handled before {event}")
        if before is None and event <= done - window:
            found.append(
                f"effect {number}: run {run} repeats from {event}, more than {window} before {done + 1}"
            )
        before = event
        done = max(done, event)
    if last is not None and done < last:
        found.append(f"{done + 1} to {last} were never handled")
    return found
