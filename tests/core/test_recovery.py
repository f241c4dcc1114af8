from __future__ import annotations

import pytest

from resilient_sse._core.recovery import OutageClock, Resumption
from resilient_sse._core.states import Reason

EMPTY, EVENT, NOT_ASKED = ("7", False), ("7", True), (None, False)


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


def test_before_the_first_connection():
    """Where nothing ever came, the silence begins with the first failure."""
    clock = OutageClock()
    clock.lost(Reason.CONNECT, silent_since=None, now=5.0)
    assert clock.recovered(attempts=1, opened_at=6.0, now=7.0).silence == 2.0
