from __future__ import annotations

import json

import pytest

from resilient_sse._core.health import StreamHealth
from resilient_sse._core.states import Reason, StreamState


@pytest.mark.parametrize("state", StreamState)
def test_well_while_a_connection_is_up(state):
    """A notice of silence is no failure yet; everything but a connection is (F34)."""
    assert StreamHealth(state=state).ok is (state in (StreamState.CONNECTED, StreamState.WAITING))


def test_the_ages():
    """Seconds since the last byte and the last event, `None` while there was none (F34)."""
    assert StreamHealth(state=StreamState.CONNECTING, at=5.0).silent_for is None
    assert StreamHealth(state=StreamState.CONNECTING, at=5.0).eventless_for is None
    health = StreamHealth(state=StreamState.CONNECTED, last_byte_at=0.0, last_event_at=1.0, at=5.0)
    assert (health.silent_for, health.eventless_for) == (5.0, 4.0)


def test_as_json():
    """The record is ready for a readiness endpoint (F34)."""
    facts = StreamHealth(
        state=StreamState.WAITING, since=2.0, reason=Reason.STALL, attempt=1, last_error="E 503", at=5.0
    ).to_dict()
    assert json.loads(json.dumps(facts)) == {
        "state": "waiting",
        "since": 2.0,
        "reason": "stall",
        "attempt": 1,
        "last_byte_at": None,
        "last_event_at": None,
        "last_error": "E 503",
        "opening": False,
        "at": 5.0,
        "ok": True,
        "silent_for": None,
        "eventless_for": None,
    }
