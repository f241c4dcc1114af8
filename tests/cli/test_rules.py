"""`resilient-sse rules`: rule files, monitors and a dashboard."""

import json

import pytest
import yaml

from resilient_sse.cli.arguments import parse
from resilient_sse.cli.exits import Exit
from resilient_sse.cli.rules.arguments import FORMATS, RulesOptions
from resilient_sse.monitoring import ALERTS
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


def test_the_defaults():
    """What nothing is said about is left to the functions."""
    assert parse(["rules", "datadog"]) == RulesOptions(format="datadog")


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


def test_a_file_that_cannot_be_written(run, tmp_path):
    """One line that names the file and the option."""
    done = run("rules", "prometheus", "-o", str(tmp_path / "missing" / "rules.yml"))
    assert (done.code, done.out) == (Exit.OTHER, "")
    assert done.err.count("\n") == 1
    assert "rules.yml cannot be written: No such file or directory; see --output" in done.err


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        pytest.param([], "FORMAT", id="nothing"),
        pytest.param(["nagios"], "invalid choice: 'nagios'", id="unknown"),
        pytest.param(["prometheus", "--scale", "0"], "'0' is not a number above 0", id="zero"),
        pytest.param(["prometheus", "--scale", "nan"], "'nan' is not a number above 0", id="nan"),
        pytest.param(["prometheus", "--scale", "x"], "'x' is not a number above 0", id="word"),
        pytest.param(["prometheus", "--scale", "1e9"], "use a smaller scale", id="too-large"),
        pytest.param(["prometheus", "--runbooks", "https://host/"], "has no * where", id="no-place"),
        pytest.param(["prometheus", "--runbooks", "a*b*c"], "more than one *", id="two-places"),
        pytest.param(["grafana", "--label", "a", "--label", "a"], "'a' is there twice", id="label-twice"),
        pytest.param(["grafana", "--label", "job"], "'job' is taken", id="label-taken"),
        pytest.param(["grafana", "--label", "state"], "'state' is taken", id="label-ours"),
        pytest.param(["grafana", "--label", "user_id"], "'user_id' is not allowed", id="label-unbounded"),
        pytest.param(
            ["grafana", *(f"--label={name}" for name in "abcd")], "at most 3, not 4", id="four-labels"
        ),
        pytest.param(["grafana", "--label", "a-b"], "'a-b' is not the name of a label", id="label"),
        pytest.param(["grafana", "--scale", "2"], "--scale means nothing for grafana", id="scale-grafana"),
        pytest.param(["datadog", "--scale", "2"], "--scale means nothing for datadog", id="scale-datadog"),
        pytest.param(["grafana", "--runbooks", "*"], "--runbooks means nothing for grafana", id="runbooks"),
        pytest.param(["datadog", "--label", "a"], "--label means nothing for datadog", id="label-datadog"),
        pytest.param(["prometheus", "-o", ""], "--output: the name of the file is empty", id="no-file"),
        pytest.param(["promtool-tests"], "invalid choice: 'promtool-tests'", id="tests"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, complaint):
    """With one line that says why, and exit code 2."""
    done = run("rules", *arguments)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert complaint in done.err
    assert done.err.count("\n") == 1


def test_the_help_lists_the_formats(run):
    """What each of them is."""
    done = run("rules", "--help")
    assert done.code == 0
    assert all(name in done.out and about in done.out for name, about in FORMATS.items())


def test_every_alert_is_in_every_format(run):
    """R125: nobody is told less."""
    for name in ("prometheus", "datadog"):
        out = run("rules", name).out
        assert all(alert.name in out for alert in ALERTS)
