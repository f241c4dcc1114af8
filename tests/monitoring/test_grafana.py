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


SHOWN = {
    "Completion, 1 day": {"job:sse_stream_completion_rate:1d"},
    "Loss, 1 day": {"job:sse_message_loss_rate:1d"},
    "Duplicates, 1 day": {"job:sse_duplicate_rate:1d"},
    "Reconnect p95, 1 day": {"job:sse_reconnect_time_p95_ms:1d"},
    "State of streams": {"sse_client_streams"},
    "Streams": {"sse_client_streams"},
    "Completion": {
        "sse_client_recent_expected_events",
        "sse_client_recent_expected_events_received",
        "sse_stream_completion_rate",
    },
    "Reconnect time": {
        "sse_reconnect_time_ms_bucket",
        "sse_reconnect_time_ms_count",
        "sse_reconnect_time_ms_sum",
    },
    "Reconnects by reason": {"sse_client_reconnects_total"},
    "Loss": {"sse_client_unknown_losses_total", "sse_message_loss_total"},
    "Duplicates": {"sse_duplicate_events_total", "sse_total_events_received"},
    "Errors by category": {"sse_user_visible_errors_total"},
    "Stalls": {"sse_client_repeated_stalls_total", "sse_client_stalls_total"},
    "Events": {
        "sse_client_events_delivered_total",
        "sse_client_events_filtered_total",
        "sse_client_heartbeats_total",
        "sse_duplicate_events_total",
    },
    "Bytes": {"sse_client_received_bytes_total"},
    "Starts and attempts": {"sse_client_failed_attempts_total", "sse_streams_started_total"},
}


def test_the_panels_show():
    """R186: the health of streams at a glance; each panel what its title says."""
    shown = {
        title: set().union(*(names(target["expr"]) for target in panel["targets"]))
        for title, panel in PANELS.items()
    }
    assert shown == SHOWN
    (all_of_them, _) = PANELS["Completion"]["targets"]
    read = re.findall(r"sse_\w+", all_of_them["expr"])
    assert read == ["sse_client_recent_expected_events_received", "sse_client_recent_expected_events"]


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


def test_everything_reads_the_chosen_source():
    """No identifier of somebody's own data source."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in BOARD["panels"]:
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])


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
    for panel in BOARD["panels"]:
        assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C", "D"][
            : len(panel["targets"])
        ]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert all(one["value"] < other["value"] for one, other in pairwise(steps[1:]))


ADDED = {
    *(".fiscalYearStartMonth", ".style"),
    *(f".panels[].{key}" for key in ("repeatDirection", "transformations", "transparent")),
    *(".panels[].options.alignValue", ".panels[].options.legend.calcs"),
    *(
        f".templating.list[].{key}"
        for key in ("auto", "auto_count", "auto_min", "hide", "id", "includeAll", "multi", "skipUrlSync")
    ),
}
"""What Grafana's model adds: its defaults for what we leave to Grafana."""


def through_the_model(board):
    """Read a dashboard into Grafana's own model, and write it out again; what the model does not know is gone."""
    register_default_plugins()  # without them the options of panels would be taken as they are
    return json.loads(JSONEncoder().encode(Dashboard.from_json(board)))


def differences(ours, theirs, path=""):
    """Yield what is different: where, and whether it was lost, changed or added."""
    match ours, theirs:
        case dict(), dict():
            yield from ((f"{path}.{key}", "lost") for key in ours.keys() - theirs)
            yield from ((f"{path}.{key}", "added") for key in theirs.keys() - ours)
            for key in ours.keys() & theirs:
                yield from differences(ours[key], theirs[key], f"{path}.{key}")
        case list(), list() if len(ours) == len(theirs):
            for our, their in zip(ours, theirs, strict=True):
                yield from differences(our, their, f"{path}[]")
        case _ if ours != theirs:
            yield path, "changed"


def test_the_model_of_grafana_loses_nothing():
    """R186: every key of ours is one that Grafana knows, with a value that it takes."""
    found = set(differences(BOARD, through_the_model(BOARD)))
    assert {(path, how) for path, how in found if how != "added"} == set()
    assert {path for path, _ in found} <= ADDED
