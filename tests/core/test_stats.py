from __future__ import annotations

import dataclasses
import inspect
import json

import pytest

from resilient_sse._core.states import Reason, StreamState
from resilient_sse._core.stats import StreamHealth, StreamStats


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


def test_every_figure_has_its_line_in_the_docstring():
    """A figure whose meaning is not told is none."""
    for field in dataclasses.fields(StreamStats):
        assert f"\n    {field.name}: " in inspect.getdoc(StreamStats), field.name


def test_figures_as_json():
    """`to_json` says the same as one JSON object (R213)."""
    stats = StreamStats(delivered=50, time_to_first_event=0.25)
    assert json.loads(stats.to_json()) == stats.to_dict()


@pytest.mark.parametrize(
    "figures, rate",
    [
        pytest.param({"delivered": 50}, None, id="opaque-ids"),
        pytest.param({"delivered": 40, "filtered": 5, "numbered": 45, "lost": 5}, 90.0, id="numbered"),
        pytest.param({"delivered": 50, "numbered": 45, "lost": 5}, 90.0, id="some-without-a-number"),
        pytest.param({"delivered": 0, "numbered": 0, "lost": 5}, 0.0, id="all-lost"),
        pytest.param({"delivered": 50, "numbered": 50, "unknown_losses": 1}, None, id="unknown-loss"),
        pytest.param({"delivered": 46, "declared_total": 50}, 90.0, id="declared"),
        pytest.param({"delivered": 51, "declared_total": 50, "unknown_losses": 1}, 100.0, id="declared-all"),
        pytest.param({}, None, id="nothing-yet"),
    ],
)
def test_completion(figures, rate):
    """A total declared by the server, or contiguous numbers; otherwise unknown, never a guess (R93, X12)."""
    assert StreamStats(**figures).completion == rate
