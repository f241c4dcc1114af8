"""How figures and scenarios are called where people read them, and how their values are written."""

from __future__ import annotations

from resilient_sse.testing.report.gates import Gate
from resilient_sse.testing.scenarios import SCENARIOS

__all__ = ["FORM_NAMES", "figure_name", "scenario_title", "wanted", "written"]

FORM_NAMES = {
    "virtual": "virtual time",
    "real": "real sockets",
}
"""The forms in words."""

_UNITS = {
    "_ms": " ms",
    "_s": " s",
    "_percent": " %",
    "_bytes": " bytes",
}

_WORDS = {
    "in_time": "came to its end",
    "announcements": "reconnects announced",
    "suppressed": "repeated events suppressed",
    "drops": "segments dropped by the network",
    "unreconciled": "streams whose own count is off",
    "unrecovered": "outages not recovered from",
    "order_breaks": "events out of order",
    "altered": "events altered",
    "max_live_connections": "connections of a stream at once",
    "url_cursor": "last_event_id in the URL",
    "header_cursor": "Last-Event-ID header",
    "parameters_kept": "other parameters kept",
    "error": "error seen by the consumer",
    "late_notices": "notices in an almost too long silence",
    "late_reconnects": "reconnects in an almost too long silence",
    "heartbeat_false_alarms": "false alarms while there are heartbeats",
    "herd_out_of_band": "delays outside of their band",
    "herd_wrong_budget": "clients with other than 1 + 5 attempts",
    "texts_missing": "agreed texts never shown",
    "texts_wrong": "texts that are not the agreed ones",
    "without_an_end": "streams without an end",
    "replays": "reconnects until all was there",
    "resume_mismatches": "requests that did not resume exactly",
    "withheld": "events dropped by the server",
    "reconnects_never": "outages not recovered from",
    "stalls_missed": "stalls not counted",
}


def scenario_title(key: str) -> str:
    """Return what people call a scenario."""
    return next((scenario.title for scenario in SCENARIOS.values() if scenario.key == key), key)


def figure_name(figure: str) -> str:
    """Return what people call a figure."""
    if figure in _WORDS:
        return _WORDS[figure]
    stem = next((figure.removesuffix(ending) for ending in _UNITS if figure.endswith(ending)), figure)
    return stem.replace("_", " ")


def written(figure: str, value: object) -> str:
    """Write a value with its unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    unit = next((unit for ending, unit in _UNITS.items() if figure.endswith(ending)), "")
    if isinstance(value, int | float):
        return f"{value:,.10g}{unit}"
    return f"{value}{unit}"


def wanted(gate: Gate) -> str:
    """Write what a gate asks for."""
    if gate.relation == "within" and isinstance(gate.limit, tuple):
        low, high = (f"{limit:,g}" for limit in gate.limit)
        unit = written(gate.figure, 0).removeprefix("0")
        return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
    relation = {"==": "", "<=": "at most ", "<": "under ", ">=": "at least ", ">": "over "}[gate.relation]
    return relation + written(gate.figure, gate.limit)
