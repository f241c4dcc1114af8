"""The report for a terminal: with rich where it is installed, as plain lines where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import IO

from resilient_sse.testing.report.document import FIELDS, Report
from resilient_sse.testing.report.gates import Verdict
from resilient_sse.testing.report.labels import FORM_NAMES, figure_name, scenario_title, wanted, written

__all__ = ["print_report"]

_HEADINGS = ("", "figure", "result", "wanted", "demand")


def print_report(report: Report, file: IO[str], *, plain: bool = False) -> None:
    """
    Print the tables of a report: the figures of each scenario against their gates, and the answer.

    Args:
        report: The report.
        file: Where to.
        plain: Do without rich, even if it is installed.
    """
    sections = [*_sections(report)]
    if plain or find_spec("rich") is None:
        _print_plain(sections, file)
    else:
        _print_rich(sections, file)
    answer = "YES" if report.ready else "NO"
    passed = sum(verdict.passed for verdict in report.verdicts)
    print(f"\nproduction readiness: {answer} ({passed} of {len(report.verdicts)} gates passed)", file=file)
    for reason in report.reasons:
        print(f"  {reason}", file=file)


def _sections(report: Report) -> Iterable[tuple[str, list[Verdict]]]:
    for key in FIELDS:
        for judged in report.judged:
            if judged.run.scenario == key:
                status = "PASS" if judged.passed else "FAIL"
                form = FORM_NAMES[judged.run.form]
                yield f"{scenario_title(key)}, {form}: {status}", _telling(judged.verdicts)
    together = [verdict for verdict in report.verdicts if verdict.gate.scenario == "aggregate"]
    if together:
        yield f"All scenarios, {FORM_NAMES[report.form]}", together


def _telling(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Leave out the gates that all scenarios share, unless they were failed: their figures are all zero."""
    return [
        verdict
        for verdict in verdicts
        if verdict.gate.scenario != "*"
        or not verdict.passed
        or verdict.gate.figure in ("completion_rate_percent", "duplicates", "message_loss")
    ]


def _row(verdict: Verdict) -> tuple[str, str, str, str, str]:
    gate = verdict.gate
    mark = "pass" if verdict.passed else "FAIL"
    demand = gate.demand.split(",")[0].split(":")[0]
    return mark, figure_name(gate.figure), written(gate.figure, verdict.value), wanted(gate), demand


def _print_plain(sections: list[tuple[str, list[Verdict]]], file: IO[str]) -> None:
    for title, verdicts in sections:
        print(f"\n{title}", file=file)
        rows = [_HEADINGS, *map(_row, verdicts)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {line}".rstrip(), file=file)


def _print_rich(sections: list[tuple[str, list[Verdict]]], file: IO[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - optional
    from rich.table import Table  # noqa: PLC0415 - optional
    from rich.text import Text  # noqa: PLC0415 - optional

    console = Console(file=file, highlight=False)
    for title, verdicts in sections:
        table = Table(title=title, title_justify="left", title_style="bold", min_width=72)
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading in ("result", "wanted") else "left")
        for verdict in verdicts:
            mark, *cells = _row(verdict)
            style = "green" if verdict.passed else "bold red"
            table.add_row(Text(mark, style), *(Text(cell) for cell in cells))
        console.print()
        console.print(table)
