"""What `rules` accepts."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from resilient_sse.cli.numbers import above_zero

__all__ = ["FORMATS", "RulesOptions", "add_rules", "rules_options"]

FORMATS = {
    "prometheus": "alert rules and recording rules for Prometheus, as YAML",
    "datadog": "monitors for Datadog, as JSON",
    "grafana": "a dashboard for Grafana, as JSON",
}
"""What can be made."""

# Which options mean something for which format.
_SCALED = ("prometheus",)
_LED = ("prometheus", "datadog")

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesOptions:
    """What `rules` was asked for; `rules_options` has checked it; `None` stands for the default."""

    format: str
    output: str | None = None
    scale: float | None = None
    runbooks: str | None = None
    labels: tuple[str, ...] = ()


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    listed = "\n".join(f"  {name:12}{about}" for name, about in FORMATS.items())
    parser.description = f"Write alert rules, monitors or a dashboard, all made from one table.\n\n{listed}"
    parser.epilog = "exit codes: 0 written, 2 wrong arguments, 4 the file cannot be written"
    parser.add_argument("format", choices=list(FORMATS), metavar="FORMAT", help="what to write, see above")
    parser.add_argument("-o", "--output", type=_file, metavar="FILE", help="standard output by default")
    parser.add_argument(
        "--runbooks",
        type=_address,
        metavar="ADDRESS",
        help="where you publish the runbooks: https://.../runbooks/*.html; the name of each takes the place of *",
    )
    parser.add_argument(
        "--label",
        action="append",
        type=_label,
        default=[],
        dest="labels",
        metavar="NAME",
        help="grafana: one of your own labels, to get a variable; may be repeated",
    )
    parser.add_argument(
        "--scale",
        type=above_zero,
        metavar="N",
        help="divide all durations by N, to rehearse: with 60, five minutes take five seconds",
    )


def rules_options(given: argparse.Namespace) -> RulesOptions:
    """
    Make options of what was parsed.

    Raises:
        ValueError: An option means nothing for the format.
    """
    for name, value, formats in (
        ("--scale", given.scale, _SCALED),
        ("--runbooks", given.runbooks, _LED),
        ("--label", given.labels, ("grafana",)),
    ):
        if value and given.format not in formats:
            raise ValueError(f"{name} means nothing for {given.format}; it is for {', '.join(formats)}")
    return RulesOptions(
        format=given.format,
        output=given.output,
        scale=given.scale,
        runbooks=given.runbooks,
        labels=tuple(given.labels),
    )


def _address(text: str) -> str:
    if "*" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no * where the names of the runbooks belong")
    if text.count("*") > 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} has more than one *: the name of a runbook is put in once"
        )
    return text


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return text


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a label")
    return text
