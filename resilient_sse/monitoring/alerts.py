"""
The alert rules and the service level objectives: the one source of every rule file, monitor and dashboard.

Theory of operation.  A rule is a measure, said without the words of any monitoring system, a threshold and a
duration.  Ratios and quantiles are taken over a window that is at least twice the duration: with a shorter one a
fault that strikes once, however bad, would be forgotten just when the alert is due, and one that strikes now and
then before it strikes again.  Where nothing was measured there is no value, so nothing fires.

Rules judge each process and each combination of a program's labels for itself, as the queries of the report do
that this project started from.  Recording rules and the dashboard sum up the processes of a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Literal, TypeAlias

from resilient_sse._core.states import StreamState
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import Metric

__all__ = [
    "ALERTS",
    "DAY",
    "HOUR",
    "SLOS",
    "Alert",
    "Mean",
    "Measure",
    "Quantile",
    "Ratio",
    "Rise",
    "Severity",
    "Slo",
    "Unit",
    "Value",
    "conditions",
    "unit_of",
]

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


class Unit(Enum):
    """What a measure is counted in: what follows the number, and how many decimals tell something."""

    PERCENT = ("%", 2)
    MILLISECONDS = (" ms", 0)
    SECONDS = (" s", 2)
    COUNT = ("", 0)

    def __init__(self, suffix: str, decimals: int) -> None:
        self.suffix: str = suffix
        self.decimals: int = decimals


@dataclass(frozen=True, slots=True)
class Value:
    """What the gauge *metric* shows."""

    metric: Metric
    window: ClassVar[float] = 0.0


@dataclass(frozen=True, slots=True)
class Rise:
    """By how much the counter *metric* has risen in the last *window* seconds."""

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of what the histogram *metric* has seen in the last *window* seconds."""

    metric: Metric
    window: float


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of the same, as the buckets tell it: with a *share* of 0.95 the value that 5 % exceed."""

    metric: Metric
    window: float
    share: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """
    The rise of the counter *part* per rise of *whole*, in percent; nothing if that has not risen.

    What the gauge *standing* showed when the *window* began counts as part of the whole, and what it showed for
    the *affected* values of its own label counts above the line, too.
    """

    part: Metric
    whole: Metric
    window: float
    standing: Metric | None = None
    affected: tuple[str, ...] = ()


Measure: TypeAlias = Value | Rise | Mean | Quantile | Ratio


def unit_of(measure: Measure) -> Unit:
    """Return what *measure* is counted in."""
    if isinstance(measure, Ratio):
        return Unit.PERCENT
    return {"%": Unit.PERCENT, "ms": Unit.MILLISECONDS, "s": Unit.SECONDS}.get(
        measure.metric.unit, Unit.COUNT
    )


class Severity(Enum):
    """How urgent an alert is: its word, who is told how, and until when somebody must have reacted to it."""

    CRITICAL = ("critical", "page on-call", "ack", 5 * MINUTE)
    HIGH = ("high", "alert ops", "ack", 15 * MINUTE)
    MEDIUM = ("medium", "monitor", "review", DAY)

    def __init__(self, word: str, response: str, promise: Literal["ack", "review"], within: float) -> None:
        self.word: str = word
        """The value of the label `severity`."""
        self.response: str = response
        """Who is told, and how."""
        self.promise: Literal["ack", "review"] = promise
        """What is due: acknowledging the alert, or looking into it."""
        self.due: str = f"{within / HOUR:g}h" if within >= HOUR else f"{within / MINUTE:g}m"
        """Until when, for people: `5m`, `24h`."""


@dataclass(frozen=True, slots=True)
class Alert:
    """
    A rule.

    Attributes:
        name: Its name, in the alert manager and in the title of its runbook.
        severity: How urgent it is.
        hold: For how many seconds it must be bad without a break.
        measured: What is watched, as it is called in a condition.
        relation: On which side of the threshold it is bad.
        threshold: The threshold, in the unit.
        measure: What is watched.
        summary: One sentence; `{value}` stands for what was measured.
        description: What it means to those who use the streams.
    """

    name: str
    severity: Severity
    hold: float
    measured: str
    relation: Literal["<", ">"]
    threshold: float
    measure: Measure
    summary: str
    description: str

    @property
    def unit(self) -> Unit:
        """What it is counted in."""
        return unit_of(self.measure)

    @property
    def runbook(self) -> str:
        """The name of its runbook's page, without an ending: `sse-message-loss`."""
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.name[3:])
        return f"sse{words}"

    @property
    def condition(self) -> str:
        """The condition in the words of the report: `mean_reconnect > 5s`."""
        return _condition(self.measured, self.relation, self.threshold, self.unit)


@dataclass(frozen=True, slots=True)
class Slo:
    """
    What is promised over an hour and over a day.

    Attributes:
        name: What is measured, as recording rules call it.
        measure: How; its window is that of the rule.
        relation: On which side of the target the promise is kept; the target itself counts for `>=`.
        target: The target, in the unit.
    """

    name: str
    measure: Measure
    relation: Literal["<", "<=", ">="]
    target: float

    @property
    def condition(self) -> str:
        """The promise: `sse_stream_completion_rate >= 99.8%`."""
        return _condition(self.name, self.relation, self.target, unit_of(self.measure))


def _condition(measured: str, relation: str, limit: float, unit: Unit) -> str:
    if unit is Unit.MILLISECONDS:
        limit, unit = limit / 1000, Unit.SECONDS
    return f"{measured} {relation} {limit:g}{unit.suffix.strip()}"


ALERTS: Final[tuple[Alert, ...]] = (
    Alert(
        *("SSECompletionRateLow", Severity.CRITICAL, 5 * MINUTE, "completion_rate", "<", 99.5),
        Value(catalogue.STREAM_COMPLETION_RATE),
        "Completion rate {value} below SLA",
        "Of the events that servers have sent, less than 99.5 % have arrived.",
    ),
    Alert(
        *("SSEReconnectMeanHigh", Severity.HIGH, 10 * MINUTE, "mean_reconnect", ">", 5000),
        Mean(catalogue.RECONNECT_TIME_MS, 20 * MINUTE),
        "Streams that lost their connection took {value} on average until the next event",
        "People wait longer than 5 s for a stream that has broken to go on.",
    ),
    Alert(
        *("SSEDuplicateRateHigh", Severity.MEDIUM, 5 * MINUTE, "duplicate_rate", ">", 1),
        Ratio(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, 10 * MINUTE),
        "{value} of the events received were received before",
        "Servers repeat events.  The client drops them; traffic and time are wasted.",
    ),
    Alert(
        *("SSEMessageLoss", Severity.CRITICAL, MINUTE, "message_loss", ">", 0),
        Rise(catalogue.MESSAGE_LOSS, 5 * MINUTE),
        "About {value} events were lost for good",
        "Events are missing, and the server could not send them again when it was asked.",
    ),
    Alert(
        *("SSEReconnectLatencyHigh", Severity.HIGH, 10 * MINUTE, "p95_reconnect", ">", 5000),
        Quantile(catalogue.RECONNECT_TIME_MS, 20 * MINUTE, 0.95),
        "One stream in twenty that lost its connection took more than {value} until the next event",
        "Some people wait longer than 5 s for a stream that has broken to go on.",
    ),
    Alert(
        *("SSEErrorRateHigh", Severity.HIGH, 5 * MINUTE, "error_rate", ">", 5),
        # The report divides errors by streams, but each failed attempt shows one: a single stream that is dead
        # would be more than 5 % of a hundred.  Outages are counted instead, and a stream that is in one since
        # before the window counts as one.  Streams may live for days: those that were there before count as well,
        # or one that is started among a thousand would make of each outage of any of them 100 %.
        Ratio(
            *(catalogue.OUTAGES, catalogue.STREAMS_STARTED, 10 * MINUTE),
            standing=catalogue.STREAMS,
            affected=(StreamState.RECONNECTING.value, StreamState.ERROR.value),
        ),
        "{value} of the streams are in an outage or have shown one",
        "Users see errors: of twenty streams more than one is broken, or has been lately.",
    ),
    Alert(
        *("SSERepeatedStalls", Severity.MEDIUM, MINUTE, "repeated_stalls", ">", 0),
        Rise(catalogue.REPEATED_STALLS, 15 * MINUTE),
        "About {value} stalls of streams that had stalled before",
        "A stream was given up because of silence more than once: a connection hangs, or a server.",
    ),
    Alert(
        *("SSEStallRecoverySlow", Severity.MEDIUM, MINUTE, "stall_recovery", ">", 5),
        Mean(catalogue.STALL_RECOVERY, 10 * MINUTE),
        "Streams that stalled took {value} on average until the next event",
        "After a silence of 30 s, people wait another 5 s or more.",
    ),
)
"""All rules: first those whose conditions the report lists, in its order."""

_RECONNECT: Final = catalogue.RECONNECT_TIME_MS
_SENT: Final = catalogue.EXPECTED_EVENTS
_DUPLICATES: Final = Ratio(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, HOUR)

SLOS: Final[tuple[Slo, ...]] = (
    Slo("sse_stream_completion_rate", Ratio(catalogue.EXPECTED_EVENTS_RECEIVED, _SENT, HOUR), ">=", 99.8),
    Slo("sse_message_loss_rate", Ratio(catalogue.MESSAGE_LOSS, _SENT, HOUR), "<=", 0),
    Slo("sse_duplicate_rate", _DUPLICATES, "<", 1),
    Slo("sse_reconnect_time_mean_ms", Mean(_RECONNECT, HOUR), "<", 5000),
    Slo("sse_reconnect_time_p95_ms", Quantile(_RECONNECT, HOUR, 0.95), "<", 4200),
    Slo("sse_reconnect_time_p99_ms", Quantile(_RECONNECT, HOUR, 0.99), "<", 4800),
)
"""The targets of the report."""


def conditions() -> list[str]:
    """Return the conditions of all rules in the words of the report, as in `completion_rate < 99.5%`."""
    return [alert.condition for alert in ALERTS]
