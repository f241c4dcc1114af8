from __future__ import annotations

import dataclasses

import pytest

from resilient_sse._core.states import Category, Reason, StateChange, StreamState


def test_the_reasons_are_one_closed_set():
    """States, statistics and logs share these seventeen words."""
    words = (
        "opened eof reset stall event_timeout connect status content_type protocol server restart age gap "
        "circuit complete closed retries"
    )
    assert {reason.value for reason in Reason} == set(words.split())


def test_a_change_is_a_frozen_record():
    """A callback gets a value with all the facts of a transition, which it cannot alter (R82)."""
    change = StateChange(old=StreamState.CONNECTING, new=StreamState.CONNECTED, reason=Reason.OPENED)
    names = (
        "old new reason attempt max_retries delay error status headers message at attempted_at attempted_for"
    )
    assert [field.name for field in dataclasses.fields(change)] == names.split()
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.attempt = 3
    assert not hasattr(change, "__dict__")


def test_headers_stay_out_of_the_repr():
    """A change may be printed or logged: the values of its headers are not shown."""
    change = StateChange(
        old=StreamState.CONNECTING,
        new=StreamState.CONNECTED,
        reason=Reason.OPENED,
        headers={"set-cookie": "hush"},
    )
    assert "hush" not in repr(change)


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
