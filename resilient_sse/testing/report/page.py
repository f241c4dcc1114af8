"""The report as one HTML page that needs nothing else: figures against their gates, and charts of the runs."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

from resilient_sse.testing.report.charts import charted, recoveries_chart
from resilient_sse.testing.report.document import FIELDS, Judged, Report
from resilient_sse.testing.report.figures import PROMPT_ATTEMPTS
from resilient_sse.testing.report.gates import Verdict
from resilient_sse.testing.report.labels import FORM_NAMES, figure_name, scenario_title, wanted, written
from resilient_sse.testing.report.svg import tag
from resilient_sse.testing.scenarios import SCENARIOS

__all__ = ["render_page"]

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Streaming resilience: $answer</title>
<style>
$style</style>
</head>
<body>
<main>
<header>
<div><h1>Streaming resilience, production scenarios</h1><p class="dim">$subtitle</p></div>
<div class="answer $verdict">Production ready: $answer<small>$passed of $total gates passed</small></div>
</header>
$reasons
<ul class="tiles">
$tiles
</ul>
<ul class="legend">
$legend
</ul>
<div class="cards">
$cards
</div>
<footer>Every figure is computed from the raw log. Letters with numbers name the demands. $alerts</footer>
</main>
</body>
</html>
""")

_STATES = ("connecting", "connected", "waiting", "reconnecting", "error", "closed")

_TILES = (
    ("mean_completion_rate_percent", "mean completion"),
    ("mean_reconnect_time_ms", "mean reconnect"),
    ("p95_reconnect_time_ms", "p95 reconnect"),
    ("p99_reconnect_time_ms", "p99 reconnect"),
    ("total_message_loss", "messages lost"),
    ("total_duplicates", "delivered twice"),
)


def render_page(report: Report) -> str:
    """Return the page."""
    answer = "YES" if report.ready else "NO"
    played = ", ".join(FORM_NAMES[form] for form in dict.fromkeys(x.run.form for x in report.judged))
    return _PAGE.substitute(
        style=files("resilient_sse.testing.report").joinpath("page.css").read_text(encoding="utf-8"),
        answer=answer,
        verdict="pass" if report.ready else "fail",
        subtitle=escape(f"{report.day:%Y-%m-%d}; played over {played}; shown: {FORM_NAMES[report.form]}"),
        passed=sum(verdict.passed for verdict in report.verdicts),
        total=len(report.verdicts),
        reasons=_reasons(report),
        tiles="\n".join(_tile(report, name, label) for name, label in _TILES),
        legend="\n".join(_legend()),
        cards="\n".join([*(_card(report, key) for key in FIELDS if key in report.shown), *_together(report)]),
        alerts=escape("Alerts: " + "; ".join(report.to_dict()["alerts_configured"]) + "."),
    )


def _reasons(report: Report) -> str:
    if report.ready:
        return ""
    items = "".join(tag("li", escape(reason)) for reason in report.reasons)
    return f'<section class="reasons"><h2 class="fail">Why not</h2><ul>{items}</ul></section>'


def _tile(report: Report, name: str, label: str) -> str:
    verdict = next((x for x in report.verdicts if x.gate.figure == name and x.run == "aggregate"), None)
    style = "" if verdict is None else "pass" if verdict.passed else "fail"
    limit = "" if verdict is None else f" ({wanted(verdict.gate)})"
    value = tag("b", escape(written(name, report.figures[name])), class_=style)
    return tag("li", value + tag("span", escape(label + limit)))


def _legend() -> Iterable[str]:
    for state in _STATES:
        yield f'<li><i style="background: var(--{state})"></i>{state}</li>'
    yield '<li><i style="background: var(--curve); height: 3px"></i>messages received</li>'
    yield '<li><i style="border-top: 2px dashed var(--mark); height: 4px"></i>fault, or limit</li>'
    yield '<li><i style="border-top: 2px dashed var(--connected); height: 4px"></i>fault over</li>'


def _card(report: Report, key: str) -> str:
    mine = [judged for judged in report.judged if judged.run.scenario == key]
    status = report.status(key)
    promise = next(scenario.promise for scenario in SCENARIOS.values() if scenario.key == key)
    number = [*FIELDS].index(key) + 1
    badge = tag("span", status, class_=f"badge {'pass' if status == 'PASS' else 'fail'}")
    drawings = "".join(
        tag("figure", tag("figcaption", escape(caption)) + drawing)
        for caption, drawing in charted(report.shown[key].run)
    )
    return (
        f"<section><header><h2>{number}. {escape(scenario_title(key))}</h2>{badge}</header>"
        f"<p class='dim'>{escape(promise)}</p>{drawings}{_table(mine)}</section>"
    )


def _table(mine: list[Judged]) -> str:
    """Write a row for each figure and a column for each form; what is zero everywhere folds away."""
    rows: dict[str, dict[str, Verdict]] = {}
    for judged in mine:
        for verdict in judged.verdicts:
            rows.setdefault(verdict.gate.figure, {}).setdefault(judged.run.form, verdict)
            if not verdict.passed:  # of several gates on a figure, the one that was failed
                rows[verdict.gate.figure][judged.run.form] = verdict
    forms = [judged.run.form for judged in mine]
    own = [_row(forms, x) for x in rows.values() if next(iter(x.values())).gate.scenario != "*" or _failed(x)]
    shared = [
        _row(forms, x)
        for x in rows.values()
        if next(iter(x.values())).gate.scenario == "*" and not _failed(x)
    ]
    head = "".join(tag("th", name) for name in ("figure", *forms, "wanted"))
    head = f"<tr>{head}<th class='demand'>demand</th><th></th></tr>"
    summary = tag("summary", f"{len(shared)} gates that all scenarios share, passed")
    fold = tag("details", summary + tag("table", head + "".join(shared))) if shared else ""
    return tag("table", head + "".join(own)) + fold


def _failed(row: dict[str, Verdict]) -> bool:
    return not all(verdict.passed for verdict in row.values())


def _row(forms: list[str], row: dict[str, Verdict]) -> str:
    gate = next(iter(row.values())).gate
    cells = [tag("td", escape(figure_name(gate.figure)))]
    for form in forms:
        text = written(gate.figure, row[form].value) if form in row else "-"
        cells.append(tag("td", escape(text), class_="number"))
    limits = dict.fromkeys(wanted(verdict.gate) for verdict in row.values())
    cells.append(tag("td", escape("; ".join(limits))))
    cells.append(tag("td", escape(gate.demand.split(":")[0].split(",")[0]), class_="dim demand"))
    style, word = ("fail", "FAIL") if _failed(row) else ("pass", "pass")
    return tag("tr", "".join(cells) + tag("td", word, class_=style))


def _together(report: Report) -> Iterable[str]:
    recoveries = [
        recovery
        for judged in report.shown.values()
        for recovery in judged.run.recoveries()
        if recovery.attempts <= PROMPT_ATTEMPTS and not recovery.idle
    ]
    if not recoveries:
        return
    together = [verdict for verdict in report.verdicts if verdict.run == "aggregate"]
    rows = "".join(_row([report.form], {report.form: verdict}) for verdict in together)
    head = f"<tr><th>figure</th><th>{report.form}</th><th>wanted</th><th class='demand'>demand</th><th></th></tr>"
    caption = f"Share of {len(recoveries)} outages that were over after so many seconds"
    drawing = tag("figure", tag("figcaption", caption) + recoveries_chart(recoveries))
    style = "pass" if all(verdict.passed for verdict in together) else "fail"
    badge = tag("span", "PASS" if style == "pass" else "FAIL", class_=f"badge {style}") if together else ""
    yield (
        f"<section><header><h2>All scenarios: back after a loss</h2>{badge}</header>"
        "<p class='dim'>From the loss that was noticed to the next event; outages that took more than "
        f"two attempts, or after which the server had nothing to send, are left out.</p>{drawing}"
        f"<table>{head}{rows}</table></section>"
    )
