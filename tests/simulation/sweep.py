"""Many seeds, in one process or in several, and the search for the smallest plan that still fails."""

from __future__ import annotations

import multiprocessing
import site
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from tests.simulation.check import check
from tests.simulation.coverage import Failure, Tally
from tests.simulation.generate import generate
from tests.simulation.plan import Answer, Options, Plan
from tests.simulation.record import Record
from tests.simulation.run import play

__all__ = ["Progress", "broken_by", "shrunk", "sweep", "try_plan"]

Progress: TypeAlias = Callable[[int], None]
"""Is told how many seeds are done."""

PartT = TypeVar("PartT", Options, Answer)

_SEEDS_A_JOB = 250
_ROOT = Path(__file__).parents[2]


def try_plan(plan: Plan) -> tuple[Record | None, list[str]]:
    """Play a plan; return its record, if it got that far, and every broken promise."""
    try:
        record = play(plan)
    except Exception as error:  # noqa: BLE001 - whatever the client raises is a finding
        return None, [f"crash at 0 s: {error!r}"]
    return record, [str(violation) for violation in check(record)]


def sweep(seeds: range, *, processes: int = 1, progress: Progress | None = None) -> Tally:
    """
    Play the plans of all *seeds*.

    Args:
        seeds: Which.
        processes: How many processes share the work; 1 does it in this one.
        progress: Is told from time to time.

    Raises:
        ValueError: *processes* is less than 1.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes!r}")
    jobs = [seeds[start : start + _SEEDS_A_JOB] for start in range(0, len(seeds), _SEEDS_A_JOB)]
    total = Tally()
    for tally in _tallies(jobs, processes):
        total.merge(tally)
        if progress is not None:
            progress(total.runs)
    return total


def _tallies(jobs: list[range], processes: int) -> Iterator[Tally]:
    if processes == 1:
        yield from map(_job, jobs)
        return
    # A fresh interpreter each: forking a process that has threads or an event loop is asking for trouble.
    context = multiprocessing.get_context("spawn")
    # It finds this module behind whatever is installed.
    with ProcessPoolExecutor(processes, context, site.addsitedir, (str(_ROOT),)) as pool:
        yield from pool.map(_job, jobs)


def _job(seeds: Iterable[int]) -> Tally:
    tally = Tally()
    for seed in seeds:
        record, broken = try_plan(generate(seed))
        if record is not None:
            tally.add(record)
        if broken:
            tally.fail(Failure(seed, tuple(broken)))
    return tally


def broken_by(plan: Plan) -> frozenset[str]:
    """Return the invariants that *plan* breaks."""
    return frozenset(text.partition(" at ")[0] for text in try_plan(plan)[1])


def shrunk(plan: Plan, *, tries: int = 2000) -> Plan:
    """
    Return a smaller plan that still breaks one of the same invariants.

    It leaves out what can be left out, one thing at a time, until nothing more can: a cheap search, not the best.

    Args:
        plan: A plan that fails; one that does not is returned as it is.
        tries: How many runs to spend at most.
    """
    wanted = broken_by(plan)
    if not wanted:
        return plan
    left = tries
    found = True
    while found and left > 0:
        found = False
        for smaller in _smaller(plan):
            left -= 1
            if broken_by(smaller) & wanted:
                plan, found = smaller, True
                break
            if left <= 0:
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for at in range(len(plan.deeds)):
        yield replace(plan, deeds=plan.deeds[:at] + plan.deeds[at + 1 :])
    for at in range(len(plan.answers)):
        yield replace(plan, answers=plan.answers[:at] + plan.answers[at + 1 :])
    for at, answer in enumerate(plan.answers):
        for simpler in _simpler(answer):
            yield replace(plan, answers=(*plan.answers[:at], simpler, *plan.answers[at + 1 :]))
    for each in fields(Options):
        if getattr(plan.options, each.name) != each.default:
            yield replace(plan, options=_with(plan.options, each.name, each.default))


def _simpler(answer: Answer) -> Iterator[Answer]:
    for each in fields(Answer):
        if each.name not in ("kind", "live") and getattr(answer, each.name) != each.default:
            yield _with(answer, each.name, each.default)
    for at in range(len(answer.live)):
        yield replace(answer, live=answer.live[:at] + answer.live[at + 1 :])


def _with(part: PartT, name: str, value: Any) -> PartT:
    changes: dict[str, Any] = {name: value}
    return replace(part, **changes)
