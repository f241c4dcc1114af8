"""The report for people: one rendering by rich, for a terminal, for plain lines, and for a page with charts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from resilient_sse.testing.extra import require
from resilient_sse.testing.report.charts import delays, timeline
from resilient_sse.testing.report.document import ALL, FORMS, TOGETHER, Judged, Report
from resilient_sse.testing.scenarios import SCENARIOS, Gate, Scenario, Verdict

_PAGE_COLUMNS, _PLAIN_COLUMNS = 96, 200

_UNITS = {"_ms": " ms", "_s": " s", "_percent": " %", "_bytes": " bytes"}

_WORDS = {
    "in_time": "came to its end",
    "announcements": "reconnects announced",
    "suppressed": "repeated events suppressed",
    "unreconciled": "streams whose own count is off",
    "unrecovered": "outages not recovered from",
    "order_breaks": "events out of order",
    "altered": "events altered",
    "message_loss": "messages lost",
    "max_live_connections": "connections of a stream at once",
    "reconnects_never": "outages not recovered from",
}
_TELLING = ("completion_rate_percent", "duplicates", "message_loss")
"""Of the figures that all scenarios share, those that are worth a row if all is well."""


def print_report(report: Report, file: IO[str], *, plain: bool = False) -> None:
    """
    Print the tables of a report: the figures of each scenario against their gates, and the answer.

    Args:
        report: The report.
        file: Where to.
        plain: Without frames and colours, and without lines that are wrapped.

    Raises:
        ModuleNotFoundError: rich is not installed: `pip install 'resilient-sse[testing]'`.
    """
    lines = io.StringIO()
    console = _console(lines if plain else file, plain=plain)
    for scenario in SCENARIOS.values():
        for judged in report.judged:
            if judged.run.scenario == scenario.key:
                status = "PASS" if judged.passed else "FAIL"
                title = f"{scenario.title}, {FORMS[judged.run.form]}: {status}"
                _print_table(console, title, _telling(judged.verdicts), scenario.words, plain=plain)
    together = [verdict for verdict in report.verdicts if verdict.gate.scenario == TOGETHER]
    if together:
        _print_table(console, f"All scenarios, {FORMS[report.form]}", together, {}, plain=plain)
    _print_answer(console, report)
    file.writelines(f"{line.rstrip()}\n" for line in lines.getvalue().splitlines())


def render_page(report: Report) -> str:
    """
    Return the report as one HTML page that needs nothing else: every gate, and charts of the runs.

    Raises:
        ModuleNotFoundError: rich is not installed: `pip install 'resilient-sse[testing]'`.
    """
    sections = [_section(report, x) for x in SCENARIOS.values() if x.key in report.shown]
    together = [verdict for verdict in report.verdicts if verdict.gate.scenario == TOGETHER]
    if together:
        status = "PASS" if all(verdict.passed for verdict in together) else "FAIL"
        sections.append(
            f"<section><h2>All scenarios: back after a loss <b class='{status}'>{status}</b></h2>"
            "<p>From the loss that was noticed to the next event; outages that took more than two attempts, or"
            " after which the server had nothing to send, are left out.</p>"
            + _exported(together, {}, f"All scenarios, {FORMS[report.form]}")
            + "</section>"
        )
    console = _console(io.StringIO(), record=True)
    _print_answer(console, report)
    played = ", ".join(FORMS[form] for form in FORMS if any(x.run.form == form for x in report.judged))
    return Template(_resource("page.html")).substitute(
        style=_resource("page.css"),
        answer="YES" if report.ready else "NO",
        subtitle=escape(f"{report.day:%Y-%m-%d}; played in {played}; charts of {FORMS[report.form]}"),
        verdict=console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"),
        sections="\n".join(sections),
        alerts=escape("Alerts: " + "; ".join(report.to_dict()["alerts_configured"]) + "."),
    )


def wanted(gate: Gate) -> str:
    """Return what a gate asks for, with its unit."""
    if gate.relation == "within" and isinstance(gate.limit, tuple):
        low, high = (f"{limit:,g}" for limit in gate.limit)
        unit = _unit(gate.figure)
        return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
    relation = {"==": "", "<=": "at most ", "<": "under ", ">=": "at least ", ">": "over "}[gate.relation]
    return relation + written(gate.figure, gate.limit)


def _table(verdicts: Iterable[Verdict], words: Mapping[str, str], *, plain: bool, title: str = "") -> Table:
    """Return a table with a row for each verdict, without a frame if it is to be *plain*."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - optional
    from rich.table import Table  # noqa: PLC0415 - optional
    from rich.text import Text  # noqa: PLC0415 - optional

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=None if plain else SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="" if plain else "bold",
    )
    table.add_column("", no_wrap=True)
    table.add_column("figure")
    table.add_column("result", justify="right", no_wrap=True)
    table.add_column("wanted", justify="right", no_wrap=True)
    for verdict in verdicts:
        gate = verdict.gate
        table.add_row(
            Text("pass", "green") if verdict.passed else Text("FAIL", "bold red"),
            Text(figure_name(gate.figure, words)),
            Text(written(gate.figure, verdict.value)),
            Text(wanted(gate)),
        )
    return table


def _console(file: IO[str], *, plain: bool = False, record: bool = False) -> Console:
    require("the report", "rich", server=False)
    from rich.console import Console  # noqa: PLC0415 - optional

    options: dict[str, Any] = {"width": _PLAIN_COLUMNS, "color_system": None} if plain else {}
    if record:  # a page has its colours, whatever the terminal wants
        options = {
            "width": _PAGE_COLUMNS,
            "color_system": "truecolor",
            "force_terminal": True,
            "no_color": False,
        }
    return Console(file=file, record=record, highlight=False, **options)


def _print_table(
    console: Console, title: str, verdicts: Iterable[Verdict], words: Mapping[str, str], *, plain: bool
) -> None:
    console.print()
    if plain:
        console.print(title, markup=False)
    console.print(_table(verdicts, words, plain=plain, title="" if plain else title))


def _print_answer(console: Console, report: Report) -> None:
    passed = sum(verdict.passed for verdict in report.verdicts)
    answer = f"production readiness: {'YES' if report.ready else 'NO'}"
    console.print(f"\n{answer} ({passed} of {len(report.verdicts)} gates passed)", style="bold", markup=False)
    for reason in report.reasons:
        console.print(f"  {reason}", markup=False, style=None if console.record else "red")


def _telling(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [x for x in verdicts if x.gate.scenario != ALL or not x.passed or x.gate.figure in _TELLING]


def _section(report: Report, scenario: Scenario) -> str:
    status = report.status(scenario.key)
    mine: list[Judged] = [judged for judged in report.judged if judged.run.scenario == scenario.key]
    drawings: list[str] = []
    for chart in scenario.charts:
        streams = report.shown[scenario.key].run.part(chart.part)
        if streams:
            many = len(streams) > 1 and chart.kind == "timeline"
            caption = f"{chart.caption}{f' (the first of {len(streams)})' if many else ''}"
            drawing = timeline(streams[0]) if chart.kind == "timeline" else delays(streams)
            drawings.append(f"<figure><figcaption>{escape(caption)}</figcaption>{drawing}</figure>")
    tables = "".join(_exported(x.verdicts, scenario.words, FORMS[x.run.form]) for x in mine)
    return (
        f"<section><h2>{escape(scenario.title)} <b class='{status}'>{status}</b></h2>"
        f"<p>{escape(scenario.promise)}</p>{''.join(drawings)}{tables}</section>"
    )


def _exported(verdicts: Iterable[Verdict], words: Mapping[str, str], title: str) -> str:
    console = _console(io.StringIO(), record=True)
    console.print(_table(verdicts, words, plain=False, title=title))
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _resource(name: str) -> str:
    return files("resilient_sse.testing.report").joinpath(name).read_text(encoding="utf-8")


def figure_name(figure: str, words: Mapping[str, str]) -> str:
    """Return what people call a figure: as *words* say, or by its name."""
    known = words.get(figure) or _WORDS.get(figure)
    stem = next((figure.removesuffix(ending) for ending in _UNITS if figure.endswith(ending)), figure)
    return known or stem.replace("_", " ")


def _unit(figure: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if figure.endswith(ending)), "")


def written(figure: str, value: object) -> str:
    """Return the value of a figure with its unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, int | float):
        return f"{value + 0.0:,.10g}{_unit(figure)}"
    return f"{value}{_unit(figure)}"
