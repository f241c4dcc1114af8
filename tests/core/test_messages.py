from __future__ import annotations

import pytest

from resilient_sse._core.errors import BadStatusError
from resilient_sse._core.messages import (
    DEFAULT_MESSAGES,
    compact_messages,
    compose,
    compose_or_default,
    message_key,
)
from resilient_sse._core.session import TRANSITIONS
from resilient_sse._core.states import Reason, StateChange, StreamState

CONNECTING, CONNECTED, WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
RECONNECTING, ERROR, CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED


def change(old: StreamState, new: StreamState, reason: Reason, attempt: int = 0, **facts) -> StateChange:
    """Make a change within a budget of five."""
    return StateChange(old=old, new=new, reason=reason, attempt=attempt, **{"max_retries": 5, **facts})


def row(name: str, text: str, *step, **facts):
    """Make a row of a table: a text, and the change that it belongs to."""
    return pytest.param(change(*step, **facts), text, id=name)


LOST = "Connection lost - attempting to reconnect..."
RESTORED = "Connection restored - resuming stream..."
REFUSED = BadStatusError(status=403, headers={}, body_excerpt="hush")

GOLDEN = [
    row("R69-waiting", "Waiting for server response...", CONNECTED, WAITING, Reason.STALL),
    row("R70-attempt", "Reconnecting (attempt 2)...", RECONNECTING, RECONNECTING, Reason.CONNECT, 2),
    row("R70-any", "Reconnecting (attempt 17)...", RECONNECTING, RECONNECTING, Reason.SERVER, 17),
    row("R70-never-up", "Reconnecting (attempt 1)...", CONNECTING, RECONNECTING, Reason.CONNECT, 1),
    row("R71-eof", LOST, CONNECTED, RECONNECTING, Reason.EOF, 1),
    row("R71-error", LOST, CONNECTED, RECONNECTING, Reason.RESET, 1),
    row("R71-stall", LOST, WAITING, RECONNECTING, Reason.STALL, 1),
    row("R72", "Waiting for server response... (retry 2/5)", CONNECTED, WAITING, Reason.STALL, 2),
    row(
        "R72-no-limit",
        "Waiting for server response... (retry 2)",
        *(CONNECTED, WAITING, Reason.STALL, 2),
        max_retries=None,
    ),
    row("R73-R67", RESTORED, RECONNECTING, CONNECTED, Reason.OPENED, 3),
    row("R73-after-error", RESTORED, ERROR, CONNECTED, Reason.OPENED),
    row("R74", "Response complete", CONNECTED, CLOSED, Reason.COMPLETE),
    row("R75", "Failed to connect. Please refresh.", RECONNECTING, ERROR, Reason.RETRIES, 5),
    row(
        "R75-no-answer",
        "Failed to connect. Please refresh.",
        WAITING,
        ERROR,
        Reason.RETRIES,
        5,
        attempted_at=1.0,
    ),
    row("connected", "Connected", CONNECTING, CONNECTED, Reason.OPENED),
    row("late-byte", "Connected", WAITING, CONNECTED, Reason.OPENED),
    row(
        "failed",
        "Stream failed: the server answered with status 403 instead of an event stream",
        *(CONNECTING, ERROR, Reason.STATUS),
        error=REFUSED,
    ),
]


@pytest.mark.parametrize("transition, text", GOLDEN)
def test_default_texts(transition, text):
    """The texts are those of the report, to the letter (R69-R75)."""
    assert compose(transition) == text


@pytest.mark.parametrize("attempt", [0, 1])
@pytest.mark.parametrize("limit", [5, None])
def test_every_legal_change_has_a_text(attempt, limit):
    """No transition is silent, whatever its reason (R8, R64)."""
    for (old, new), reasons in TRANSITIONS.items():
        for reason in reasons:
            step = change(old, new, reason, attempt, max_retries=limit, error=ValueError("x"))
            assert message_key(step) in DEFAULT_MESSAGES
            assert compose(step)
            assert compact_messages(step)


def test_braces_in_an_error_are_no_template():
    """What a server wrote is put into the text as it is."""
    failed = change(CONNECTING, ERROR, Reason.CONTENT_TYPE, error=ValueError("{attempt} {0}"))
    assert compose(failed) == "Stream failed: {attempt} {0}"


def test_a_text_that_fails_gives_way_to_the_default():
    """What the caller's function raises is told apart, and the default text stands in (R8)."""

    def broken(step):
        raise ZeroDivisionError

    lost = change(CONNECTED, RECONNECTING, Reason.EOF, 1)
    for messages, failure in (
        (broken, ZeroDivisionError),
        ({"lost": "{delay:.1f}"}, TypeError),
        (lambda change: None, TypeError),
    ):
        text, raised = compose_or_default(lost, messages)
        assert (text, type(raised)) == (DEFAULT_MESSAGES["lost"], failure)
    assert compose_or_default(lost, {"lost": "weg"}) == ("weg", None)
    assert compose_or_default(lost, None) == (DEFAULT_MESSAGES["lost"], None)
