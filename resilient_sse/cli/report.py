"""`resilient-sse report`: the production scenarios, played and judged."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow
from typing import TYPE_CHECKING

import click

from resilient_sse.cli.arguments import command, json_option, option, plain_option, seed_option
from resilient_sse.cli.exits import Exit, complain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

__all__ = ["SCENARIO_NAMES", "report"]

# Written down again, so that --help needs nothing optional; a test compares the two.
SCENARIO_NAMES = ("slow-3g", "stall", "packet-loss", "handoff", "rapid-reconnects", "user-experience")

_SEEDS = 10_000
_TERMINATED = 128 + signal.SIGTERM  # as shells report it


@command(
    "Play the production scenarios and report.",
    "Play six production scenarios on this machine, judge them, and print a report: in virtual time, and over "
    "real sockets through a bad network (about 45 s).  Each SCENARIO plays only that one: "
    f"{', '.join(SCENARIO_NAMES)}.  Needs the extra resilient-sse[testing].",
    examples="resilient-sse report --output report/\nresilient-sse report --form virtual stall handoff",
    exits={
        0: "production ready: YES; or every gate of the scenarios that were played was passed",
        1: "production ready: NO; or a gate of the scenarios that were played was not passed",
        4: "a file cannot be written",
        143: "ended by SIGTERM",
    },
)
@click.argument("scenarios", metavar="[SCENARIO]...", nargs=-1, type=click.Choice(SCENARIO_NAMES))
@option(
    "--form", type=click.Choice(["virtual", "real", "both"]), default="both", help="Which time and network."
)
@seed_option
@json_option
@plain_option
@option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write report.json, report.html and log.jsonl there.",
)
def report(
    *,
    scenarios: tuple[str, ...],
    form: str,
    seed: int | None,
    as_json: bool,
    plain: bool,
    output: Path | None,
) -> int:
    """Play and judge."""
    from resilient_sse.testing.extra import require

    with suppress(ValueError):  # signals are the main thread's
        # Also as the first process of a container, which has no default.  Nothing of a run outlives the process.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(_TERMINATED))
    try:
        forms = ("virtual", "real") if form == "both" else (form,)
        server = "real" in forms
        require("the report" + " over real sockets" * server, "rich", server=server)
        files = {} if output is None else _files(output)
        return _play(scenarios or SCENARIO_NAMES, forms, files, seed=seed, as_json=as_json, plain=plain)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror}")
        return Exit.OTHER


def _files(output: Path) -> dict[str, Path]:
    """Return where to write what; files and directory are made now, so that no run is wasted on a wrong one."""
    output.mkdir(parents=True, exist_ok=True)
    names = {"json": "report.json", "html": "report.html", "log": "log.jsonl"}
    paths = {kind: output / name for kind, name in names.items()}
    for path in paths.values():
        path.open("ab").close()  # other than `touch`, it refuses a directory
    return paths


def _play(
    wanted: Collection[str],
    forms: tuple[str, ...],
    files: dict[str, Path],
    *,
    seed: int | None,
    as_json: bool,
    plain: bool,
) -> int:
    from resilient_sse.testing.report import Report, print_report, render_page
    from resilient_sse.testing.scenarios import SCENARIOS, play_all

    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    seed = randbelow(_SEEDS) if seed is None else seed
    scenarios = [scenario for name, scenario in SCENARIOS.items() if name in wanted]
    with _progress(len(scenarios) * len(forms), plain=plain or as_json) as done:
        entries = play_all(scenarios, forms, seed=seed, done=done)
    judged = Report(entries, day=datetime.now(UTC).date())
    document = json.dumps(judged.to_dict(), indent=2)
    for name, path in files.items():
        text = document + "\n"
        if name != "json":
            text = render_page(judged) if name == "html" else "".join(f"{x.to_json()}\n" for x in entries)
        path.write_text(text, encoding="utf-8")
    if as_json:
        print(document)
    else:
        print_report(judged, sys.stdout, plain=plain or not sys.stdout.isatty())
        print(f"seed {seed}")
    # Of a part nobody can say that all is well; that what was played is well, one can.
    kept = judged.ready if judged.complete else judged.kept
    return Exit.ENDED if kept else Exit.GAVE_UP


@contextmanager
def _progress(total: int, *, plain: bool) -> Generator[Callable[[str], None]]:
    """Show on standard error how many runs are over: as a bar that moves, or as lines where nobody watches."""
    begun = time.monotonic()
    if plain or not sys.stderr.isatty():
        yield lambda run: print(f"{time.monotonic() - begun:5.1f} s  {run}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn())
    # It draws in a thread: virtual time leaves the loop no real moment in which it could.
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as progress:
        task = progress.add_task("", total=total)
        yield lambda _run: progress.advance(task)
