"""`resilient-sse load`: many streams on a server, and what it costs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resilient_sse.cli.arguments import (
    ABOVE_ZERO,
    COUNT,
    NOT_NEGATIVE,
    checked,
    command,
    json_option,
    option,
    quiet_option,
    refuse,
    seed_option,
)
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.output import escape

if TYPE_CHECKING:
    from resilient_sse.testing.load import LoadPlan, LoadResult, Progress, Spread

_MIB = 1024 * 1024
_TOLD_SECONDS = 10.0

_OUTPUT = click.Path(dir_okay=False, path_type=Path)

_load = partial(option, section="Load")
_network = partial(option, section="Network")


@command(
    "Put many streams on a server and measure.",
    "Run many streams in this process against the reference server, over networks that are slow and break, and "
    "measure them: messages, reconnect times, CPU and memory.  Server and networks are processes of their own.  "
    "Needs the extra resilient-sse[testing].\n\n"
    "\b\n"
    "Presets (what else is given replaces a part of them):\n"
    "  ci            100 users, 50 messages each, on 4G, 360 resets a minute\n"
    "  thousand      1,000 users for 2 minutes, 20 % on 3G and 80 % on 4G, 30 resets a minute\n"
    "  soak          the same for 30 minutes; memory must not grow\n"
    "  ten-thousand  10,000 users for 3 minutes, a message every 10 s each, without a network",
    examples="""
resilient-sse load --users 100 --messages 50 --output result.json
resilient-sse load --no-proxy --target 'https://host/stream?user={user}' --users 50 --duration 60
""",
    exits={
        0: "every gate was passed",
        1: "a gate was not passed, or the server or the network died",
        2: "wrong arguments, not enough open files, or something is not installed",
    },
)
@option("--preset", type=click.Choice(["ci", "thousand", "soak", "ten-thousand"]), help="A run with a name.")
@_load("--users", type=COUNT, help="Streams, each of a user of its own; 100.")
@_load("--messages", type=COUNT, help="Messages for each user; 50.")
@_load("--duration", type=ABOVE_ZERO, without=["messages"], help="Send messages for so many seconds.")
@_load("--rate", type=ABOVE_ZERO, help="Messages a second for each user; 1.")
@_load("--ramp", type=NOT_NEGATIVE, help="Open the streams over so many seconds.")
@_load("--dedup-window", type=COUNT, help="Events that each stream remembers; 1000.")
@_load("--deadline", type=ABOVE_ZERO, help="End the run after so many seconds in any case.")
@_network(
    "--profiles", metavar="LIST", without=["no_proxy"], help="Such as 4g, or 3g:20,4g:80 for shares; 4g."
)
@_network("--drops", type=NOT_NEGATIVE, without=["no_proxy"], help="Random resets a minute, in all; 0.")
@seed_option
@_network("--no-proxy", is_flag=True, help="No network: straight to the server.")
@_network("--target", metavar="URL", help="A server of your own, with --no-proxy; {user} becomes a number.")
@json_option
@option("--output", type=_OUTPUT, help="Write the result to a file, as JSON.")
@quiet_option
def load(*, as_json: bool, output: Path | None, quiet: bool, **given: Any) -> int:
    """Make a plan, carry it out, and describe the result."""
    if output is not None and not output.absolute().parent.is_dir():
        refuse(f"--output: there is no directory {output.parent}")

    import anyio

    from resilient_sse.testing.load import ChildError, OpenFilesError, check, run_load

    say = partial(print, file=sys.stderr, flush=True)
    with checked():
        plan = _plan(**given)
        check(plan)
    if plan.target is None:
        # Everything is on this machine: a proxy that the environment names has no part in this.
        os.environ["no_proxy"] = "*"
    elif not quiet:  # what is going to be done to somebody's server
        amount = f"until each has {plan.messages} messages" if plan.messages else f"for {plan.sending:g} s"
        say(
            f"Opening {plan.users} streams on {escape(plan.target)} over {plan.ramping:g} s, {amount}; "
            f"the run ends after {plan.limit:g} s at the latest."
        )
    due = 0.0

    def told(progress: Progress) -> None:
        nonlocal due
        if progress.seconds >= due:
            due = progress.seconds + _TOLD_SECONDS
            say(f"{progress.seconds:6.0f} s  {_sentence(progress)}")

    try:
        result = anyio.run(lambda: run_load(plan, told=None if quiet else told))
    except OpenFilesError as error:
        complain(str(error))
        return Exit.USAGE
    except ChildError as error:
        complain(str(error))
        return Exit.GAVE_UP
    try:
        if output is not None:
            output.write_text(result.to_json() + "\n", encoding="utf-8")
    finally:  # a disk that is full takes no result away
        print(result.to_json() if as_json else _described(result), flush=True)
    return Exit.ENDED if result.passed else Exit.GAVE_UP


def _plan(*, preset: str | None, no_proxy: bool, profiles: str | None, **given: Any) -> LoadPlan:
    """Make a plan of the preset and what replaces a part of it."""
    from resilient_sse.testing.load import PRESETS, LoadPlan, parse_profiles

    target = given["target"]
    if target is not None and not target.startswith(("http://", "https://")):
        raise ValueError(f"target must be an http or https URL, not {target!r}")
    if target is not None and not no_proxy:
        raise ValueError("target is measured as it is, without a network: add --no-proxy")
    plan = LoadPlan(messages=50) if preset is None else PRESETS[preset]
    changes = {name: value for name, value in given.items() if value is not None}
    if "messages" in changes or "duration" in changes:
        changes = {"messages": None, "duration": None, **changes}
    if profiles is not None:
        changes["profiles"] = parse_profiles(profiles)
    if no_proxy:  # nothing is reset on purpose, so there is nothing to measure either
        changes |= {"proxy": False, "drops": 0.0, "limits": replace(plan.limits, reconnects=None)}
    if changes and plan.deadline is not None:
        changes = {"deadline": None, **changes}  # it was that of the preset as it is
    return replace(plan, **changes)


def _sentence(progress: Progress) -> str:
    """Say how far it is."""
    of = "" if progress.expected is None else f"/{progress.expected}"
    parts = [
        f"{progress.open}/{progress.users} open",
        *([f"{progress.reconnecting} reconnecting"] if progress.reconnecting else []),
        *([f"{progress.ended} ended"] if progress.ended else []),
        f"{progress.received}{of} messages",
        *([] if progress.cpu is None else [f"CPU {progress.cpu:.0%}"]),
        f"{progress.resident / _MIB:.0f} MiB",
    ]
    return ", ".join(parts)


def _described(result: LoadResult) -> str:
    """Describe a result in three tables and a sentence."""
    setup, machine, times = result.setup, result.machine, result.times
    delivery, streams, process, seen = result.delivery, result.streams, result.process, result.connections
    shares = ",".join(f"{part.profile}:{part.weight:g}" for part in setup.profiles)
    networks = shares if len(setup.profiles) > 1 else shares.partition(":")[0]
    where = setup.target or (f"on {networks}" if setup.proxy else "without a network")
    heading = (
        f"{setup.users} streams, {setup.messages_each} messages each at {setup.rate:g}/s, {escape(where)}, "
        f"{setup.drops:g} resets a minute, seed {setup.seed}\n"
        f"Python {machine.python} on {machine.system}, {machine.cores} cores, load {_number(machine.load, 1)}, "
        f"{machine.backend}, {result.seconds:.1f} s"
    )
    of = "" if delivery.sent is None else f" of {delivery.sent}"
    growth = f"{_number(process.growth, 2)} % over {process.watched:.0f} s"
    figures = [
        ("streams completed", f"{streams.completed} of {setup.users}, {streams.failed} failed"),
        ("messages received", f"{delivery.received}{of}, {_percent(delivery.completion)}"),
        ("repeated by the server, gaps", f"{delivery.repeated}, {delivery.gaps}"),
        ("messages a second", _number(delivery.per_second, 0)),
        ("availability", _percent(streams.availability)),
        ("connections at the server", f"{_number(seen.mean, 1)} on average, {_number(seen.most, 0)} at most"),
        ("connections opened, resets", f"{seen.opened}, {seen.resets}"),
        ("CPU of one core", f"{_percent(process.cpu, 1)} steady, {_percent(process.cpu_overall, 1)} overall"),
        ("CPU for each message", f"{_number(process.cpu_per_event, 0, 1e6)} us"),
        ("memory at most", f"{_number(process.resident_peak, 1, 1 / _MIB)} MiB"),
        ("memory for each stream", f"{_number(process.resident_per_stream, 1, 1 / 1024)} KiB"),
        ("growth of memory in 10 min", "too short a run to tell" if process.growth is None else growth),
    ]
    spreads = [
        ("seconds", "count", "mean", "p50", "p95", "p99", "max"),
        ("opening", *_spread(times.opening)),
        ("reconnect: loss to first new event", *_spread(times.recovery)),
        ("loss to the next connection", *_spread(times.reopening)),
        ("last byte to first new event", *_spread(times.silence)),
        ("bytes to event", *_spread(times.handling, 5)),
    ]
    gates = [
        ("ok" if gate.passed else "NO", gate.name, gate.found, f"wanted {gate.wanted}")
        for gate in result.gates
    ]
    failures = "\n".join(escape(f"failed: {failure}") for failure in streams.failures)
    broken = [gate.name for gate in result.gates if not gate.passed]
    end = f"NOT passed: {', '.join(broken)}" if broken else f"All {len(gates)} gates passed."
    parts = [heading, _table(figures), _table(spreads), _table(gates), failures, end]
    return "\n\n".join(part for part in parts if part)


def _spread(spread: Spread, digits: int = 3) -> tuple[str, ...]:
    figures = (spread.mean, spread.p50, spread.p95, spread.p99, spread.maximum)
    return (str(spread.count), *(_number(figure, digits) for figure in figures))


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _percent(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f} %"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
