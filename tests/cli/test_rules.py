"""`resilient-sse rules`: rule files, monitors and a dashboard."""

import json

import pytest
import yaml

from resilient_sse.cli.exits import Exit
from resilient_sse.cli.rules import FORMATS
from resilient_sse.monitoring.datadog_monitors import datadog_monitors
from resilient_sse.monitoring.grafana import grafana_dashboard
from resilient_sse.monitoring.prometheus_rules import prometheus_rules
from tests.cli.conftest import Done

FUNCTIONS = {"prometheus": prometheus_rules, "datadog": datadog_monitors, "grafana": grafana_dashboard}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written(run, name, tmp_path):
    """R125, R186: to standard output, or into a file, and nothing else is said; the help lists them."""
    assert run("rules", name) == Done(Exit.ENDED, FUNCTIONS[name](), "")
    target = tmp_path / "written"
    assert run("rules", name, "--output", str(target)) == Done(Exit.ENDED, "", "")
    assert target.read_text(encoding="utf-8") == FUNCTIONS[name]()
    shown = run("rules", "--help").out
    assert name in shown
    assert FORMATS[name] in shown


def test_options(run):
    """R124, R182: durations by a flag, not by editing; links to where the runbooks are; labels."""
    links = "https://host/*.html"
    done = run("rules", "prometheus", "--scale", "60", "--runbooks", links)
    assert done.out == prometheus_rules(scale=60, runbooks=links)
    rules = yaml.safe_load(done.out)["groups"][0]["rules"]
    assert {rule["for"] for rule in rules} == {"5s", "10s", "1s"}
    assert run("rules", "datadog", "--runbooks", links).out == datadog_monitors(runbooks=links)
    board = json.loads(run("rules", "grafana", "--label", "network", "--label", "device").out)
    assert [variable["name"] for variable in board["templating"]["list"]][3:] == ["network", "device"]
