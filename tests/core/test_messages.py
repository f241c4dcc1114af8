from __future__ import annotations

import pytest

from resilient_sse._core.errors import BadStatusError, RetriesExhaustedError
from resilient_sse._core.messages import (
    DEFAULT_MESSAGES,
    compact_messages,
    compose,
    compose_or_default,
    message_key,
    render,
)
from resilient_sse._core.session import TRANSITIONS
from resilient_sse._core.states import Reason, StateChange, StreamState

CONNECTING, CONNECTED, WAITING = StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING
RECONNECTING, ERROR, CLOSED = StreamState.RECONNECTING, StreamState.ERROR, StreamState.CLOSED


def change(old: StreamState, new: StreamState, reason: Reason, attempt: int = 0, **facts) -> StateChange:
    """Make a change within a budget of five."""
    return StateChange(old=old, new=new, reason=reason, attempt=attempt, **{"max_retries": 5, **facts})


GOLDEN = [
    pytest.param(
        change(CONNECTED, WAITING, Reason.STALL), "Waiting for server response...", id="R69-waiting"
    ),
    pytest.param(
        change(RECONNECTING, RECONNECTING, Reason.CONNECT, 2), "Reconnecting (attempt 2)...", id="R70-attempt"
    ),
    pytest.param(
        change(RECONNECTING, RECONNECTING, Reason.SERVER, 17), "Reconnecting (attempt 17)...", id="R70-any"
    ),
    pytest.param(
        change(CONNECTING, RECONNECTING, Reason.CONNECT, 1), "Reconnecting (attempt 1)...", id="R70-never-up"
    ),
    pytest.param(
        change(CONNECTED, RECONNECTING, Reason.EOF, 1),
        "Connection lost - attempting to reconnect...",
        id="R71-eof",
    ),
    pytest.param(
        change(CONNECTED, RECONNECTING, Reason.RESET, 1),
        "Connection lost - attempting to reconnect...",
        id="R71-error",
    ),
    pytest.param(
        change(WAITING, RECONNECTING, Reason.STALL, 1),
        "Connection lost - attempting to reconnect...",
        id="R71-stall",
    ),
    pytest.param(
        change(CONNECTED, WAITING, Reason.STALL, 2), "Waiting for server response... (retry 2/5)", id="R72"
    ),
    pytest.param(
        change(CONNECTED, WAITING, Reason.STALL, 2, max_retries=None),
        "Waiting for server response... (retry 2)",
        id="R72-no-limit",
    ),
    pytest.param(
        change(RECONNECTING, CONNECTED, Reason.OPENED, 3),
        "Connection restored - resuming stream...",
        id="R73-R67",
    ),
    pytest.param(
        change(ERROR, CONNECTED, Reason.OPENED),
        "Connection restored - resuming stream...",
        id="R73-after-error",
    ),
    pytest.param(change(CONNECTED, CLOSED, Reason.COMPLETE), "Response complete", id="R74"),
    pytest.param(
        change(RECONNECTING, ERROR, Reason.RETRIES, 5), "Failed to connect. Please refresh.", id="R75"
    ),
    pytest.param(change(CONNECTING, CONNECTED, Reason.OPENED), "Connected", id="connected"),
    pytest.param(change(WAITING, CONNECTED, Reason.OPENED), "Connected", id="late-byte"),
    pytest.param(
        change(
            CONNECTING,
            ERROR,
            Reason.STATUS,
            error=BadStatusError(status=403, headers={}, body_excerpt="hush"),
        ),
        "Stream failed: the server answered with status 403 instead of an event stream",
        id="failed",
    ),
]

COMPACT = [
    pytest.param(change(CONNECTED, WAITING, Reason.STALL), "Waiting for server...", id="R156"),
    pytest.param(change(CONNECTED, WAITING, Reason.STALL, 2), "Waiting for server...", id="R156-retry"),
    pytest.param(change(CONNECTING, CONNECTED, Reason.OPENED), "Connected", id="R159-first"),
    pytest.param(change(RECONNECTING, CONNECTED, Reason.OPENED, 4), "Connected", id="R159-restored"),
    pytest.param(change(CONNECTED, RECONNECTING, Reason.EOF, 1), "Reconnecting (attempt 1)...", id="R160-1"),
    pytest.param(
        change(RECONNECTING, RECONNECTING, Reason.CONNECT, 2), "Reconnecting (attempt 2)...", id="R160-2"
    ),
    pytest.param(
        change(RECONNECTING, RECONNECTING, Reason.CONNECT, 3), "Connection lost. Please refresh.", id="R161-3"
    ),
    pytest.param(
        change(RECONNECTING, RECONNECTING, Reason.CONNECT, 5), "Connection lost. Please refresh.", id="R161-5"
    ),
    pytest.param(
        change(RECONNECTING, ERROR, Reason.RETRIES, 5),
        "Failed to reconnect. Refresh to try again.",
        id="R162",
    ),
    pytest.param(change(CONNECTED, CLOSED, Reason.COMPLETE), "Response complete", id="complete"),
    pytest.param(change(CONNECTED, CLOSED, Reason.CLOSED), "Stream closed", id="closed"),
    pytest.param(
        change(CONNECTING, ERROR, Reason.CONTENT_TYPE, error=ValueError("why")),
        "Stream failed: why",
        id="failed",
    ),
]


@pytest.mark.parametrize("transition, text", GOLDEN)
def test_default_texts(transition, text):
    """The texts are those of the report, to the letter (R69-R75)."""
    assert compose(transition) == text


@pytest.mark.parametrize("transition, text", COMPACT)
def test_compact_texts(transition, text):
    """The preset speaks as the report's browser sample does (R156-R162)."""
    assert compact_messages(transition) == text
    assert compose(transition, compact_messages) == text


def test_a_closed_stream_is_not_called_complete():
    """`aclose()` is no completion (R68)."""
    assert compose(change(CONNECTED, CLOSED, Reason.CLOSED)) != DEFAULT_MESSAGES["complete"]


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


def test_no_text_of_the_catalogue_is_idle():
    """Each text belongs to some legal change."""
    changes = [
        change(old, new, reason, attempt, max_retries=limit)
        for (old, new), reasons in TRANSITIONS.items()
        for reason in reasons
        for attempt in (0, 1)
        for limit in (5, None)
    ]
    assert {message_key(step) for step in changes} == set(DEFAULT_MESSAGES)


def test_the_catalogue_cannot_be_changed_in_place():
    """The defaults are shared by all streams: one of them cannot alter the texts of the others."""
    with pytest.raises(TypeError):
        DEFAULT_MESSAGES["lost"] = "x"


def test_a_mapping_replaces_texts():
    """A text given in a mapping replaces the default (R76)."""
    lost = change(CONNECTED, RECONNECTING, Reason.EOF, 1)
    assert compose(lost, {"lost": "Verbindung verloren"}) == "Verbindung verloren"


def test_a_missing_text_falls_back():
    """A mapping need not be complete, not even hold anything (R76)."""
    lost = change(CONNECTED, RECONNECTING, Reason.EOF, 1)
    assert compose(lost, {"waiting": "..."}) == DEFAULT_MESSAGES["lost"]
    assert compose(lost, {}) == DEFAULT_MESSAGES["lost"]


def test_a_template_knows_the_facts():
    """Attempt, budget, delay, error and reason can be put into a text (R76)."""
    template = "{reason}: {error}; {attempt}/{max_retries} in {delay:.1f} s"
    error = RetriesExhaustedError(attempts=2, elapsed=1)
    lost = change(CONNECTED, RECONNECTING, Reason.RESET, 2, delay=1.25, error=error)
    assert compose(lost, {"lost": template}) == f"reset: {error}; 2/5 in 1.2 s"


def test_a_callable_writes_the_whole_text():
    """A function of the change returns the text, whatever it is (R76)."""
    lost = change(CONNECTED, RECONNECTING, Reason.EOF, 1)
    assert compose(lost, lambda step: f"{step.old.value} -> {step.new.value}") == "connected -> reconnecting"


def test_braces_in_an_error_are_no_template():
    """What a server wrote is put into the text as it is."""
    failed = change(CONNECTING, ERROR, Reason.CONTENT_TYPE, error=ValueError("{attempt} {0}"))
    assert compose(failed) == "Stream failed: {attempt} {0}"


def test_a_text_that_fails_gives_way_to_the_default():
    """What the caller's function raises is told apart, and the default text stands in (R8)."""

    def broken(step):
        raise ZeroDivisionError

    lost = change(CONNECTED, RECONNECTING, Reason.EOF, 1)
    assert compose_or_default(lost, broken) == (DEFAULT_MESSAGES["lost"], True)
    assert compose_or_default(lost, {"lost": "{delay:.1f}"}) == (DEFAULT_MESSAGES["lost"], True)
    assert compose_or_default(lost, lambda change: None) == (DEFAULT_MESSAGES["lost"], True)
    assert compose_or_default(lost, {"lost": "weg"}) == ("weg", False)
    assert compose_or_default(lost, None) == (DEFAULT_MESSAGES["lost"], False)


def test_a_template_knows_no_other_names():
    """The five facts are all there is."""
    assert render("{attempt} {max_retries} {delay} {error} {reason}") == "0 None None None "
    with pytest.raises(KeyError):
        render("{nope}")
