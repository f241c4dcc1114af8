"""
Every metric there is: the one source for exporters, alert rules, dashboards and the reference page.

Seven names are a contract: those of the report this project started from.  Beside them stand companions in base
units, named by the rules of Prometheus: `sse_client_..._seconds`, `_bytes`, `_total`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

from resilient_sse._core.states import Category, Reason, StreamState


class Kind(Enum):
    """What a metric measures, in the words of Prometheus."""

    COUNTER = "counter"
    """A total that only rises."""
    GAUGE = "gauge"
    """A value that rises and falls."""
    HISTOGRAM = "histogram"
    """A distribution, counted in buckets."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """
    One metric.

    Attributes:
        kind: What it measures.
        unit: The unit in UCUM, as OpenTelemetry writes it: `s`, `ms`, `By`, `%`, or a noun in braces.
        name: Its full name in Prometheus' text format; histograms add `_bucket`, `_sum` and `_count`.
        help: One sentence for people.
        buckets: The upper bounds of a histogram's buckets, without `+Inf`.
        labels: Its own labels, each with the closed list of its values; the caller's labels come on top.
    """

    kind: Kind
    unit: str
    name: str
    help: str
    buckets: tuple[float, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


_counter = partial(Metric, Kind.COUNTER)
_events = partial(_counter, "{event}")
_gauge = partial(Metric, Kind.GAUGE)
_histogram = partial(Metric, Kind.HISTOGRAM)
_seconds = partial(_histogram, "s")

# Why a connection that was up can be lost; for other reasons attempts fail or streams end.
_LOSSES: Final = (
    *(Reason.EOF, Reason.RESET, Reason.STALL, Reason.EVENT_TIMEOUT, Reason.PROTOCOL),
    *(Reason.SERVER, Reason.RESTART, Reason.AGE, Reason.GAP),
)

# 1 to 5 s: the stages of the backoff and the three targets of the report (mean 5, p95 4.2, p99 4.8).
_RECONNECT_MS: Final = (
    *(50.0, 100.0, 250.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0, 3500.0, 4200.0, 4800.0, 5000.0),
    *(6000.0, 8000.0, 10000.0, 15000.0, 30000.0, 60000.0, 120000.0),
)
_RECOVERY: Final = tuple(bound / 1000 for bound in _RECONNECT_MS)
# Around 30 s, the default of `stall_timeout`, and 35 s, which adds the target of the recovery.
_SILENCE: Final = (
    *(0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 25.0, 30.0, 31.0, 32.0, 33.0, 35.0, 40.0, 60.0, 120.0, 300.0),
)
_FIRST_EVENT: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# From a storm of reconnects to a day.
_LIFETIME: Final = (0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

STREAM_COMPLETION_RATE: Final = _gauge(
    "%",
    "sse_stream_completion_rate",
    "Unique events received per events sent, in percent, over all streams of this process that are "
    "open or ended in the last 5 minutes and of which it is known what was sent; absent when it is "
    "known of none.",
)
RECONNECT_TIME_MS: Final = _histogram(
    "ms",
    "sse_reconnect_time_ms",
    "From the notice of a lost connection to the first new event (t4 - t2), in milliseconds.",
    _RECONNECT_MS,
)
DUPLICATE_EVENTS: Final = _events(
    "sse_duplicate_events_total", "Events dropped because they had been received before."
)
TOTAL_EVENTS_RECEIVED: Final = _events(
    "sse_total_events_received",
    "Data events dispatched by the server, duplicates and filtered ones included, heartbeats not.  "
    "It only rises, though its type is gauge: a counter's name would have to end in _total.",
)
USER_VISIBLE_ERRORS: Final = _counter(
    "{error}",
    "sse_user_visible_errors_total",
    "Errors that a state change showed, by category.",
    labels={"category": tuple(category.value for category in Category)},
)
STREAMS_STARTED: Final = _counter(
    "{stream}", "sse_streams_started_total", "Streams that were iterated; reconnects do not count."
)
MESSAGE_LOSS: Final = _events(
    "sse_message_loss_total", "Events known to be lost for good, after the server was asked for them again."
)

RECOVERY: Final = _seconds(
    "sse_client_recovery_seconds",
    "From the notice of a lost connection to the first new event (t4 - t2).",
    _RECOVERY,
)
STALL_RECOVERY: Final = _seconds(
    "sse_client_stall_recovery_seconds",
    "The part of sse_client_recovery_seconds whose connection was given up because of silence.",
    _RECOVERY,
)
SILENCE: Final = _seconds(
    "sse_client_silence_seconds",
    "From the last byte before a loss to the first new event after it (t4 - t1).",
    _SILENCE,
)
REOPENING: Final = _seconds(
    "sse_client_reopening_seconds",
    "From the notice of a lost connection to the accepted connection that brought a new event (t3 - t2).",
    _RECOVERY,
)
TIME_TO_FIRST_EVENT: Final = _seconds(
    "sse_client_time_to_first_event_seconds",
    "From the first iteration of a stream to its first delivered event.",
    _FIRST_EVENT,
)
CONNECTION_LIFETIME: Final = _seconds(
    "sse_client_connection_lifetime_seconds",
    "From the acceptance of a connection to its end, whoever ended it.",
    _LIFETIME,
)
EVENTS_RECEIVED: Final = _events(
    "sse_client_events_received_total",
    "Events dispatched by the server: delivered, duplicate, heartbeat or filtered, and nothing else.",
)
EVENTS_DELIVERED: Final = _events("sse_client_events_delivered_total", "Events handed to the program.")
EVENTS_FILTERED: Final = _events(
    "sse_client_events_filtered_total", "Events held back by the filter of the program."
)
HEARTBEATS: Final = _events(
    "sse_client_heartbeats_total", "Events of a heartbeat type; comments do not count."
)
EXPECTED_EVENTS: Final = _events(
    "sse_client_expected_events_total",
    "Events known to have been sent, by contiguous ids or by the total that the server declared.",
)
EXPECTED_EVENTS_RECEIVED: Final = _events(
    "sse_client_expected_events_received_total",
    "Those of sse_client_expected_events_total that arrived, each counted once.",
)
RECENT_EXPECTED_EVENTS: Final = _gauge(
    "{event}",
    "sse_client_recent_expected_events",
    "The denominator of sse_stream_completion_rate, for sums over processes.",
)
RECENT_EXPECTED_EVENTS_RECEIVED: Final = _gauge(
    "{event}",
    "sse_client_recent_expected_events_received",
    "The numerator of sse_stream_completion_rate, for sums over processes.",
)
UNKNOWN_LOSSES: Final = _counter(
    "{gap}", "sse_client_unknown_losses_total", "Gaps of which nobody can know how many events they hold."
)
GAPS: Final = _counter(
    "{gap}",
    "sse_client_gaps_total",
    "Gaps reported to the program, by kind.",
    labels={"kind": ("hole", "reset", "unresumable")},
)
ID_CONFLICTS: Final = _events(
    "sse_client_id_conflicts_total", "Events that bore a known id with other content; they are delivered."
)
UNUSABLE_IDS: Final = _events(
    "sse_client_unusable_ids_total",
    "Event ids that no header can carry, so that the stream cannot resume after them.",
)
PARTIAL_EVENTS: Final = _events(
    "sse_client_partial_events_total", "Events cut by the end of a connection and dropped."
)
STALLS: Final = _counter("{stall}", "sse_client_stalls_total", "Connections given up because of silence.")
REPEATED_STALLS: Final = _counter(
    "{stall}",
    "sse_client_repeated_stalls_total",
    "Stalls of streams that had stalled before: a stream's second stall and each further one.",
)
STREAMS: Final = _gauge(
    "{stream}",
    "sse_client_streams",
    "Streams that were iterated and are not closed, by state; one that has given up counts until the "
    "program drops it.",
    labels={"state": tuple(state.value for state in StreamState if state is not StreamState.CLOSED)},
)
STREAMS_HELD_BACK: Final = _gauge(
    "{stream}",
    "sse_client_streams_held_back",
    "Streams that wait because their circuit breaker is open; 0 where all circuits are closed.",
)
STREAMS_WITH_ERRORS: Final = _counter(
    "{stream}", "sse_client_streams_with_errors_total", "Streams that have shown at least one error."
)
OUTAGES: Final = _counter(
    "{outage}",
    "sse_client_outages_total",
    "Outages shown to people: one for each, however many attempts it takes.",
)
CONNECTIONS: Final = _counter(
    "{connection}", "sse_client_connections_total", "Connections accepted as event streams."
)
RECONNECTS: Final = _counter(
    "{connection}",
    "sse_client_reconnects_total",
    "Connections after the first of their stream, by the reason for which the one before was lost.",
    labels={"reason": tuple(reason.value for reason in _LOSSES)},
)
FAILED_ATTEMPTS: Final = _counter(
    "{attempt}", "sse_client_failed_attempts_total", "Attempts to open a connection that failed."
)
CALLBACK_ERRORS: Final = _counter(
    "{error}",
    "sse_client_callback_errors_total",
    "Exceptions raised by callbacks and observers of the program, exporters included.",
)
RECEIVED_BYTES: Final = _counter(
    "By",
    "sse_client_received_bytes_total",
    "Bytes of response bodies as they came from the network, before decompression.",
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    metric for metric in dict(globals()).values() if isinstance(metric, Metric)
)
"""All of them, the contract first."""

CONTRACT: Final = tuple(metric for metric in METRICS if not metric.name.startswith("sse_client_"))
"""The seven whose names may never change."""
