"""`resilient-sse demo`: a real server, a network that misbehaves, and a client that loses nothing."""

from __future__ import annotations

import os
import sys
from secrets import randbelow
from typing import TYPE_CHECKING

import anyio

from resilient_sse.cli.demo.client import receive
from resilient_sse.cli.demo.plain import PlainView
from resilient_sse.cli.demo.record import Record
from resilient_sse.cli.demo.report import Report
from resilient_sse.cli.demo.script import Deed
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.testing.children import ChildError, child
from resilient_sse.testing.extra import MissingExtraError, require

if TYPE_CHECKING:
    from resilient_sse.cli.demo.arguments import DemoOptions
    from resilient_sse.cli.demo.view import View

__all__ = ["run_demo"]

_SEEDS = 10_000


def run_demo(options: DemoOptions) -> int:
    """
    Run the demo and return the exit code: 0 only if every promise was kept.

    Raises:
        OSError: The output cannot be written.
    """
    live = sys.stdout.isatty() and not options.plain
    try:
        require("the demo", *(["rich"] if live else []), extra="demo")
    except MissingExtraError as error:
        complain(str(error))
        return Exit.USAGE
    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    seed = randbelow(_SEEDS) if options.seed is None else options.seed
    return anyio.run(_run, seed, options.sabotage, _view(live=live))


def _view(*, live: bool) -> View:
    if not live:
        return PlainView()
    from resilient_sse.cli.demo.live import LiveView

    return LiveView()


async def _run(seed: int, sabotage: str | None, view: View) -> Exit:
    record = Record(seed=seed, told=view.told)
    command = ["-m", "resilient_sse.cli.demo.server", "--seed", str(seed)]
    if sabotage is not None:
        command += ["--sabotage", sabotage]
    try:
        with view.showing(record):
            async with child(
                "demo's server", command, told=lambda facts: record.deed(Deed.of(facts))
            ) as server:
                await receive(server.hello["url"], record, view)
    except ChildError as error:
        complain(str(error))
        return Exit.GAVE_UP
    if view.failure is not None:
        raise view.failure
    report = Report.of(record)
    view.summary(report)
    return Exit.ENDED if report.kept else Exit.GAVE_UP
