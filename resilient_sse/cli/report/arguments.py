"""What `report` accepts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FORMS", "SCENARIO_NAMES", "ReportOptions", "add_report", "report_options"]

FORMS = ("virtual", "real", "both")

# Written down again, so that --help needs nothing optional; a test compares the two.
SCENARIO_NAMES = ("slow-3g", "stall", "packet-loss", "handoff", "rapid-reconnects", "user-experience")

_EPILOG = """\
exit codes:
  0    production ready: YES; or, with --scenario, every gate of what was played was passed
  1    production ready: NO; or, with --check, the report does not say what the log says
  2    wrong arguments, or something is not installed
  4    a file cannot be read or written
  130  interrupted by Ctrl-C
  143  ended by SIGTERM
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """
    What `report` was asked for.

    Attributes:
        form: One of `FORMS`.
        scenarios: The names of those to be played.
        seed: Where randomness starts; `None` draws one.
        json: Print the JSON and no table.
        plain: Print plain lines, also on a terminal.
        output: A directory for `report.json`, `report.html` and `log.jsonl`.
        html: A file for the page.
        log: A file for the raw log.
        check: A report and a log to be compared; nothing is played then.
    """

    form: str = "both"
    scenarios: tuple[str, ...] = SCENARIO_NAMES
    seed: int | None = None
    json: bool = False
    plain: bool = False
    output: Path | None = None
    html: Path | None = None
    log: Path | None = None
    check: tuple[Path, Path] | None = None


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Play six production scenarios on this machine, judge them, and print a report: in virtual time,\n"
        "and over real sockets through a bad network (about 45 s).  Needs the extra resilient-sse[testing]."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "--form",
        choices=FORMS,
        default="both",
        help="virtual time, real sockets, or both (default: both)",
    )
    parser.add_argument(
        "--scenario",
        dest="scenarios",
        metavar="NAME",
        nargs="+",
        action="extend",
        choices=SCENARIO_NAMES,
        help="play only these: " + ", ".join(SCENARIO_NAMES),
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="decides where faults strike and what is drawn; random by default",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON on standard output, and no table")
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write report.json, report.html and log.jsonl there"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page with charts")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="write the raw log, which everything is computed from"
    )
    parser.add_argument(
        "--check",
        type=Path,
        nargs=2,
        metavar=("FILE", "LOG"),
        help="play nothing; recount a report from its log",
    )


def report_options(given: argparse.Namespace) -> ReportOptions:
    """
    Make options of what was parsed.

    Raises:
        ValueError: Something goes with `--check` that has no meaning there.
    """
    if given.check and (given.scenarios or given.output or given.html or given.log):
        raise ValueError("--check plays nothing: it goes with neither --scenario, --output, --html nor --log")
    wanted = given.scenarios or SCENARIO_NAMES
    return ReportOptions(
        form=given.form,
        scenarios=tuple(name for name in SCENARIO_NAMES if name in wanted),
        seed=given.seed,
        json=given.json,
        plain=given.plain,
        output=given.output,
        html=given.html,
        log=given.log,
        check=tuple(given.check) if given.check else None,
    )
