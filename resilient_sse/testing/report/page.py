"""The report for people: one rendering by rich, for a terminal, for plain lines, and for a page with charts."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import IO, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resilient_sse.monitoring.alerts import conditions
from resilient_sse.testing.report.document import ALL, FORMS, Judged, Report
from resilient_sse.testing.scenarios.gates import GateResult, split, written
from resilient_sse.testing.scenarios.log import Stream
from resilient_sse.testing.scenarios.rapid_reconnects import LONGEST_DELAY, band

_WIDTH, _LEFT, _RIGHT = 460, 30, 450
"""A drawing in its own units; a browser stretches it to the width there is."""
_TOP, _FLOOR, _BAND = 22, 84, 14
_LETTER = 5.2
"""What a letter of a label takes."""


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
    x = _Scale(0, 1.05 * LONGEST_DELAY, _LEFT, _RIGHT)
    content = [*_seconds(x, bottom + 2, top=_TOP - 6)]
    for attempt in range(1, attempts + 1):
        middle = _TOP + row * (attempt - 0.5)
        low, high = (x(bound) for bound in band(attempt))
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


# --- Tables, and the page around all

_PAGE_COLUMNS, _PLAIN_COLUMNS = 96, 200

_TELLING = ("completion_rate_percent", "duplicates", "message_loss")
"""Of the figures that all scenarios share, those that are worth a row if all is well."""


def print_report(report: Report, file: IO[str], *, plain: bool = False) -> None:
    """Print the figures of each scenario against their gates, and the answer; *plain* without colours."""
    lines = io.StringIO()
    console = Console(file=file, highlight=False)
    if plain:
        console = Console(file=lines, highlight=False, width=_PLAIN_COLUMNS, color_system=None)
    for judged in report.judged:
        title = f"{judged.scenario.name}, {FORMS[judged.run.form]}: {'PASS' if judged.passed else 'FAIL'}"
        telling = [
            x for x in judged.verdicts if x.gate.scenario != ALL or not x.passed or x.gate.figure in _TELLING
        ]
        _print_table(console, f"\n{title}", telling, plain=plain)
    if report.together:
        _print_table(console, f"\nAll scenarios, {FORMS[report.form]}", report.together, plain=plain)
    _print_answer(console, report)
    file.writelines(f"{line.rstrip()}\n" for line in lines.getvalue().splitlines())


def render_page(report: Report) -> str:
    """Return the report as one HTML page that needs nothing else: every gate, and charts of the runs."""
    sections = [_section(report, shown) for shown in report.shown.values()]
    if report.together:
        status = "PASS" if all(verdict.passed for verdict in report.together) else "FAIL"
        sections.append(
            f"<section><h2>All scenarios: back after a loss <b class='{status}'>{status}</b></h2>"
            "<p>From the loss that was noticed to the next event; outages that took more than two attempts, or"
            " after which the server had nothing to send, are left out.</p>"
            + _exported(lambda console: _print_table(console, FORMS[report.form], report.together))
            + "</section>"
        )
    played = ", ".join(FORMS[form] for form in FORMS if any(x.run.form == form for x in report.judged))
    folder = files("resilient_sse.testing.report")
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        answer="YES" if report.ready else "NO",
        subtitle=escape(f"{report.day:%Y-%m-%d}; played in {played}; charts of {FORMS[report.form]}"),
        verdict=_exported(lambda console: _print_answer(console, report)),
        sections="\n".join(sections),
        alerts=escape("Alerts: " + "; ".join(conditions()) + "."),
    )


def _section(report: Report, shown: Judged) -> str:
    scenario, status = shown.scenario, report.status(shown.scenario.key)
    drawings: list[str] = []
    for chart in scenario.charts:
        streams = shown.run.part(chart.part)
        if streams:
            many = len(streams) > 1 and chart.kind == "timeline"
            caption = f"{chart.caption}{f' (the first of {len(streams)})' if many else ''}"
            drawing = timeline(streams[0]) if chart.kind == "timeline" else delays(streams)
            drawings.append(f"<figure><figcaption>{escape(caption)}</figcaption>{drawing}</figure>")

    def tables(console: Console) -> None:
        for judged in report.judged:
            if judged.scenario is scenario:
                _print_table(console, FORMS[judged.run.form], judged.verdicts)

    return (
        f"<section><h2>{escape(scenario.name)} <b class='{status}'>{status}</b></h2>"
        f"<p>{escape(scenario.promise)}</p>{''.join(drawings)}{_exported(tables)}</section>"
    )


def _exported(printed: Callable[[Console], None]) -> str:
    """Return what is printed as HTML; a page has its colours, whatever the terminal wants."""
    console = Console(
        file=io.StringIO(),
        record=True,
        highlight=False,
        width=_PAGE_COLUMNS,
        color_system="truecolor",
        force_terminal=True,
        no_color=False,
    )
    printed(console)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _print_table(
    console: Console,
    title: str,
    verdicts: Iterable[GateResult],
    *,
    plain: bool = False,
) -> None:
    """Print a table with a row for each verdict, without a frame if it is to be *plain*."""
    table = Table("", "figure", box=None if plain else SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    for name in ("result", "wanted"):
        table.add_column(name, justify="right", no_wrap=True)
    for verdict in verdicts:
        table.add_row(
            Text("pass", "green") if verdict.passed else Text("FAIL", "bold red"),
            Text(split(verdict.gate.figure)[0].replace("_", " ")),
            Text(written(verdict.gate.figure, verdict.value)),
            Text(verdict.gate.wanted),
        )
    console.print(Text(title, "bold"))
    console.print(table)


def _print_answer(console: Console, report: Report) -> None:
    passed = sum(verdict.passed for verdict in report.verdicts)
    answer = f"production readiness: {'YES' if report.ready else 'NO'}"
    console.print(f"\n{answer} ({passed} of {len(report.verdicts)} gates passed)", style="bold", markup=False)
    for reason in report.reasons:
        console.print(f"  {reason}", markup=False, style=None if console.record else "red")
