from __future__ import annotations

import pytest

from resilient_sse._core.events import Gap
from resilient_sse._core.recovery import OutageClock, Resumption
from resilient_sse._core.states import Reason

LOST = Gap(kind="unresumable", after_id="7")


def ends(resumption: Resumption, *connections: tuple[str | None, bool]) -> list[Gap | None]:
    """Open and end connections, each with its cursor and whether it brought nothing."""
    gaps = []
    for cursor, eventless in connections:
        assert resumption.opened(cursor, {}) is None
        gaps.append(resumption.ended(dispatched=not eventless, settled=False))
    return gaps


# Another Last-Event-ID in the answer


@pytest.mark.parametrize(
    "cursor, headers",
    [
        pytest.param("7", {}, id="not-said"),
        pytest.param("7", {"last-event-id": "7"}, id="the-same"),
        pytest.param(None, {"last-event-id": "9"}, id="not-asked"),
        pytest.param(None, {}, id="neither"),
    ],
)
def test_answers_that_resume(cursor, headers):
    """An answer that repeats the id, or says nothing about it, is no sign of loss."""
    assert Resumption().opened(cursor, headers) is None


# 410


# Empty connections


@pytest.mark.parametrize(
    "between", [pytest.param(("7", False), id="an-event"), pytest.param((None, True), id="no-cursor-sent")]
)
def test_not_in_a_row(between):
    """A connection with an event, or one that was asked for nothing, starts the count anew."""
    gaps = ends(Resumption(), ("7", True), ("7", True), between, ("7", True), ("7", True), ("7", True))
    assert gaps == [None] * 5 + [LOST]


def test_the_row_is_about_one_id():
    """If the cursor has moved meanwhile, by events that had been held back, the row begins anew."""
    gaps = ends(Resumption(), ("6", True), *[("7", True)] * 3)
    assert gaps == [None, None, None, LOST]


def test_a_connection_that_held_is_not_empty():
    """A quiet stream behind a proxy with a limit on idle connections resumes well (section 3.10)."""
    resumption = Resumption()
    for _ in range(9):
        resumption.opened("7", {})
        assert resumption.ended(dispatched=False, settled=True) is None


@pytest.mark.parametrize("settled", [True, False])
def test_a_chance_to_replay(settled):
    """An event shows what the server replays; an end without one does not, before it happens over and over."""
    resumption = Resumption()
    seen = []
    for dispatched in (True, False, False, False, False, True, False):
        resumption.opened("7", {})
        resumption.ended(dispatched=dispatched, settled=settled)
        seen.append(resumption.had_its_chance)
    assert seen == [True, False, False, True, True, True, False]


def test_without_a_cursor_nothing_can_be_missed():
    """Empty connections that had no id to resume from are just empty."""
    assert ends(Resumption(), *[(None, True)] * 5) == [None] * 5


# One loss, one gap


def test_before_the_first_connection():
    """Where nothing ever came, the silence begins with the first failure."""
    clock = OutageClock()
    clock.lost(Reason.CONNECT, silent_since=None, now=5.0)
    assert clock.recovered(attempts=1, opened_at=6.0, now=7.0).silence == 2.0


@pytest.mark.parametrize("attempts, told", [(0, 1), (1, 1), (5, 5)])
def test_a_recovery_took_an_attempt_at_least(attempts, told):
    """What the program itself cut is no failure, but one attempt follows it."""
    clock = OutageClock()
    clock.lost(Reason.RESTART, silent_since=3.0, now=3.0)
    assert clock.recovered(attempts=attempts, opened_at=4.0, now=4.0).attempts == told
