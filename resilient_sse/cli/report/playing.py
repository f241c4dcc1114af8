"""What `report` does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow
from typing import TYPE_CHECKING, NoReturn

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.testing.extra import MissingExtraError, require
from resilient_sse.testing.report import Report, check, check_files, print_report, render_page
from resilient_sse.testing.scenarios import SCENARIOS, play_all, write_log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from resilient_sse.cli.report.arguments import ReportOptions

__all__ = ["run_report"]

_SEEDS = 10_000
_TERMINATED = 128 + signal.SIGTERM  # as shells report it


def run_report(options: ReportOptions) -> int:
    """Run the command and return its exit code."""
    try:
        if options.check is not None:
            return _check(*options.check)
        with _terminable():
            return _report(options)
    except MissingExtraError as error:
        complain(str(error))
        return Exit.USAGE
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror}")
        return Exit.OTHER


@contextmanager
def _terminable() -> Generator[None]:
    """Have SIGTERM end the process with the exit code that shells report, also as the first of a container."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        os._exit(_TERMINATED)  # nothing of a run outlives the process, so there is nothing to wait for

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(report: Path, log: Path) -> int:
    try:
        differences = check_files(report, log)
    except ValueError as error:
        complain(str(error))
        return Exit.OTHER
    for difference in differences:
        print(difference)
    print("the report says what the log says" if not differences else f"{len(differences)} differences")
    return Exit.GAVE_UP if differences else Exit.ENDED


def _report(options: ReportOptions) -> int:
    forms = ("virtual", "real") if options.form == "both" else (options.form,)
    if forms == ("virtual",):
        require("the report", "rich", server=False)
    else:
        require("the report over real sockets", "rich")
    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    paths = _paths(options)
    seed = randbelow(_SEEDS) if options.seed is None else options.seed
    scenarios = [SCENARIOS[name] for name in options.scenarios]
    with _progress(len(scenarios) * len(forms), plain=options.plain or options.json) as done:
        entries = play_all(scenarios, forms, seed=seed, done=done)
    report = Report(entries, day=datetime.now(UTC).date())
    differences = check(report.to_dict(), [json.loads(entry.to_json()) for entry in entries])
    document = json.dumps(report.to_dict(), indent=2)
    for name, path in paths.items():
        if name == "log":
            write_log(path, entries)
        else:
            path.write_text(render_page(report) if name == "html" else f"{document}\n", encoding="utf-8")
    if options.json:
        print(document)
    else:
        print_report(report, sys.stdout, plain=options.plain or not sys.stdout.isatty())
        agrees = "agrees" if not differences else "DISAGREES"
        print(f"seed {seed}; an independent recount from the raw log {agrees}")
    for difference in differences:
        complain(f"the recount disagrees: {difference}")
    # Of a part nobody can say that all is well; that what was played is well, one can.
    kept = report.ready if report.complete else report.kept
    return Exit.ENDED if kept and not differences else Exit.GAVE_UP


def _paths(options: ReportOptions) -> dict[str, Path]:
    """Return where to write what; files and directory are made now, so that no run is wasted on a wrong one."""
    paths: dict[str, Path] = {}
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        names = {"json": "report.json", "html": "report.html", "log": "log.jsonl"}
        paths = {kind: options.output / name for kind, name in names.items()}
    paths |= {name: path for name, path in (("html", options.html), ("log", options.log)) if path is not None}
    for path in paths.values():
        path.open("ab").close()  # other than `touch`, it refuses a directory
    return paths


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
