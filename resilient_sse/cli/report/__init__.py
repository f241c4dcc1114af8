"""`resilient-sse report`: the production scenarios, played and judged."""

from __future__ import annotations

from pathlib import Path

import click

from resilient_sse.cli.arguments import command, json_option, option, plain_option, refuse, seed_option
from resilient_sse.cli.report.arguments import FORMS, SCENARIO_NAMES, ReportOptions

__all__ = ["report"]

_PATH = click.Path(path_type=Path)


@command(
    "Play the production scenarios and report.",
    "Play six production scenarios on this machine, judge them, and print a report: in virtual time, and over "
    "real sockets through a bad network (about 45 s).  Each SCENARIO plays only that one: "
    f"{', '.join(SCENARIO_NAMES)}.  Needs the extra resilient-sse[testing].",
    examples="resilient-sse report --output report/\n"
    "resilient-sse report --form virtual --scenario stall handoff\n"
    "resilient-sse report --check report/report.json report/log.jsonl",
    exits={
        0: "production ready: YES; or every gate of the scenarios that were played was passed",
        1: "production ready: NO; or, with --check, the report does not say what the log says",
        4: "a file cannot be read or written",
        143: "ended by SIGTERM",
    },
)
@click.argument("more", metavar="[SCENARIO]...", nargs=-1, type=click.Choice(SCENARIO_NAMES))
@option("--form", type=click.Choice(FORMS), default="both", help="Which time and network.")
@option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIO_NAMES),
    metavar="NAME...",
    help="Play only these.",
)
@seed_option
@json_option
@plain_option
@option("--output", type=_PATH, metavar="DIR", help="Write report.json, report.html and log.jsonl there.")
@option("--html", type=_PATH, metavar="FILE", help="Write the page with charts.")
@option("--log", type=_PATH, metavar="FILE", help="Write the raw log, which everything is computed from.")
@option(
    "--check", type=_PATH, nargs=2, metavar="REPORT LOG", help="Play nothing; recount a report from its log."
)
def report(
    *,
    more: tuple[str, ...],
    form: str,
    scenarios: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    plain: bool,
    output: Path | None,
    html: Path | None,
    log: Path | None,
    check: tuple[Path, Path] | None,
) -> int:
    """Play and judge."""
    from resilient_sse.cli.report.playing import run_report

    wanted = {*scenarios, *more}
    if check and (wanted or output or html or log):
        refuse("--check plays nothing: it goes with neither --scenario, --output, --html nor --log")
    return run_report(
        ReportOptions(
            form=form,
            scenarios=tuple(name for name in SCENARIO_NAMES if name in wanted or not wanted),
            seed=seed,
            json=as_json,
            plain=plain,
            output=output,
            html=html,
            log=log,
            check=check or None,
        )
    )
