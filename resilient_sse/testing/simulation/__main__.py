"""`python -m resilient_sse.testing.simulation`: play one plan, or sweep over many seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from resilient_sse import Gap, ServerSentEvent, StateChange
from resilient_sse.testing.simulation.generate import generate
from resilient_sse.testing.simulation.plan import Plan
from resilient_sse.testing.simulation.record import Note, Record, Seen
from resilient_sse.testing.simulation.sweep import shrunk, sweep, try_plan

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Returns:
        0 if every promise was kept, 1 if one was broken.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error(f"processes must be at least 1, not {options.processes}")
    if options.seeds is not None:
        tally = sweep(
            options.seeds, processes=options.processes, progress=_tell if options.progress else None
        )
        _write(*tally.lines())
        return 1 if tally.broken else 0
    try:
        plan = (
            generate(options.seed)
            if options.plan is None
            else Plan.from_json(options.plan.read_text("utf-8"))
        )
    except (OSError, TypeError, ValueError) as error:
        parser.error(f"{options.plan}: {error}")
    if options.shrink:
        plan = shrunk(plan)
    if options.print:
        _write(plan.to_json().rstrip())
        return 0
    return _single(plan, trace=options.trace)


def _single(plan: Plan, *, trace: bool) -> int:
    record, broken = try_plan(plan)
    if trace and record is not None:
        _write(*_story(record), "")
    _write(*broken)
    ending = "nothing" if record is None else record.outcome
    _write(f"seed {plan.seed}: {ending}, {len(broken)} broken promises")
    return 1 if broken else 0


def _story(record: Record) -> list[str]:
    lines: list[tuple[float, str]] = []
    for request in record.truth.requests:
        events = " ".join(f"{event.id}={event.data}" for event in request.events)
        lines.append(
            (request.at, f"-> after {request.cursor}: {request.answer.kind} {request.status}, read {events}")
        )
    lines += [(seen.at, text) for seen in record.seen if (text := _line(seen))]
    return [f"{at:10.3f}  {text}" for at, text in sorted(lines, key=lambda line: line[0])]


def _line(seen: Seen) -> str:
    fact = seen.fact
    match fact:
        case StateChange():
            wait = "" if fact.delay is None else f", attempt {fact.attempt} in {fact.delay:.3f} s"
            return f"   {fact.old.value} -> {fact.new.value} ({fact.reason.value}){wait}"
        case ServerSentEvent():
            return f"   event {fact.id}={fact.data} over connection {fact.connection}"
        case Gap():
            return f"   {fact}"
        case Note(kind=kind, text=text) if kind not in ("handed", "handled"):
            return f"   * {kind} {text or ''}".rstrip()
        case _:
            return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m resilient_sse.testing.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="play the plan of this seed")
    which.add_argument("--plan", type=Path, metavar="FILE", help="play the plan in this file")
    which.add_argument(
        "--seeds", type=_range, metavar="A..B", help="play the seeds from A up to, not including, B"
    )
    parser.add_argument("--print", action="store_true", help="print the plan instead of playing it")
    parser.add_argument("--shrink", action="store_true", help="first leave out what is not needed to fail")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--processes", type=int, default=1, help="how many processes share the seeds (1)")
    parser.add_argument("--progress", action="store_true", help="count the seeds on the error stream")
    return parser


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not (dots and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"two numbers such as 0..10000, the smaller one first, not {text!r}")
    return range(int(first), int(last))


def _tell(done: int) -> None:
    sys.stderr.write(f"\r{done} seeds")
    sys.stderr.flush()


def _write(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
