"""The rules as a rule file for Prometheus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from resilient_sse.monitoring.alerts import ALERTS, DAY, HOUR, SLOS
from resilient_sse.monitoring.measures import Rise, window_of
from resilient_sse.monitoring.promql import Scope, duration, promql
from resilient_sse.monitoring.yaml_text import yaml_text

if TYPE_CHECKING:
    from resilient_sse.monitoring.alerts import Alert, Slo
    from resilient_sse.monitoring.yaml_text import Plain

__all__ = [
    "PAUSE",
    "RUNBOOKS",
    "WINDOWS",
    "alert_annotations",
    "alert_labels",
    "expression",
    "prometheus_rules",
    "recorded",
]

RUNBOOKS: Final = "docs/runbooks/*.md"
"""Where the runbooks lie in the repository; alerts should lead to where they are published."""

WINDOWS: Final = (("1h", HOUR, 60.0), ("1d", DAY, 300.0))
"""What recording rules look back on: their suffix, how far in seconds, and how often they are evaluated."""

PAUSE: Final = HOUR
"""After how long a pause of Prometheus old losses are taken for new ones, in seconds; it is paid at each look."""

_PROCESS: Final = ("instance", "pod")
"""The labels that tell the processes of a job apart; on Kubernetes each process is in a pod of its own."""

_HEAD: Final = """\
# Made by `resilient-sse rules prometheus`.  Change the generator, not this file.
"""


def prometheus_rules(*, scale: float = 1.0, runbooks: str = RUNBOOKS) -> str:
    """
    Return the rule file, as YAML.

    Args:
        scale: By what to divide all durations, for rehearsals; 1 for production.
        runbooks: The address of the runbooks; the name of one takes the place of `*`.

    Raises:
        ValueError: *scale* is not above 0, or it leaves durations below a millisecond; *runbooks* has no `*`.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be a number above 0, not {scale!r}")
    if "*" not in runbooks:
        raise ValueError(f"the address of the runbooks must have a * where their names belong: {runbooks!r}")
    groups: list[Plain] = [
        {"name": "sse-alerts", "rules": [_alert(alert, scale, runbooks) for alert in ALERTS]}
    ]
    for suffix, window, every in WINDOWS:
        rules = [rule for slo in SLOS for rule in _recording(slo, suffix, window / scale)]
        groups.append({"name": f"sse-slo-{suffix}", "interval": duration(every / scale), "rules": rules})
    return _HEAD + yaml_text({"groups": groups})


def _alert(alert: Alert, scale: float, runbooks: str) -> Plain:
    return {
        "alert": alert.name,
        "expr": expression(alert, scale),
        "for": duration(alert.hold / scale),
        "labels": alert_labels(alert),
        "annotations": alert_annotations(
            alert, f'{{{{ $value | printf "%.{alert.unit.decimals}f" }}}}', runbooks
        ),
    }


def expression(alert: Alert, scale: float = 1.0) -> str:
    """Return the expression of a rule, threshold included."""
    window = window_of(alert.measure)
    scope = Scope(window=duration(window / scale) if window else "", pause=duration(PAUSE / scale))
    measured = promql(alert.measure, scope)
    if isinstance(alert.measure, Rise):
        measured = f"({measured})"
    line = "\n" if "\n" in measured else " "
    return f"{measured}{line}{alert.relation} {alert.threshold:g}"


def alert_labels(alert: Alert) -> dict[str, str]:
    """Return the labels of a rule: how urgent it is, and until when somebody must have reacted."""
    severity = alert.severity
    return {"severity": severity.word, severity.promise: severity.due}


def alert_annotations(alert: Alert, value: str, runbooks: str) -> dict[str, str]:
    """Return what is told to people, with *value* as the number that was measured."""
    return {
        "summary": alert.summary.format(value=f"{value}{alert.unit.suffix}"),
        "description": alert.description,
        "condition": alert.condition,
        "response": alert.severity.response,
        "runbook_url": runbooks.replace("*", alert.runbook),
    }


def recorded(slo: Slo, suffix: str) -> str:
    """Return the name of the recording rule of a measure; `:met` is added for whether the target is met."""
    return f"job:{slo.name}:{suffix}"


def _recording(slo: Slo, suffix: str, window: float) -> list[dict[str, Plain]]:
    scope = Scope(window=duration(window), across=_PROCESS)
    name = recorded(slo, suffix)
    met = f"{name} {slo.relation} bool {slo.target:g}"
    return [
        {"record": name, "expr": promql(slo.measure, scope)},
        {"record": f"{name}:met", "expr": met},
        {"record": f"{name}:target", "expr": f"vector({slo.target:g})"},
    ]
