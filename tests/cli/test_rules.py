"""`resilient-sse rules`: rule files, monitors and a dashboard."""

import json

import pytest
import yaml

from resilient_sse.cli.exits import Exit
from resilient_sse.cli.rules import FORMATS
from resilient_sse.monitoring.datadog_monitors import datadog_monitors
from resilient_sse.monitoring.grafana import grafana_dashboard
from resilient_sse.monitoring.prometheus_rules import prometheus_rules

EVERYTHING = {
    "prometheus": prometheus_rules,
    "datadog": datadog_monitors,
    "grafana": grafana_dashboard,
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written(run, name):
    """R125, R186: to standard output, and nothing else is said."""
    done = run("rules", name)
    assert (done.code, done.err) == (Exit.ENDED, "")
    assert done.out == EVERYTHING[name]()


def test_options_reach_the_rules(run):
    """R124, R182: durations by a flag, not by editing; links to where the runbooks are."""
    done = run("rules", "prometheus", "--scale", "60", "--runbooks", "https://host/*.html")
    assert done.out == prometheus_rules(scale=60, runbooks="https://host/*.html")
    rules = yaml.safe_load(done.out)["groups"][0]["rules"]
    assert {rule["for"] for rule in rules} == {"5s", "10s", "1s"}
    assert all(rule["annotations"]["runbook_url"].startswith("https://host/sse-") for rule in rules)


def test_options_reach_monitors_and_dashboard(run):
    """Links and labels."""
    done = run("rules", "datadog", "--runbooks", "https://host/*")
    assert done.out == datadog_monitors(runbooks="https://host/*")
    board = json.loads(run("rules", "grafana", "--label", "network", "--label", "device").out)
    assert [variable["name"] for variable in board["templating"]["list"]][3:] == ["network", "device"]


def test_a_file_is_written(run, tmp_path):
    """Standard output stays empty."""
    target = tmp_path / "rules.yml"
    done = run("rules", "prometheus", "--output", str(target))
    assert (done.code, done.out, done.err) == (Exit.ENDED, "", "")
    assert target.read_text(encoding="utf-8") == prometheus_rules()


def test_the_help_lists_the_formats(run):
    """What each of them is."""
    done = run("rules", "--help")
    assert done.code == 0
    assert all(name in done.out and about in done.out for name, about in FORMATS.items())
