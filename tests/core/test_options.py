from __future__ import annotations

import inspect
import math

import pytest

import resilient_sse
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.states import Verdict

NAN, INF = math.nan, math.inf


# Defaults


FACTS = {"resumes": False, "repeatable": True, "replayable_body": True, "fresh_credentials": False}
"""What the options say about the request, which is no argument of the stream."""


def test_the_options_are_the_arguments_of_the_stream():
    """Names and defaults are those of the signature."""
    signature = inspect.signature(resilient_sse.ResilientStream).parameters
    defaults = FACTS | {name: argument.default for name, argument in signature.items()}
    options = StreamOptions()
    names = list(inspect.signature(StreamOptions).parameters)
    assert {name: getattr(options, name) for name in names} == {name: defaults[name] for name in names}
    assert [name for name in signature if name in names] == names[: -len(FACTS)]


# What is refused, by name

NO_NUMBERS = [True, "30", [30], 30j]
NO_TIMES = [-1, -0.001, NAN, INF, -INF, 0]
DURATIONS = ["connect_timeout", "stall_timeout", "event_timeout"]

WRONG = {
    TypeError: {
        **dict.fromkeys([*DURATIONS, "waiting_after"], NO_NUMBERS),
        "max_retries": [2.0, True, "5"],
        "max_server_delay": [None, "60"],
        "backoff": [1.0, [1, 2, 4], None, Backoff],
        "classify": [Verdict.RETRY],
        "last_event_id": [7, b"7"],
        "dedup_window": [10.5, True],
        "sequence": ["integers", True],
        "events": ["message", b"message", 5],
        "heartbeat_events": ["heartbeat", None],
        "until": [5, ["done"], b"done"],
        "max_event_bytes": [1e6],
        "messages": ["lost", 3],
    },
    ValueError: {
        **dict.fromkeys(DURATIONS, NO_TIMES),
        "waiting_after": [-1, -0.001, NAN, -INF, 30, 31],
        "max_retries": [-1],
        "max_server_delay": [0, -1, NAN],
        "last_event_id": ["a\rb", "a\nb", "a\0b", " 7", "x" * 4097, "\ud800"],
        "stall_on": ["data", None],
        "dedup": ["never", True, None],
        "dedup_window": [0, -1],
        "on_eof": ["stop"],
        "max_event_bytes": [0],
        "messages": [{"gone": "x"}, {"lost": "{nope}"}, {"lost": "{0}"}, {"lost": "{attempt"}],
    },
    (TypeError, ValueError): {"dedup_window": [None], "messages": [{"lost": None}]},
}


@pytest.mark.parametrize(
    "kind, name, wrong",
    [
        pytest.param(kind, name, wrong, id=f"{name}-{wrong!a:.20}")
        for kind, rows in WRONG.items()
        for name, each in rows.items()
        for wrong in each
    ],
)
def test_what_is_refused(kind, name, wrong):
    """What cannot be meant is refused at construction, by name; a notice at the stall is one such (R20, R31)."""
    with pytest.raises(kind, match=rf"^{name}\b"):
        StreamOptions(**{name: wrong})
