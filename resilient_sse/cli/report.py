"""`resilient-sse report`: the production scenarios, played and judged."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow

import click

from resilient_sse.cli.arguments import command, json_option, option, plain_option, seed_option
from resilient_sse.cli.exits import Exit, complain

# Written down again, so that --help needs nothing optional; a test compares the two.
SCENARIO_NAMES = ("slow-3g", "stall", "packet-loss", "handoff", "rapid-reconnects", "user-experience")

_FILES = ("report.json", "report.html", "log.jsonl")
_SEEDS = 10_000


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
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(Exit.TERMINATED))
    forms = ("virtual", "real") if form == "both" else (form,)
    server = "real" in forms
    require("the report" + " over real sockets" * server, "rich", server=server)

    from resilient_sse.testing.report import Report, print_report, render_page
    from resilient_sse.testing.scenarios import SCENARIOS, play_all

    if output is not None:
        try:  # now, so that no run is wasted on a wrong one
            output.mkdir(parents=True, exist_ok=True)
            for name in _FILES:
                (output / name).open("ab").close()  # other than `touch`, it refuses a directory
        except OSError as error:
            complain(f"{error.filename}: {error.strerror}")
            return Exit.OTHER
    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    seed = randbelow(_SEEDS) if seed is None else seed
    played = [scenario for name, scenario in SCENARIOS.items() if name in (scenarios or SCENARIO_NAMES)]
    begun = time.monotonic()

    def done(run: str) -> None:
        print(f"{time.monotonic() - begun:5.1f} s  {run}", file=sys.stderr, flush=True)

    entries = play_all(played, forms, seed=seed, done=done)
    judged = Report(entries, day=datetime.now(UTC).date())
    document = json.dumps(judged.to_dict(), indent=2) + "\n"
    try:
        if output is not None:
            log = "".join(f"{entry.to_json()}\n" for entry in entries)
            for name, text in zip(_FILES, (document, render_page(judged), log), strict=True):
                (output / name).write_text(text, encoding="utf-8")
            print(f"written to {output}: {', '.join(_FILES)}", file=sys.stderr)
    finally:  # a disk that is full takes no result away
        if as_json:
            print(document, end="", flush=True)
        else:
            print_report(judged, sys.stdout, plain=plain or not sys.stdout.isatty())
            print(f"seed {seed}", flush=True)
    # Of a part nobody can say that all is well; that what was played is well, one can.
    kept = judged.ready if judged.complete else judged.kept
    return Exit.ENDED if kept else Exit.GAVE_UP
