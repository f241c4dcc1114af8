"""The report for people: one rendering by rich, for a terminal, for plain lines, and for a page with charts."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import IO, Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resilient_sse.testing.report.document import ALL, FORMS, TOGETHER, Judged, Report
from resilient_sse.testing.scenarios import SCENARIOS, Gate, Scenario, Verdict
from resilient_sse.testing.scenarios.log import Stream

_WIDTH, _LEFT, _RIGHT = 460, 30, 450
"""A drawing in its own units; a browser stretches it to the width there is."""
_TOP, _FLOOR, _BAND = 22, 84, 14
_LETTER = 5.2
"""What a letter of a label takes."""
_LONGEST_DELAY = 5.0


class _Scale(NamedTuple):
    """A straight line between the values *low* to *high* and the places *start* to *end*."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def timeline(stream: Stream) -> str:
    """Draw one stream: its states as a band, events received as a curve, faults as lines, delays as numbers."""
    received, published = stream.received, len(stream.published)
    begun, over = stream.entries[0].at, stream.entries[-1].at
    x = _Scale(begun, over if over > begun else begun + 1, _LEFT, _RIGHT)
    y = _Scale(0, max(published, 1), _FLOOR - 2, _TOP)
    places = [(x(x.low), y(0))]
    for number, entry in enumerate(received, start=1):
        places += [(x(entry.at), places[-1][1]), (x(entry.at), y(number))]
    places.append((x(x.high), places[-1][1]))
    content = [
        *_seconds(x, _FLOOR + _BAND + 4, top=_TOP),
        _text(_LEFT - 4, y(published) + 4, str(published), "tick", "end"),
        _tag("polyline", points=" ".join(f"{left:g},{up:g}" for left, up in places), class_="curve"),
    ]
    free = 0.0  # names that would run into each other are left out
    for entry in [*stream.all("mended"), *stream.all("fault")]:
        at, name = x(entry.at), str(entry.facts["name"])
        content.append(_tag("line", x1=at, x2=at, y1=_TOP - 4, y2=_FLOOR, class_=entry.kind))
        half = _LETTER * len(name) / 2
        if entry.kind == "fault" and at - half > free:
            middle = min(max(at, _LEFT + half), _RIGHT - half)
            content.append(_text(middle, _TOP - 8, name, "fault-name"))
            free = middle + half + 4
    changes = stream.all("state")
    bounds = [x.low, *(change.at for change in changes), x.high]
    told = [
        ("connecting", "", None),
        *((c.facts["new"], c.facts["message"], c.facts["delay"]) for c in changes),
    ]
    for (start, stop), (state, message, delay) in zip(pairwise(bounds), told, strict=True):
        width = round(max(x(stop) - x(start), 0.8), 2)
        title = _tag("title", escape(f"{state}: {message} ({stop - start:.2f} s)"))
        content.append(
            _tag("rect", title, x=x(start), y=_FLOOR, width=width, height=_BAND, class_=f"state {state}")
        )
        label = "" if delay is None else f"{delay:.3g} s"
        if label and width > _LETTER * len(label) + 2:
            content.append(_text(x((start + stop) / 2), _FLOOR + 11, label, "delay"))
    label = f"{stream.name}: {len(received)} of {published} messages, states over time"
    return _drawing(content, label, height=128)


def delays(streams: Sequence[Stream]) -> str:
    """Draw the delays that many clients drew, attempt by attempt, in the band that is allowed."""
    announced = [entry.facts for stream in streams for entry in stream.announcements]
    attempts = max((facts["attempt"] for facts in announced), default=1)
    row, bottom = 20, _TOP + 20 * attempts
    x = _Scale(0, 1.05 * _LONGEST_DELAY, _LEFT, _RIGHT)
    content = [*_seconds(x, bottom + 2, top=_TOP - 6)]
    for attempt in range(1, attempts + 1):
        middle = _TOP + row * (attempt - 0.5)
        nominal = min(2.0 ** (attempt - 1), _LONGEST_DELAY)
        low, high = x(0.9 * nominal), x(min(1.1 * nominal, _LONGEST_DELAY))
        content.append(
            _tag("rect", x=low, y=middle - 7, width=round(high - low, 2), height=14, rx=3, class_="allowed")
        )
        content.append(_text(_LEFT - 6, middle + 4, str(attempt), "tick", "end"))
        mine = [facts["delay"] for facts in announced if facts["attempt"] == attempt]
        for number, delay in enumerate(mine):
            height = round(middle + 5 * ((number * 7 % 11) / 5.5 - 0.95), 2)
            content.append(_tag("circle", cx=x(delay), cy=height, r=1.3, class_="dot"))
    return _drawing(content, f"delays before each attempt of {len(streams)} clients", height=bottom + 20)


def _seconds(scale: _Scale, y: float, *, top: float) -> Iterable[str]:
    """Yield an axis of about six round numbers of seconds from the scale's beginning, with lines up to *top*."""
    rough = (scale.high - scale.low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough)
    for number in range(math.floor((scale.high - scale.low) / step + 1e-9) + 1):
        x = scale(scale.low + number * step)
        yield _tag("line", x1=x, x2=x, y1=top, y2=y, class_="grid")
        yield _text(x, y + 12, f"{number * step:g} s", "tick", "middle" if x < _RIGHT - 12 else "end")


def _text(x: float, y: float, text: str, style: str, anchor: str = "middle") -> str:
    return _tag("text", escape(text), x=round(x, 2), y=y, class_=style, text_anchor=anchor)


def _tag(name: str, content: str = "", **attributes: str | float) -> str:
    """Write an element; an underscore at the end of a name is left out, one within it becomes a hyphen."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _drawing(content: Iterable[str], label: str, *, height: float) -> str:
    inner = _tag("title", escape(label)) + "".join(content)
    return _tag("svg", inner, viewBox=f"0 0 {_WIDTH} {height:g}", role="img", aria_label=label)


_PAGE_COLUMNS, _PLAIN_COLUMNS = 96, 200

# --- Tables, and the page around all

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
    """Print the figures of each scenario against their gates, and the answer; *plain* without colours."""
    lines = io.StringIO()
    console = _console(lines if plain else file, plain=plain)
    for scenario in SCENARIOS.values():
        for judged in report.judged:
            if judged.run.scenario == scenario.key:
                status = "PASS" if judged.passed else "FAIL"
                title = f"{scenario.title}, {FORMS[judged.run.form]}: {status}"
                telling = [
                    x
                    for x in judged.verdicts
                    if x.gate.scenario != ALL or not x.passed or x.gate.figure in _TELLING
                ]
                _print_table(console, title, telling, scenario.words, plain=plain)
    together = [verdict for verdict in report.verdicts if verdict.gate.scenario == TOGETHER]
    if together:
        _print_table(console, f"All scenarios, {FORMS[report.form]}", together, {}, plain=plain)
    _print_answer(console, report)
    file.writelines(f"{line.rstrip()}\n" for line in lines.getvalue().splitlines())


def render_page(report: Report) -> str:
    """Return the report as one HTML page that needs nothing else: every gate, and charts of the runs."""
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
    folder = files("resilient_sse.testing.report")
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
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
        unit = _split(gate.figure)[1]
        return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
    relation = {"==": "", "<=": "at most ", "<": "under ", ">=": "at least ", ">": "over "}[gate.relation]
    return relation + written(gate.figure, gate.limit)


def _table(verdicts: Iterable[Verdict], words: Mapping[str, str], *, plain: bool, title: str = "") -> Table:
    """Return a table with a row for each verdict, without a frame if it is to be *plain*."""
    table = Table(
        *("", "figure"),
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=None if plain else SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="" if plain else "bold",
    )
    table.columns[0].no_wrap = True
    for name in ("result", "wanted"):
        table.add_column(name, justify="right", no_wrap=True)
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


def _split(figure: str) -> tuple[str, str]:
    """Split a figure's name from its unit."""
    ending = next((ending for ending in _UNITS if figure.endswith(ending)), "")
    return figure.removesuffix(ending), _UNITS.get(ending, "")


def figure_name(figure: str, words: Mapping[str, str]) -> str:
    """Return what people call a figure: as *words* say, or by its name."""
    return words.get(figure) or _WORDS.get(figure) or _split(figure)[0].replace("_", " ")


def written(figure: str, value: object) -> str:
    """Return the value of a figure with its unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, int | float):
        return f"{value + 0.0:,.10g}{_split(figure)[1]}"
    return f"{value}{_split(figure)[1]}"
