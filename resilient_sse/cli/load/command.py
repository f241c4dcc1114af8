"""What `load` does."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.load.progress import showing
from resilient_sse.cli.load.table import described
from resilient_sse.cli.output import escape
from resilient_sse.testing.load import (
    PRESETS,
    ChildError,
    LoadPlan,
    LoadResult,
    MissingExtraError,
    OpenFilesError,
    check,
    parse_profiles,
)
from resilient_sse.testing.load import run_load as run_plan

if TYPE_CHECKING:
    from resilient_sse.cli.load.arguments import LoadOptions

__all__ = ["plan_of", "run_load"]


def run_load(options: LoadOptions) -> int:
    """
    Run the command.

    Returns:
        0 if every gate was passed, 1 if not, 2 if it cannot be done here.

    Raises:
        OSError: The output cannot be written.
    """
    try:
        plan = plan_of(options)
        check(plan)
    except (MissingExtraError, ValueError) as error:
        complain(_as_options(str(error)))
        return Exit.USAGE
    if plan.target is not None:
        _announce(plan)
    else:
        # Everything is on this machine: a proxy that the environment names has no part in this.
        os.environ["no_proxy"] = "*"
    try:
        with showing(quiet=options.quiet) as told:
            result = anyio.run(lambda: run_plan(plan, told=told))
    except OpenFilesError as error:
        complain(_as_options(str(error)))
        return Exit.USAGE
    except ChildError as error:
        complain(str(error))
        return Exit.GAVE_UP
    _write(result, options)
    return Exit.ENDED if result.passed else Exit.GAVE_UP


def plan_of(options: LoadOptions) -> LoadPlan:
    """
    Make a plan of the preset and what replaces a part of it.

    Raises:
        ValueError: It cannot be done.
    """
    plan = LoadPlan(messages=50) if options.preset is None else PRESETS[options.preset]
    given: dict[str, Any] = {}
    for name in ("users", "rate", "drops", "ramp", "seed", "deadline", "dedup_window", "target"):
        value = getattr(options, name)
        if value is not None:
            given[name] = value
    if options.messages is not None or options.duration is not None:
        given.update(messages=options.messages, duration=options.duration)
    if options.profiles is not None:
        given["profiles"] = parse_profiles(options.profiles)
    if not options.proxy:
        given.update(proxy=False, drops=0.0)
        # Nothing is reset on purpose, so there is nothing to measure either.
        given["limits"] = replace(plan.limits, reconnects=None)
    if given and plan.deadline is not None and options.deadline is None:
        given["deadline"] = None  # it was that of the preset as it is
    return replace(plan, **given)


def _as_options(text: str) -> str:
    """Write the arguments of which an error speaks as options of this command."""
    name, space, rest = text.partition(" ")
    text = f"--{name.replace('_', '-')}{space}{rest}" if name in LoadPlan.__dataclass_fields__ else text
    for argument, option in (
        ("fewer users", "fewer --users"),
        ("shorter ramp", "shorter --ramp"),
        ("proxy=False", "--no-proxy"),
    ):
        text = text.replace(argument, option)
    return text


def _announce(plan: LoadPlan) -> None:
    """Say what is going to be done to somebody's server."""
    amount = f"until each has {plan.messages} messages" if plan.messages else f"for {plan.sending:g} s"
    print(
        f"Opening {plan.users} streams on {escape(str(plan.target))} over {plan.ramping:g} s, {amount}; "
        f"the run ends after {plan.limit:g} s at the latest.",
        file=sys.stderr,
        flush=True,
    )


def _write(result: LoadResult, options: LoadOptions) -> None:
    if options.output is not None:
        options.output.write_text(result.to_json() + "\n", encoding="utf-8")
    print(result.to_json() if options.json else described(result), flush=True)
