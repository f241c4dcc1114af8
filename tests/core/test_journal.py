from __future__ import annotations

import pytest

from resilient_sse._core.errors import BadStatusError, ConnectionLostError, RetriesExhaustedError
from resilient_sse._core.health import StreamHealth
from resilient_sse._core.journal import Journal
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import Reason, StreamState
from resilient_sse._core.stats import StreamStats

CONNECTED, RECONNECTING, ERROR = StreamState.CONNECTED, StreamState.RECONNECTING, StreamState.ERROR


def journal(**options) -> Journal:
    """Make a journal with figures of its own."""
    return Journal(StreamOptions(**options), StreamStats())


def caused(error, cause):
    """Chain an error."""
    error.__cause__ = cause
    return error


def test_each_change_is_written_down():
    """Old and new state, in order, with a text (R82)."""
    told = journal()
    told.changed(CONNECTED, Reason.OPENED, 1.0, attempt=0, status=200)
    told.changed(RECONNECTING, Reason.EOF, 2.0, attempt=1, delay=1.0)
    first, second = told.untold
    assert (first.old, first.new, second.old, second.new) == (
        StreamState.CONNECTING,
        CONNECTED,
        CONNECTED,
        RECONNECTING,
    )
    assert second.message == "Connection lost - attempting to reconnect..."
    assert (told.state, told.since) == (RECONNECTING, 2.0)


def test_errors_are_counted_by_category():
    """One count for each change that shows an error, in three categories (R109-R112)."""
    told = journal()
    told.changed(CONNECTED, Reason.OPENED, 1.0, attempt=0)
    told.changed(StreamState.WAITING, Reason.STALL, 1.0, attempt=0)
    told.changed(RECONNECTING, Reason.STALL, 1.0, attempt=1)
    told.changed(RECONNECTING, Reason.CONNECT, 1.0, attempt=2)
    told.changed(RECONNECTING, Reason.SERVER, 1.0, attempt=3)
    told.changed(RECONNECTING, Reason.RESTART, 1.0, attempt=3)
    told.changed(ERROR, Reason.RETRIES, 1.0, attempt=3)
    stats = told._stats
    assert (stats.connection_errors, stats.server_errors, stats.retries_exhausted) == (2, 1, 1)


def test_a_change_tells_of_the_attempt_that_it_ends():
    """When it began and how long it took, once; a change that ends none tells of none."""
    told = journal()
    told.attempting(3.0)
    told.changed(RECONNECTING, Reason.CONNECT, 5.0, attempt=1, delay=1.0)
    told.changed(StreamState.CLOSED, Reason.CLOSED, 5.5, attempt=1)
    first, second = told.untold
    assert (first.attempted_at, first.attempted_for) == (3.0, 2.0)
    assert (second.attempted_at, second.attempted_for) == (None, None)


def test_an_attempt_may_be_over_before_the_change():
    """What lies between is no part of it, nor of the next one; without an attempt there is nothing to end."""
    told = journal()
    told.attempted(1.0)
    told.attempting(3.0)
    told.attempted(4.0)
    told.changed(RECONNECTING, Reason.RESTART, 9.0, attempt=1)
    told.attempting(10.0)
    told.changed(CONNECTED, Reason.OPENED, 12.0, attempt=1)
    assert [(change.attempted_at, change.attempted_for) for change in told.untold] == [
        (3.0, 1.0),
        (10.0, 2.0),
    ]


def test_recoveries_are_told_in_their_order():
    """A recovery stands between the changes it came between, and sets the figure (R98)."""
    told = journal()
    recovery = Recovery(
        reason=Reason.EOF, attempts=1, silent_since=1, lost_at=2, opened_at=3, recovered_at=4.5
    )
    told.changed(CONNECTED, Reason.OPENED, 1.0, attempt=0)
    told.recovered(recovery)
    assert told.untold[1] is recovery
    assert told._stats.last_recovery == 2.5


@pytest.mark.parametrize(
    "error, shown",
    [
        pytest.param(ConnectionLostError(Reason.RESET, "secret"), "ConnectionLostError", id="loss"),
        pytest.param(
            BadStatusError(status=503, headers={}, body_excerpt="secret"), "BadStatusError 503", id="status"
        ),
        pytest.param(
            caused(RetriesExhaustedError(attempts=1, elapsed=1.0), BadStatusError(status=502, headers={})),
            "BadStatusError 502",
            id="cause",
        ),
    ],
)
def test_health_names_the_last_error_without_its_text(error, shown):
    """What a server wrote does not get into a readiness answer; well again, it stays to be read (F34)."""
    told = journal()
    told._stats.last_byte_at, told._stats.last_event_at = 3.0, 2.0
    told.changed(CONNECTED, Reason.OPENED, 1.0, attempt=0)
    told.changed(RECONNECTING, Reason.RESET, 4.0, attempt=2, error=error)
    assert told.health(9.0) == StreamHealth(
        state=RECONNECTING,
        since=4.0,
        reason=Reason.RESET,
        attempt=2,
        last_byte_at=3.0,
        last_event_at=2.0,
        last_error=shown,
        at=9.0,
    )
    told.changed(CONNECTED, Reason.OPENED, 5.0, attempt=0)
    assert told.health(9.0).last_error == shown


def test_an_outage_lasts_over_its_attempts():
    """Since when the stream is reconnecting is when it was lost, however many attempts have failed since (F34)."""
    told = journal()
    told.changed(CONNECTED, Reason.OPENED, 1.0, attempt=0)
    for attempt in range(1, 4):
        told.changed(RECONNECTING, Reason.CONNECT, 2.0 * attempt, attempt=attempt)
    assert (told.health(9.0).since, told.health(9.0).attempt) == (2.0, 3)


def test_the_last_lines_go_with_the_error():
    """The error that ends a stream shows what came last, if that is recorded, and no other error does (P31)."""
    told = journal(flight_recorder=5)
    told.recorder.feed(b"id: 7\ndata: secret\n")
    passing, last = ConnectionLostError(Reason.RESET), ConnectionLostError(Reason.RESET)
    told.changed(RECONNECTING, Reason.RESET, 1.0, attempt=1, error=passing)
    told.changed(ERROR, Reason.RESET, 1.0, attempt=1, error=last)
    assert (passing.wire, last.wire) == ((), ("id: 7", "data: <6 bytes>"))


def test_nothing_is_recorded_by_default():
    """Off by default (P31)."""
    told = journal()
    told.recorder.feed(b"id: 7\n")
    error = ConnectionLostError(Reason.RESET)
    told.changed(ERROR, Reason.RESET, 1.0, attempt=1, error=error)
    assert "wire" not in vars(error)
    assert error.wire == ()
