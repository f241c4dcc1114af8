from __future__ import annotations

import dataclasses
import inspect
import json

import pytest

from resilient_sse._core.stats import StreamStats

COUNTERS = [
    "received",
    "delivered",
    "duplicates",
    "heartbeats",
    "filtered",
    "id_conflicts",
    "partial",
    "gaps",
    "lost",
    "stalls",
    "reconnects",
    "callback_errors",
    "bytes_received",
]


@pytest.mark.parametrize("name", COUNTERS)
def test_counters_start_at_zero(name):
    """Each promised figure is there from the start (R89)."""
    assert getattr(StreamStats(), name) == 0


def test_every_figure_has_its_line_in_the_docstring():
    """A figure whose meaning is not told is none."""
    for field in dataclasses.fields(StreamStats):
        assert f"\n    {field.name}: " in inspect.getdoc(StreamStats), field.name


def test_figures_by_name():
    """`to_dict` gives all figures under their names, and times that were never taken as None (R213)."""
    stats = StreamStats(received=3, delivered=2, duplicates=1, started_at=1.5)
    figures = stats.to_dict()
    assert set(figures) == {field.name for field in dataclasses.fields(stats)}
    assert (figures["received"], figures["duplicates"], figures["started_at"]) == (3, 1, 1.5)
    assert figures["last_byte_at"] is None


def test_figures_as_json():
    """`to_json` says the same as one JSON object (R213)."""
    stats = StreamStats(delivered=50, time_to_first_event=0.25)
    assert json.loads(stats.to_json()) == stats.to_dict()


def test_figures_that_do_not_exist_cannot_be_counted():
    """A slip in a counter's name is an error and not a new figure."""
    with pytest.raises(AttributeError):
        StreamStats().unknown_figure = 1
