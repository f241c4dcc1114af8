"""What `report` does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow
from typing import TYPE_CHECKING, NoReturn

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.report.progress import Progress
from resilient_sse.testing.extra import MissingExtraError, require
from resilient_sse.testing.report import Report, check, check_files, print_report, render_page
from resilient_sse.testing.scenarios import SCENARIOS, play_all, write_log

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import FrameType

    from resilient_sse.cli.report.arguments import ReportOptions
    from resilient_sse.testing.scenarios import Entry

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
    if forms != ("virtual",):
        try:
            require("the report over real sockets")
        except MissingExtraError as error:
            complain(str(error))
            return Exit.USAGE
    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    paths = _paths(options)
    seed = randbelow(_SEEDS) if options.seed is None else options.seed
    scenarios = [SCENARIOS[name] for name in options.scenarios]
    with Progress(len(scenarios) * len(forms), plain=options.plain or options.json) as progress:
        entries = play_all(scenarios, forms, seed=seed, done=progress.done)
    report = Report(entries, day=datetime.now(UTC).date())
    differences = check(report.to_dict(), [json.loads(entry.to_json()) for entry in entries])
    _write(report, entries, paths)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report, sys.stdout, plain=options.plain or not sys.stdout.isatty())
        print(f"seed {seed}; {_checked(differences)}")
    for difference in differences:
        complain(f"the checker disagrees: {difference}")
    # Of a part nobody can say that all is well; that what was played is well, one can.
    kept = report.ready if report.complete else report.kept
    return Exit.ENDED if kept and not differences else Exit.GAVE_UP


def _checked(differences: Sequence[str]) -> str:
    return "an independent recount from the raw log agrees" if not differences else "the recount DISAGREES"


def _paths(options: ReportOptions) -> dict[str, Path]:
    """Return where to write what; files and directory are made now, so that no run is wasted on a wrong one."""
    paths: dict[str, Path] = {}
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        paths = {
            "json": options.output / "report.json",
            "html": options.output / "report.html",
            "log": options.output / "log.jsonl",
        }
    for name, path in (("html", options.html), ("log", options.log)):
        if path is not None:
            paths[name] = path
    for path in paths.values():
        path.open("ab").close()  # other than `touch`, it refuses a directory
    return paths


def _write(report: Report, entries: Sequence[Entry], paths: dict[str, Path]) -> None:
    for name, path in paths.items():
        match name:
            case "json":
                path.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
            case "html":
                path.write_text(render_page(report), encoding="utf-8")
            case _:
                write_log(path, entries)
