"""Arguments that make no sense are refused where they are given, by their names, with what to give (bad input)."""

import math
import re
from functools import partial

import pytest

from resilient_sse import ResilientStream, sync
from resilient_sse.monitoring.console import Console
from resilient_sse.monitoring.prometheus_rules import prometheus_rules
from resilient_sse.monitoring.readiness import readiness

A_STREAM = "give a ResilientStream, or names with theirs"
A_PLACE = "address must be a path, or a port from 0 to 65535, not"
A_SCALE = "scale must be a number above 0"

REFUSED = [
    (ValueError, "max_silence must be", partial(readiness, max_silence=0)),
    (ValueError, "max_eventless must be", partial(readiness, max_eventless=0)),
    (ValueError, "max_silence must be", partial(readiness, max_silence=-1.0)),
    (ValueError, "at_least must be", partial(readiness, at_least=-1)),
    *((TypeError, "max_silence must be", partial(readiness, max_silence=wrong)) for wrong in ("60", True)),
    (TypeError, "max_eventless must be", partial(readiness, max_eventless=[1])),
    *((TypeError, "at_least must be", partial(readiness, at_least=wrong)) for wrong in (1.5, "1", True)),
    *((TypeError, A_STREAM, partial(readiness, wrong)) for wrong in (["list"], "x", None)),
    *((TypeError, A_STREAM, partial(readiness, {"a": wrong})) for wrong in ("x", ResilientStream, None)),
    (TypeError, "health", partial(readiness, sync.ResilientStream("https://host/"))),
    *((TypeError, A_PLACE, partial(Console, wrong)) for wrong in (3.5, b"x", True, [])),
    *((ValueError, A_PLACE, partial(Console, wrong)) for wrong in ("", 65_536)),
    (TypeError, "name must be a text, such as 'prices', not 3", partial(Console().named, 3)),
    (TypeError, "event_time must be a function of an event", partial(Console().named, "x", event_time=3)),
    *((ValueError, A_SCALE, partial(prometheus_rules, scale=wrong)) for wrong in (0, -1, math.nan, math.inf)),
    # Prometheus knows no shorter durations, and every alert would lead to the same page.
    (ValueError, "s; use a smaller scale", partial(prometheus_rules, scale=1_000_000)),
    (ValueError, "must have a *", partial(prometheus_rules, runbooks="https://host/runbooks/")),
]


@pytest.mark.parametrize("error, words, call", REFUSED)
def test_what_makes_no_sense_is_refused(error, words, call):
    """A limit that nothing could keep, what is no stream, no place or no function; not first when it is used."""
    with pytest.raises(error, match=re.escape(words)):
        call()
