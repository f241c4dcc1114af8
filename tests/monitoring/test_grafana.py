"""The dashboard: what Grafana imports, and that it shows what there is."""

import json
import re
from itertools import pairwise

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from resilient_sse.monitoring.grafana import grafana_dashboard
from tests.monitoring.tools import RECORDED, SERIES, names

BOARD = json.loads(grafana_dashboard(["network", "device"]))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
TARGETS = [target for panel in BOARD["panels"] for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}


def limits(title):
    """Return where the lines of a panel are."""
    steps = PANELS[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [step["value"] for step in steps]


def test_promtool_accepts_the_expressions(tmp_path, judge):
    """R186: with values for the variables each is valid PromQL; every name is shown or recorded."""
    rules = []
    for number, target in enumerate(TARGETS):
        assert names(target["expr"]) <= SERIES | RECORDED
        filled = target["expr"].replace("$__rate_interval", "5m")
        rules.append({"record": f"panel:{number}", "expr": re.sub(r"\$\w+", ".*", filled)})
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = judge("check", "rules", "panels.yml")
    assert code == 0, said
    assert f"{len(TARGETS)} rules found" in said


def test_the_completion_is_that_of_all_processes():
    """R93, R186: of the sums, not the mean of the rates; beside it the worst process."""
    together, worst = [re.findall(r"sse_\w+", each["expr"]) for each in PANELS["Completion"]["targets"]]
    assert together == ["sse_client_recent_expected_events_received", "sse_client_recent_expected_events"]
    assert worst == ["sse_stream_completion_rate"]


def test_the_objectives_are_lines():
    """R94, R99: completion, and the three of the reconnect time, dashed."""
    assert limits("Completion") == [None, 99.5, 99.8]
    assert limits("Reconnect time") == [None, 4200, 4800, 5000]
    assert limits("Duplicates") == [None, 1]
    assert limits("Loss") == [None, 0]
    for title in ("Completion", "Reconnect time", "Duplicates", "Loss"):
        custom = PANELS[title]["fieldConfig"]["defaults"]["custom"]
        assert custom["thresholdsStyle"] == {"mode": "dashed"}
    legends = [target["legendFormat"] for target in PANELS["Reconnect time"]["targets"]]
    assert legends == ["p50", "p95", "p99", "mean"]


def test_a_panel_sums_up_what_was_chosen():
    """One curve for all processes, rather than one for each; quantiles of the sums of their buckets."""
    for target in TARGETS:
        if not names(target["expr"]) <= RECORDED:
            assert re.search(r"\b(sum|min)( by \((le|state|category|reason)\))? ?\(", target["expr"])
    for quantile in PANELS["Reconnect time"]["targets"][:3]:
        assert re.search(r"histogram_quantile\(0\.\d+, sum by \(le\) \(rate\(", quantile["expr"])


def test_objectives_of_the_day_are_coloured_by_their_targets():
    """R94: green from 99.8 % on, and with no loss at all."""
    colours = {}
    for title in ("Completion, 1 day", "Loss, 1 day", "Reconnect p95, 1 day"):
        steps = PANELS[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        colours[title] = [(step["color"], step["value"]) for step in steps]
    assert colours["Completion, 1 day"] == [("red", None), ("green", 99.8)]
    assert colours["Reconnect p95, 1 day"] == [("green", None), ("red", 4200)]
    (_, (red, limit)) = colours["Loss, 1 day"]
    assert red == "red"
    assert 0 < limit < 1e-6


def test_there_is_a_variable_for_each_label():
    """R97: for the data source, the job, the process, and each label of the program's own; all of them choose."""
    assert list(VARIABLES) == ["datasource", "job", "instance", "network", "device"]
    for target in TARGETS:
        if names(target["expr"]) <= RECORDED:
            assert 'job=~"$job"' in target["expr"]
        else:
            chosen = set(re.findall(r"(\w+)=~\"\$(\w+)\"", target["expr"]))
            assert chosen == {(name, name) for name in VARIABLES if name != "datasource"}
    assert "network" not in json.loads(grafana_dashboard())["panels"][4]["targets"][0]["expr"]


def test_the_form_is_that_of_grafana():
    """R186: what an import needs; panels of known types with ids of their own, that do not overlap."""
    assert {"title", "uid", "schemaVersion", "templating", "panels", "time"} <= BOARD.keys()
    assert "id" not in BOARD  # or an import would overwrite the dashboard that has it
    assert {panel["type"] for panel in BOARD["panels"]} == {"stat", "state-timeline", "timeseries"}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"]) == len(PANELS)
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in BOARD["panels"]:
        assert [part["datasource"] for part in (panel, *panel["targets"])] == [chosen] * (
            1 + len(panel["targets"])
        )
        assert "ABCD".startswith("".join(target["refId"] for target in panel["targets"]))
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert all(one["value"] < other["value"] for one, other in pairwise(steps[1:]))


def kept(ours, theirs):
    """Whether all of *ours* is in *theirs*, which may have more: defaults for what we leave to Grafana."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() <= theirs.keys() and all(kept(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(kept, ours, theirs))
    return ours == theirs


def test_the_model_of_grafana_loses_nothing():
    """R186: every key of ours is one that Grafana knows, with a value that it takes."""
    register_default_plugins()  # without them the options of panels would be taken as they are
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARD)))
    assert kept(BOARD, theirs)
    assert not kept({**BOARD, "unknown": 1}, theirs)
