"""The pages about alerts: one for each, true to the rules, and sent to by them."""

import re
import shlex

import pytest
import yaml

from resilient_sse import Gap
from resilient_sse.metrics.catalogue import METRICS
from resilient_sse.monitoring import ALERTS, SLOS
from resilient_sse.monitoring.prometheus_rules import RUNBOOKS, duration, expression
from tests.cli.conftest import parse
from tests.docs.pages import DOCS, ROOT, code, fences, table, text_of
from tests.monitoring.tools import NAME, RECORDED, SERIES

PAGES = ["production/alert.md", "use/tune-retries-and-timeouts.md", "reference/alerts.md"]
SECTIONS = ["Meaning", "Check", "Action", "Escalation"]

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def section(text, title):
    """Return the text below a heading."""
    return re.split(r"^## ", text, flags=re.MULTILINE)[1 + SECTIONS.index(title)].removeprefix(title).strip()


def page(alert):
    """Return the text of an alert's runbook, found as its link is made."""
    return (ROOT / RUNBOOKS.replace("*", alert.runbook)).read_text(encoding="utf-8")


def test_each_alert_has_a_page_and_each_page_an_alert():
    """R184: none missing, none left over."""
    pages = {path.stem for path in (DOCS / "runbooks").glob("*.md")}
    assert pages == {alert.runbook for alert in ALERTS}


@each_alert
def test_a_page_is_about_its_alert(alert):
    """R184: it bears the exact name, the very expression, and what the rule promises."""
    text = page(alert)
    assert text.startswith(f"# {alert.name}\n")
    assert fences(text, "promql") == [expression(alert) + "\n"]
    verb = {"ack": "acknowledge", "review": "review"}[alert.severity.promise]
    header = ("severity", "response", f"{verb} within", "fires after", "condition")
    ((severity, response, due, hold, condition),) = table(text, *header)
    assert (severity, response, due) == (alert.severity.word, alert.severity.response, alert.severity.due)
    assert (hold, code(condition)) == (duration(alert.hold), alert.condition)


@each_alert
def test_a_page_says_what_to_do(alert):
    """R184: meaning, check, action, escalation, in this order; what to look at first, and whom to call."""
    text = page(alert)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert section(text, "Meaning")
    check = section(text, "Check")
    assert NAME.search(check)
    assert "`resilient-sse top`" in check
    assert "Logs:" in check
    assert len(re.findall(r"^- ", section(text, "Action"), re.MULTILINE)) >= 3
    escalation = section(text, "Escalation")
    assert "call whoever owns" in escalation
    promised = {"5m": "5 minutes", "15m": "15 minutes", "24h": "24 hours"}[alert.severity.due]
    assert promised in escalation


def test_the_logger_of_gaps_logs_the_ids(caplog):
    """R184: what the page on loss has people write makes the line that the pages send them to."""
    (loss,) = [alert for alert in ALERTS if alert.name == "SSEMessageLoss"]
    (code_of_the_page,) = fences(page(loss), "python")
    names = {}
    exec(code_of_the_page, names)  # noqa: S102 - it is ours
    names["report"](Gap(kind="hole", missing=2, after_id="3", before_id="6"))
    assert caplog.messages == ["hole: 2 lost between 3 and 6"]


def test_the_rehearsal_is_a_recipe():
    """R124, R182: its commands are understood, and its files fit together."""
    rehearsal = text_of("production/alert.md").split("## Rehearse")[1].split("\n## ")[0]
    lines = "".join(fences(rehearsal, "sh")).splitlines()
    asked = [
        parse(shlex.split(line.removesuffix(" &"))[1:]) for line in lines if line.startswith("resilient-sse ")
    ]
    rules, server, network = asked
    assert (rules.format, rules.scale) == ("prometheus", 60)
    (configuration,) = map(yaml.safe_load, fences(rehearsal, "yaml"))
    assert configuration["rule_files"] == [str(rules.output)]
    (scraped,) = configuration["scrape_configs"][0]["static_configs"]
    (program,) = fences(rehearsal, "python")
    compile(program, "follow.py", "exec")
    assert scraped["targets"] == [f"127.0.0.1:{re.search(r'start_http_server[(]([0-9]+)', program)[1]}"]
    assert network.target[1] == server.port
    assert "Thresholds are not scaled" in rehearsal


@pytest.mark.parametrize("name", [*PAGES, *(f"runbooks/{alert.runbook}.md" for alert in ALERTS)])
def test_every_metric_that_is_named_exists(name):
    """R184, R225: nobody looks for a curve in vain."""
    text = text_of(name)
    if name == "reference/alerts.md":  # one of the report's queries is quoted as it was
        text = text.replace("histogram_quantile(0.95, sse_reconnect_time_ms)", "")
    mentioned = {found.removesuffix(":met").removesuffix(":target") for found in NAME.findall(text)}
    assert mentioned <= SERIES | RECORDED | {metric.name for metric in METRICS} | {slo.name for slo in SLOS}


def test_the_tuning_page_reads_metrics_and_names_arguments():
    """R225: each row begins with a metric."""
    rows = table(
        text_of("use/tune-retries-and-timeouts.md"), "what you see", "what it means", "what to change"
    )
    assert len(rows) >= 10
    for seen, _, _ in rows:
        assert NAME.search(seen)


def test_the_reference_lists_the_rules():
    """Each alert with its condition, duration, severity, response and time; in the order of the table."""
    rows = table(text_of("reference/alerts.md"), "alert", "condition", "for", "severity", "response", "due")
    assert rows == [
        [
            f"[{alert.name}](../runbooks/{alert.runbook}.md)",
            f"`{alert.condition}`",
            duration(alert.hold),
            alert.severity.word,
            alert.severity.response,
            f"{alert.severity.promise} {alert.severity.due}",
        ]
        for alert in ALERTS
    ]


def test_the_reference_lists_the_objectives():
    """Each with the names under which it is recorded."""
    rows = table(text_of("reference/alerts.md"), "recording rules", "objective")
    assert rows == [[f"`job:{slo.name}:1h`, `job:{slo.name}:1d`", f"`{slo.condition}`"] for slo in SLOS]
