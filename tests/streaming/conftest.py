"""The scenarios, played once for all tests of a process: in virtual time on both backends, and over sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from functools import cache
from typing import Any

import pytest

from resilient_sse.testing.report import GateResult, Judged, Report
from resilient_sse.testing.report.document import TOGETHER
from resilient_sse.testing.scenarios import SCENARIOS, Entry, play_all
from tests.streaming.tolerance import passed

SEED = 7
DAY = date(2026, 1, 2)

TRIO = pytest.param("trio", marks=[pytest.mark.proof, pytest.mark.ci])
REAL = pytest.param("real", marks=[pytest.mark.e2e, pytest.mark.proof, pytest.mark.timed])
"""Real time and real sockets; all six scenarios are played at once, within a minute, by the first that asks."""


@cache
def log_of(form: str) -> tuple[Entry, ...]:
    """Play all scenarios in virtual time on one of the backends, or in real time."""
    backend: Any = "asyncio" if form == "real" else form
    forms = ["real"] if form == "real" else ["virtual"]
    return tuple(play_all(list(SCENARIOS.values()), forms, seed=SEED, backend=backend))


@cache
def report_of(form: str) -> Report:
    """Report on them."""
    return Report(log_of(form), day=DAY)


@pytest.fixture(params=["asyncio", TRIO, REAL])
def form(request: pytest.FixtureRequest) -> str:
    """Name a form: virtual time on one of the backends, or real time."""
    return request.param


@pytest.fixture
def report(form: str) -> Report:
    """Give the report on all six scenarios in that form."""
    return report_of(form)


@pytest.fixture
def scenario(report: Report) -> Callable[[str], Judged]:
    """Give the run of a scenario by the name it has on the command line."""
    return lambda name: report.shown[SCENARIOS[name].key]


@pytest.fixture
def judge(report: Report) -> Callable[[GateResult], bool]:
    """Give a function that tells whether a gate was passed, with room for a machine that was late itself."""
    late = {f"{judged.scenario.name}/{judged.run.form}": judged.run.late for judged in report.judged}
    late[TOGETHER] = max(judged.run.late for judged in report.shown.values())
    return lambda verdict: passed(verdict, late[verdict.run])


@pytest.fixture(params=["asyncio", TRIO])
def virtual_report(request: pytest.FixtureRequest) -> Report:
    """Give the report on the runs in virtual time."""
    return report_of(request.param)


# --- For tests of the report: a run in which all went well, and ways to spoil it


@pytest.fixture
def entries() -> list[Entry]:
    """Give the log of a run in which all went well."""
    return list(log_of("asyncio"))


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """Give the same log as the parsed lines of its file."""
    return parsed(log_of("asyncio"))


@pytest.fixture
def good() -> Report:
    """Give the report on it."""
    return report_of("asyncio")


@pytest.fixture
def document(good: Report) -> dict[str, Any]:
    """Give that report as a reader of the file gets it."""
    return json.loads(json.dumps(good.to_dict()))


@pytest.fixture
def replay() -> Callable[..., tuple[Report, list[dict[str, Any]]]]:
    """Give a function that plays scenarios anew and returns the report and the parsed log."""

    def replay(*names: str) -> tuple[Report, list[dict[str, Any]]]:
        log = play_all([SCENARIOS[name] for name in names or SCENARIOS], ["virtual"], seed=4)
        return Report(log, day=DAY), parsed(log)

    return replay


def parsed(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Parse entries as the lines of a file."""
    return [json.loads(entry.to_json()) for entry in entries]
