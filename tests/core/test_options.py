from __future__ import annotations

import dataclasses
import inspect
import math

import pytest

import resilient_sse
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.messages import DEFAULT_MESSAGES, compact_messages
from resilient_sse._core.options import CONSERVATIVE, StreamOptions
from resilient_sse._core.sequence import integers
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


def test_defaults():
    """
    The defaults that were asked for.

    Connect within 10 s, notice at 25 s, stall at 30 s, on any byte (R20, R30, R154, X2).
    Five retries, 1 s doubled up to 5 s, a tenth of jitter, server wishes up to 60 s (R83, R147, P6, X19).
    Duplicates within 1,000 events are dropped, heartbeats too, and an end is a disconnect (X13, X17).
    """
    options = StreamOptions()
    assert (options.connect_timeout, options.stall_timeout, options.event_timeout) == (10.0, 30.0, None)
    assert options.notice == pytest.approx(25.0)
    assert options.stall_on == "bytes"
    assert (options.max_retries, options.max_server_delay, options.classify) == (5, 60.0, None)
    assert options.backoff == Backoff(initial=1.0, factor=2.0, maximum=5.0, jitter=0.1)
    assert (options.dedup, options.dedup_window, options.sequence) == ("auto", 1000, None)
    assert (options.last_event_id, options.events, options.until) == (None, None, None)
    assert options.heartbeats == {"heartbeat"}
    assert (options.on_eof, options.max_event_bytes, options.messages) == (
        "reconnect",
        16 * 1024 * 1024,
        None,
    )
    assert (options.repeatable, options.replayable_body, options.fresh_credentials) == (True, True, False)


def test_options_are_frozen():
    """Options are checked once and cannot be changed behind the check."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        StreamOptions().dedup = "off"


# The notice and the stall


def test_the_conservative_preset():
    """For servers without heartbeats: the notice as usual, at 25 s, and the stall at 35 s (R29, X2)."""
    assert CONSERVATIVE == {"stall_timeout": 35.0, "waiting_after": 25.0}
    options = StreamOptions(**CONSERVATIVE)
    assert (options.notice, options.stall_timeout) == (25.0, 35.0)
    assert resilient_sse.CONSERVATIVE is CONSERVATIVE


@pytest.mark.parametrize(
    "arguments, notice",
    [
        pytest.param({"stall_timeout": 60.0}, 50.0, id="five-sixths"),
        pytest.param({"stall_timeout": 0.06}, 0.05, id="five-sixths-of-little"),
        pytest.param({"waiting_after": 10}, 10.0, id="given"),
        pytest.param({"waiting_after": 29.999}, 29.999, id="just-before-the-stall"),
        pytest.param({"waiting_after": 0}, 0.0, id="at-once"),
        pytest.param({"waiting_after": INF}, INF, id="never"),
        pytest.param({"stall_timeout": None}, INF, id="no-stall-no-notice"),
        pytest.param({"stall_timeout": None, "waiting_after": 99.0}, 99.0, id="notice-alone"),
    ],
)
def test_when_the_notice_comes(arguments, notice):
    """By default after five sixths of the stall timeout; infinity switches it off (R30, R31)."""
    assert StreamOptions(**arguments).notice == pytest.approx(notice)


@pytest.mark.parametrize("stall, waiting", [(30.0, 30.0), (30.0, 31.0), (5.0, 25.0), (0.5, 0.5)])
def test_the_notice_must_precede_the_stall(stall, waiting):
    """A notice at or behind the stall would never be seen (R31)."""
    with pytest.raises(ValueError, match="waiting_after"):
        StreamOptions(stall_timeout=stall, waiting_after=waiting)


# What is refused, by name

NOT_SECONDS = [True, "30", [30], 30j]
WRONG_SECONDS = [-1, -0.001, NAN, INF, -INF]


@pytest.mark.parametrize("name", ["connect_timeout", "stall_timeout", "waiting_after", "event_timeout"])
@pytest.mark.parametrize("value", NOT_SECONDS, ids=repr)
def test_durations_of_another_type(name, value):
    """A duration that is no number is a TypeError that names the argument."""
    with pytest.raises(TypeError, match=f"^{name} must be a number of seconds"):
        StreamOptions(**{name: value})


@pytest.mark.parametrize("name", ["connect_timeout", "stall_timeout", "event_timeout"])
@pytest.mark.parametrize("value", [*WRONG_SECONDS, 0])
def test_durations_out_of_range(name, value):
    """A timeout of zero would end everything at once, and less is no time (R20)."""
    with pytest.raises(ValueError, match=f"^{name} must be more than 0"):
        StreamOptions(**{name: value})


@pytest.mark.parametrize("value", [-1, -0.001, NAN, -INF])
def test_notices_out_of_range(value):
    """A notice may come at once or never, but not before."""
    with pytest.raises(ValueError, match=r"^waiting_after must be 0 or more"):
        StreamOptions(waiting_after=value)


@pytest.mark.parametrize(
    "name, wrong, kind",
    [
        pytest.param("max_retries", -1, ValueError, id="retries-negative"),
        pytest.param("max_retries", 2.0, TypeError, id="retries-float"),
        pytest.param("max_retries", True, TypeError, id="retries-bool"),
        pytest.param("max_retries", "5", TypeError, id="retries-text"),
        pytest.param("max_server_delay", None, TypeError, id="server-delay-none"),
        pytest.param("max_server_delay", 0, ValueError, id="server-delay-zero"),
        pytest.param("max_server_delay", -1, ValueError, id="server-delay-negative"),
        pytest.param("max_server_delay", NAN, ValueError, id="server-delay-nan"),
        pytest.param("max_server_delay", "60", TypeError, id="server-delay-text"),
        pytest.param("backoff", 1.0, TypeError, id="backoff-number"),
        pytest.param("backoff", [1, 2, 4], TypeError, id="backoff-list"),
        pytest.param("backoff", None, TypeError, id="backoff-none"),
        pytest.param("backoff", Backoff, TypeError, id="backoff-class"),
        pytest.param("classify", Verdict.RETRY, TypeError, id="classify-verdict"),
    ],
)
def test_wrong_retry_arguments(name, wrong, kind):
    """What cannot decide about retries is refused at construction, by name."""
    with pytest.raises(kind, match=rf"^{name}\b"):
        StreamOptions(**{name: wrong})


@pytest.mark.parametrize(
    "name, wrong, kind",
    [
        pytest.param("last_event_id", 7, TypeError, id="id-number"),
        pytest.param("last_event_id", b"7", TypeError, id="id-bytes"),
        pytest.param("last_event_id", "a\rb", ValueError, id="id-cr"),
        pytest.param("last_event_id", "a\nb", ValueError, id="id-lf"),
        pytest.param("last_event_id", "a\0b", ValueError, id="id-nul"),
        pytest.param("last_event_id", " 7", ValueError, id="id-edge-space"),
        pytest.param("last_event_id", "x" * 4097, ValueError, id="id-long"),
        pytest.param("last_event_id", "\ud800", ValueError, id="id-no-utf-8"),
        pytest.param("dedup", "never", ValueError, id="dedup-word"),
        pytest.param("dedup", True, ValueError, id="dedup-bool"),
        pytest.param("dedup", None, ValueError, id="dedup-none"),
        pytest.param("dedup_window", 0, ValueError, id="window-zero"),
        pytest.param("dedup_window", -1, ValueError, id="window-negative"),
        pytest.param("dedup_window", 10.5, TypeError, id="window-float"),
        pytest.param("dedup_window", True, TypeError, id="window-bool"),
        pytest.param("dedup_window", None, (TypeError, ValueError), id="window-none"),
        pytest.param("sequence", "integers", TypeError, id="sequence-text"),
        pytest.param("sequence", True, TypeError, id="sequence-bool"),
        pytest.param("events", "message", TypeError, id="events-text"),
        pytest.param("events", b"message", TypeError, id="events-bytes"),
        pytest.param("events", 5, TypeError, id="events-number"),
        pytest.param("heartbeat_events", "heartbeat", TypeError, id="heartbeats-text"),
        pytest.param("heartbeat_events", None, TypeError, id="heartbeats-none"),
        pytest.param("until", 5, TypeError, id="until-number"),
        pytest.param("until", ["done"], TypeError, id="until-list"),
        pytest.param("until", b"done", TypeError, id="until-bytes"),
    ],
)
def test_wrong_stream_arguments(name, wrong, kind):
    """What cannot judge events is refused at construction, by name (R148)."""
    with pytest.raises(kind, match=rf"^{name}\b"):
        StreamOptions(**{name: wrong})


@pytest.mark.parametrize(
    "name, wrong, kind",
    [
        pytest.param("on_eof", "stop", ValueError, id="on_eof"),
        pytest.param("max_event_bytes", 0, ValueError, id="max_event_bytes-zero"),
        pytest.param("max_event_bytes", 1e6, TypeError, id="max_event_bytes-float"),
        pytest.param("messages", "lost", TypeError, id="messages-text"),
        pytest.param("messages", 3, TypeError, id="messages-number"),
        pytest.param("messages", {"gone": "x"}, ValueError, id="messages-unknown-key"),
        pytest.param("messages", {"lost": "{nope}"}, ValueError, id="messages-unknown-name"),
        pytest.param("messages", {"lost": "{0}"}, ValueError, id="messages-position"),
        pytest.param("messages", {"lost": "{attempt"}, ValueError, id="messages-open-brace"),
        pytest.param("messages", {"lost": None}, (TypeError, ValueError), id="messages-none"),
    ],
)
def test_other_wrong_arguments(name, wrong, kind):
    """The remaining settings are checked by name as well (R76)."""
    with pytest.raises(kind, match=rf"^{name}\b"):
        StreamOptions(**{name: wrong})


def test_a_wrong_stall_mode():
    """The complaint lists what is possible (P26)."""
    with pytest.raises(
        ValueError, match=r"^stall_on must be one of 'bytes', 'frames', 'events', not 'data'$"
    ):
        StreamOptions(stall_on="data")


def test_a_hostile_id_is_not_repeated_at_length():
    """The complaint about a long id quotes its start only."""
    with pytest.raises(ValueError, match="last_event_id") as caught:
        StreamOptions(last_event_id="x" * 100_000)
    assert len(str(caught.value)) < 400


# What is accepted


@pytest.mark.parametrize(
    "name, value",
    [
        pytest.param("last_event_id", None, id="no-id"),
        pytest.param("last_event_id", "", id="empty-id"),
        pytest.param("last_event_id", "-1", id="R148"),
        pytest.param("last_event_id", "naïve 😀", id="unicode-id"),
        pytest.param("last_event_id", "x" * 4096, id="longest-id"),
        pytest.param("dedup", "replay", id="dedup-replay"),
        pytest.param("dedup", "off", id="dedup-off"),
        pytest.param("dedup_window", 1, id="window-of-one"),
        pytest.param("sequence", integers, id="sequence"),
        pytest.param("events", frozenset("ab"), id="event-types"),
        pytest.param("events", (), id="no-event-types"),
        pytest.param("events", bool, id="event-predicate"),
        pytest.param("until", "done", id="until-type"),
        pytest.param("until", bool, id="until-predicate"),
    ],
)
def test_accepted_stream_arguments(name, value):
    """The options keep what they are given."""
    assert getattr(StreamOptions(**{name: value}), name) == value


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param({}, id="none"),
        pytest.param(DEFAULT_MESSAGES, id="defaults"),
        pytest.param({"lost": "weg"}, id="plain"),
        pytest.param({"lost": "{attempt} of {max_retries}: {error} ({reason})"}, id="facts"),
        pytest.param({"lost": "again in {delay:.1f} s"}, id="formatted-delay"),
        pytest.param({"lost": "{{literally}}"}, id="braces"),
        pytest.param(compact_messages, id="preset"),
    ],
)
def test_accepted_messages(messages):
    """A catalogue may be a mapping of any size over the names of the defaults, or a function (R76)."""
    assert StreamOptions(messages=messages).messages == messages


def test_no_limits_at_all():
    """None switches every limit of liveness and size off."""
    options = StreamOptions(
        connect_timeout=None, stall_timeout=None, event_timeout=None, max_event_bytes=None
    )
    assert (options.notice, options.max_event_bytes) == (INF, None)


# Requests that must not be sent again
