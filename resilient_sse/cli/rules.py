"""`resilient-sse rules`: alert rules, monitors and a dashboard, all made from one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from resilient_sse.cli.arguments import ABOVE_ZERO, checked, command, option, refuse
from resilient_sse.cli.exits import Exit, complain

FORMATS: Final = {
    "prometheus": "alert rules and recording rules for Prometheus, as YAML",
    "datadog": "monitors for Datadog, as JSON",
    "grafana": "a dashboard for Grafana, as JSON",
}
"""What can be made."""

# Which options mean something for which format only.
_MEANT: Final = {"--scale": ("prometheus",), "--runbooks": ("prometheus", "datadog"), "--label": ("grafana",)}
_LISTED: Final = "\n".join(f"  {name:12}{about}" for name, about in FORMATS.items())


def _address(text: str) -> str:
    if text.count("*") != 1:
        raise click.BadParameter(f"{text!r} must have one *, where the name of a runbook belongs")
    return text


@command(
    "Write alert rules, monitors and a dashboard.",
    f"Write alert rules, monitors or a dashboard, all made from one table.\n\n\b\n{_LISTED}",
    examples="resilient-sse rules prometheus --runbooks 'https://docs.example.com/runbooks/*.html' -o rules.yml",
    exits={0: "written", 4: "the file cannot be written"},
)
@click.argument("format", metavar="FORMAT", type=click.Choice(list(FORMATS)))
@option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Standard output by default.")
@option(
    "--runbooks",
    type=_address,
    metavar="ADDRESS",
    help="Where yours are: https://.../*.html, * being the name of each.",
)
@option(
    "--label", "labels", metavar="NAME", multiple=True, help="grafana: a label to get a variable; repeatable."
)
@option("--scale", type=ABOVE_ZERO, help="Divide all durations, to rehearse: 60 makes seconds of minutes.")
def rules(
    *,
    format: str,  # noqa: A002 - the name of the argument
    output: Path | None,
    runbooks: str | None,
    labels: tuple[str, ...],
    scale: float | None,
) -> int:
    """Write what was asked for."""
    given = {"--scale": scale, "--runbooks": runbooks, "--label": labels}
    for name, formats in _MEANT.items():
        if given[name] and format not in formats:
            refuse(f"{name} means nothing for {format}; it is for {', '.join(formats)}")

    from resilient_sse.metrics.labels import checked_names
    from resilient_sse.monitoring.datadog_monitors import datadog_monitors
    from resilient_sse.monitoring.grafana import grafana_dashboard
    from resilient_sse.monitoring.prometheus_rules import RUNBOOKS, prometheus_rules

    with checked():
        match format:
            case "prometheus":
                text = prometheus_rules(scale=scale or 1.0, runbooks=runbooks or RUNBOOKS)
            case "datadog":
                text = datadog_monitors(runbooks=runbooks or RUNBOOKS)
            case _:
                text = grafana_dashboard(checked_names(labels))
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return Exit.ENDED
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        complain(f"{output} cannot be written: {error.strerror or error}; see --output")
        return Exit.OTHER
    return Exit.ENDED
