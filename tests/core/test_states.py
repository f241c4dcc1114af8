from __future__ import annotations

import pytest

from resilient_sse._core.events import Opened
from resilient_sse._core.states import Category, Reason, StateChange, StreamState

UP = StreamState.CONNECTED


def test_the_reasons_are_one_closed_set():
    """States, statistics and logs share these seventeen words."""
    words = (
        "opened eof reset stall event_timeout connect status content_type protocol server restart age gap "
        "circuit complete closed retries"
    )
    assert {reason.value for reason in Reason} == set(words.split())


@pytest.mark.parametrize(
    "fact",
    [
        StateChange(old=UP, new=UP, reason=Reason.OPENED, headers={"set-cookie": "hush"}),
        Opened(connection=2, status=200, headers={"set-cookie": "hush"}, last_event_id="7"),
    ],
)
def test_headers_stay_out_of_the_repr(fact):
    """A fact may be printed or logged: the values of its headers are not shown."""
    assert "hush" not in repr(fact)
    assert fact.headers["set-cookie"] == "hush"


LOST, SERVER, SPENT = Category.CONNECTION_LOST, Category.SERVER_ERROR, Category.MAX_RETRIES

CATEGORIES = {
    Reason.RESET: LOST,
    Reason.CONNECT: LOST,
    Reason.EOF: LOST,
    Reason.STALL: LOST,
    Reason.EVENT_TIMEOUT: LOST,
    Reason.SERVER: SERVER,
    Reason.STATUS: SERVER,
    Reason.CONTENT_TYPE: SERVER,
    Reason.PROTOCOL: SERVER,
    Reason.RETRIES: SPENT,
}
"""R110-R112; what is not here was the program's or the library's own wish."""


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("new", StreamState)
def test_the_categories_of_errors(new, reason):
    """Each error that a person is shown has one of three categories, and nothing else has one (R109-R112)."""
    change = StateChange(old=StreamState.CONNECTED, new=new, reason=reason)
    shows = new in (StreamState.RECONNECTING, StreamState.ERROR)
    assert change.category is (CATEGORIES.get(reason) if shows else None)
