"""Runs that are well, played once in virtual time, and ways to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

import pytest

from resilient_sse.testing.report import Report
from resilient_sse.testing.scenarios import SCENARIOS, Entry, play_all

DAY = date(2026, 1, 2)


@cache
def well() -> tuple[Entry, ...]:
    """Play all six scenarios in virtual time, the same each time."""
    return tuple(play_all(list(SCENARIOS.values()), ["virtual"], seed=3))


@pytest.fixture
def entries() -> list[Entry]:
    """Give the log of a run in which all went well."""
    return list(well())


@pytest.fixture
def lines(entries: list[Entry]) -> list[dict[str, Any]]:
    """Give the same log as the parsed lines of its file."""
    return [json.loads(entry.to_json()) for entry in entries]


@cache
def report_on_well() -> Report:
    """Report on it."""
    return Report(well(), day=DAY)


@pytest.fixture
def report() -> Report:
    """Give the report on it."""
    return report_on_well()


@pytest.fixture
def document(report: Report) -> dict[str, Any]:
    """Give the report as a reader of the file gets it."""
    return json.loads(json.dumps(report.to_dict()))


@pytest.fixture
def replay() -> Callable[..., tuple[Report, list[dict[str, Any]]]]:
    """Give a function that plays scenarios anew and returns the report and the parsed log."""

    def replay(*names: str) -> tuple[Report, list[dict[str, Any]]]:
        log = play_all([SCENARIOS[name] for name in names or SCENARIOS], ["virtual"], seed=4)
        return Report(log, day=DAY), [json.loads(entry.to_json()) for entry in log]

    return replay
