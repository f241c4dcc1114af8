"""What people look at: the page and the tables (R84-R92, R217)."""

import io
import re
import sys
from html.parser import HTMLParser

import pytest

from resilient_sse.testing.report import Report, print_report, render_page
from resilient_sse.testing.report.document import FIELDS
from resilient_sse.testing.report.labels import figure_name, wanted, written
from resilient_sse.testing.report.svg import Scale, mark, tag, ticks
from resilient_sse.testing.scenarios import Entry

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Outline(HTMLParser):
    """Checks that elements nest, and keeps their names and attributes."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(report):
    """Give the page on a run in which all went well."""
    return render_page(report)


def test_it_is_well_formed_and_needs_nothing_else(page):
    """Elements nest, and nothing is loaded from anywhere: no script, image, link or address."""
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert not {name for name, _ in outline.seen} & {"script", "img", "link", "iframe", "object"}
    assert not any("src" in attributes or "href" in attributes for _, attributes in outline.seen)
    assert not re.search(r"url\(|@import|https?://", page)


def test_it_shows_every_scenario_with_charts(page, report):
    """Six cards and one for all; charts of each scenario with a name for those who cannot see them."""
    outline = Outline()
    outline.feed(page)
    drawings = [attributes["aria-label"] for name, attributes in outline.seen if name == "svg"]
    assert len(drawings) == 15
    assert all(drawings)
    assert page.count("<section>") == len(FIELDS) + 1
    assert page.count('class="badge pass">PASS') == len(FIELDS) + 1
    assert "Production ready: YES" in page


def test_it_shows_every_gate(page, report):
    """Each figure that was judged is in a table."""
    for verdict in report.verdicts:
        assert figure_name(verdict.gate.figure) in page


def test_the_light_and_the_dark_and_the_print(page):
    """Styles for all three are in it."""
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'name="viewport"' in page


def test_a_report_that_says_no(entries, report):
    """The reasons are on top, the scenario has FAIL, and so has the row of the figure."""
    entries.remove(next(entry for entry in entries if entry.kind == "received" and entry.stream == "handoff"))
    page = render_page(Report(entries, day=report.day))
    assert "Production ready: NO" in page
    assert "Why not" in page
    assert "message_loss is 1, not 0" in page
    assert '<td class="fail">FAIL</td>' in page
    assert page.count('class="badge fail">FAIL') == 2  # the scenario, and all together


def test_text_from_a_log_is_text(entries, report):
    """A log is data: what it holds never becomes part of the page."""
    nasty = '<script>alert(1)</script>&"'
    altered = {"state": {"message": nasty}, "fault": {"name": nasty}}
    spoilt = [Entry(x.run, x.at, x.kind, x.stream, {**x.facts, **altered.get(x.kind, {})}) for x in entries]
    page = render_page(Report(spoilt, day=report.day))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("plain", [True, False])
def test_the_tables(report, plain):
    """Every scenario with its figures, what was wanted, and the answer (R84, R85, R92)."""
    out = io.StringIO()
    print_report(report, out, plain=plain)
    text = out.getvalue()
    for title in (
        "Slow 3G",
        "Stall detection",
        "Packet loss",
        "hand-off",
        "Rapid reconnects",
        "User experience",
    ):
        assert title in text
    assert "mean reconnect time" in text
    assert "production readiness: YES" in text
    assert ("┃" in text) is not plain


def test_the_tables_without_rich(report, monkeypatch):
    """Plain lines."""
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr("resilient_sse.testing.report.table.find_spec", lambda name: None)
    out = io.StringIO()
    print_report(report, out)
    assert "  pass  initial delivery" in out.getvalue()


def test_values_are_written_with_their_units(report):
    """Milliseconds, percent, yes and no, nothing."""
    assert written("duration_ms", 1234.5) == "1,234.5 ms"
    assert written("rate_percent", 100.0) == "100 %"
    assert written("auto_reconnect", True) == "yes"
    assert written("recovery_ms", None) == "none"
    assert written("backoff_sequence", [1000, 2000]) == "1000, 2000"
    limits = {wanted(verdict.gate) for verdict in report.verdicts}
    assert {"under 5,000 ms", "at most 2,500 ms", "500 to 2,000 ms", "over 80 %", "yes", "Visible"} <= limits


def test_drawing():
    """Scales are straight, ticks are round, and text is escaped."""
    scale = Scale(0, 10, 100, 200)
    assert (scale(0), scale(5), scale(10)) == (100, 150, 200)
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0, 0.16) == [0, 0.05, 0.1, 0.15]
    assert ticks(3, 3) == [3]
    assert tag("rect", x=1, class_="a") == '<rect x="1" class="a"/>'
    assert mark(1, 2, "<&", text_anchor="end") == '<text x="1" y="2" text-anchor="end">&lt;&amp;</text>'
