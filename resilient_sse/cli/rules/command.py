"""What `rules` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.metrics.labels import checked_names
from resilient_sse.monitoring.datadog_monitors import datadog_monitors
from resilient_sse.monitoring.grafana import grafana_dashboard
from resilient_sse.monitoring.prometheus_rules import RUNBOOKS, prometheus_rules

if TYPE_CHECKING:
    from resilient_sse.cli.rules.arguments import RulesOptions

__all__ = ["run_rules"]


def run_rules(options: RulesOptions) -> int:
    """
    Write what was asked for, and return the exit code.

    Raises:
        OSError: Standard output cannot be written.
    """
    try:
        text = _made(options)
    except ValueError as error:
        complain(str(error))
        return Exit.USAGE
    if options.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return Exit.ENDED
    try:
        Path(options.output).write_text(text, encoding="utf-8")
    except OSError as error:
        complain(f"{options.output} cannot be written: {error.strerror or error}; see --output")
        return Exit.OTHER
    return Exit.ENDED


def _made(options: RulesOptions) -> str:
    scale = options.scale or 1.0
    runbooks = options.runbooks or RUNBOOKS
    match options.format:
        case "prometheus":
            return prometheus_rules(scale=scale, runbooks=runbooks)
        case "datadog":
            return datadog_monitors(runbooks=runbooks)
        case _:
            return grafana_dashboard(checked_names(options.labels))
