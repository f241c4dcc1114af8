"""The scenarios, played once for all tests: in virtual time on both backends, and over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

import pytest

from resilient_sse.testing.report import Judged, Report, Verdict
from resilient_sse.testing.scenarios import SCENARIOS, Entry, play_all

SEED = 7
DAY = date(2026, 1, 2)

REAL = pytest.param("real", marks=[pytest.mark.e2e, pytest.mark.proof])
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


@pytest.fixture(params=["asyncio", "trio", REAL])
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


def passed(verdict: Verdict) -> bool:
    """
    Whether a gate was passed; of times in real time, with room for a machine that is busy with other tests.

    The report itself grants none: on a machine that cannot keep the times, they are not kept.
    """
    gate, value = verdict.gate, verdict.value
    real = verdict.run.endswith("/real") or (verdict.run == "aggregate" and gate.figure.endswith("_ms"))
    if verdict.passed or not real or not isinstance(value, int | float) or gate.relation == ">=":
        return verdict.passed
    low, high = gate.limit if isinstance(gate.limit, tuple) else (0.0, gate.limit)
    if gate.figure.endswith("_ms") or gate.figure == "slowdown":
        return low <= value <= 2 * high
    return gate.figure.endswith("_s") and low <= value <= high + 2.0


@pytest.fixture
def failures(report: Report) -> list[str]:
    """List the gates of a report that were failed."""
    return [str(verdict) for verdict in report.verdicts if not passed(verdict)]


@pytest.fixture
def failed() -> Callable[..., list[str]]:
    """Give a function that lists which of some figures' gates were failed, and fails where a figure has none."""

    def failed(judged: Judged, *figures: str) -> list[str]:
        judging = [verdict for verdict in judged.verdicts if verdict.gate.figure in figures]
        assert {verdict.gate.figure for verdict in judging} == set(figures)
        return [str(verdict) for verdict in judging if not passed(verdict)]

    return failed


@pytest.fixture(params=["asyncio", "trio"])
def virtual_report(request: pytest.FixtureRequest) -> Report:
    """Give the report on the runs in virtual time."""
    return report_of(request.param)
