"""
The alert rules and the service level objectives: the one source of every rule file, monitor and dashboard.

Theory of operation.  A rule is a measure, a threshold and a duration.  Ratios and quantiles are taken over a
window that is at least twice the duration: with a shorter one a fault that strikes once, however bad, would be
forgotten just when the alert is due, and one that strikes now and then before it strikes again.
Where nothing was measured there is no value, so nothing fires.

Rules judge each process and each combination of a program's labels for itself, as the queries of the report do
that this project started from.  Recording rules and the dashboard sum up the processes of a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from resilient_sse._core.states import StreamState
from resilient_sse.metrics import catalogue
from resilient_sse.monitoring.measures import Mean, Quantile, Rise, Share, Unit, Value

if TYPE_CHECKING:
    from resilient_sse.monitoring.measures import Measure

__all__ = ["ALERTS", "DAY", "HOUR", "SLOS", "Alert", "Relation", "Severity", "Slo", "conditions"]

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

Relation: TypeAlias = Literal["<", ">"]


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
        self.within: float = within
        """In how many seconds that is due."""
        self.due: str = f"{within / HOUR:g}h" if within >= HOUR else f"{within / MINUTE:g}m"
        """The same for people: `5m`, `24h`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """
    A rule.

    Attributes:
        name: Its name, in the alert manager and in the title of its runbook.
        measure: What is watched.
        measured: What that is called in a condition.
        relation: On which side of the threshold it is bad.
        threshold: The threshold, in the unit.
        unit: What it is counted in.
        hold: For how many seconds it must be bad without a break.
        severity: How urgent it is.
        summary: One sentence; `{value}` stands for what was measured.
        description: What it means to those who use the streams.
    """

    name: str
    measure: Measure
    measured: str
    relation: Relation
    threshold: float
    unit: Unit
    hold: float
    severity: Severity
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The name of its runbook's page, without an ending: `sse-message-loss`."""
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.name[3:])
        return f"sse{words}"

    @property
    def condition(self) -> str:
        """The condition in the words of the report: `mean_reconnect > 5s`."""
        return _condition(self.measured, self.relation, self.threshold, self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """
    What is promised over an hour and over a day.

    Attributes:
        name: What is measured, as recording rules call it.
        measure: How; its window is that of the rule.
        relation: On which side of the target the promise is kept; the target itself counts for `>=`.
        target: The target, in the unit.
        unit: What it is counted in.
    """

    name: str
    measure: Measure
    relation: Literal["<", "<=", ">="]
    target: float
    unit: Unit

    @property
    def condition(self) -> str:
        """The promise: `sse_stream_completion_rate >= 99.8%`."""
        return _condition(self.name, self.relation, self.target, self.unit)


def _condition(measured: str, relation: str, limit: float, unit: Unit) -> str:
    if unit is Unit.MILLISECONDS:
        limit, unit = limit / 1000, Unit.SECONDS
    return f"{measured} {relation} {limit:g}{unit.suffix.strip()}"


ALERTS: Final[tuple[Alert, ...]] = (
    Alert(
        name="SSECompletionRateLow",
        measure=Value(catalogue.STREAM_COMPLETION_RATE),
        measured="completion_rate",
        relation="<",
        threshold=99.5,
        unit=Unit.PERCENT,
        hold=5 * MINUTE,
        severity=Severity.CRITICAL,
        summary="Completion rate {value} below SLA",
        description="Of the events that servers have sent, less than 99.5 % have arrived.",
    ),
    Alert(
        name="SSEReconnectMeanHigh",
        measure=Mean(catalogue.RECONNECT_TIME_MS, 20 * MINUTE),
        measured="mean_reconnect",
        relation=">",
        threshold=5000,
        unit=Unit.MILLISECONDS,
        hold=10 * MINUTE,
        severity=Severity.HIGH,
        summary="Streams that lost their connection took {value} on average until the next event",
        description="People wait longer than 5 s for a stream that has broken to go on.",
    ),
    Alert(
        name="SSEDuplicateRateHigh",
        measure=Share(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, 10 * MINUTE),
        measured="duplicate_rate",
        relation=">",
        threshold=1,
        unit=Unit.PERCENT,
        hold=5 * MINUTE,
        severity=Severity.MEDIUM,
        summary="{value} of the events received were received before",
        description="Servers repeat events.  The client drops them; traffic and time are wasted.",
    ),
    Alert(
        name="SSEMessageLoss",
        measure=Rise(catalogue.MESSAGE_LOSS, 5 * MINUTE),
        measured="message_loss",
        relation=">",
        threshold=0,
        unit=Unit.COUNT,
        hold=MINUTE,
        severity=Severity.CRITICAL,
        summary="About {value} events were lost for good",
        description="Events are missing, and the server could not send them again when it was asked.",
    ),
    Alert(
        name="SSEReconnectLatencyHigh",
        measure=Quantile(catalogue.RECONNECT_TIME_MS, 20 * MINUTE, 0.95),
        measured="p95_reconnect",
        relation=">",
        threshold=5000,
        unit=Unit.MILLISECONDS,
        hold=10 * MINUTE,
        severity=Severity.HIGH,
        summary="One stream in twenty that lost its connection took more than {value} until the next event",
        description="Some people wait longer than 5 s for a stream that has broken to go on.",
    ),
    Alert(
        name="SSEErrorRateHigh",
        # The report divides errors by streams, but each failed attempt shows one: a single stream that is dead
        # would be more than 5 % of a hundred.  Outages are counted instead, and a stream that is in one since
        # before the window counts as one.  Streams may live for days: those that were there before count as well,
        # or one that is started among a thousand would make of each outage of any of them 100 %.
        measure=Share(
            catalogue.OUTAGES,
            catalogue.STREAMS_STARTED,
            10 * MINUTE,
            standing=catalogue.STREAMS,
            affected=(StreamState.RECONNECTING.value, StreamState.ERROR.value),
        ),
        measured="error_rate",
        relation=">",
        threshold=5,
        unit=Unit.PERCENT,
        hold=5 * MINUTE,
        severity=Severity.HIGH,
        summary="{value} of the streams are in an outage or have shown one",
        description="Users see errors: of twenty streams more than one is broken, or has been lately.",
    ),
    Alert(
        name="SSERepeatedStalls",
        measure=Rise(catalogue.REPEATED_STALLS, 15 * MINUTE),
        measured="repeated_stalls",
        relation=">",
        threshold=0,
        unit=Unit.COUNT,
        hold=MINUTE,
        severity=Severity.MEDIUM,
        summary="About {value} stalls of streams that had stalled before",
        description="A stream was given up because of silence more than once: a connection hangs, or a server.",
    ),
    Alert(
        name="SSEStallRecoverySlow",
        measure=Mean(catalogue.STALL_RECOVERY, 10 * MINUTE),
        measured="stall_recovery",
        relation=">",
        threshold=5,
        unit=Unit.SECONDS,
        hold=MINUTE,
        severity=Severity.MEDIUM,
        summary="Streams that stalled took {value} on average until the next event",
        description="After a silence of 30 s, people wait another 5 s or more.",
    ),
)
"""All rules: first those whose conditions the report lists, in its order."""

SLOS: Final[tuple[Slo, ...]] = (
    Slo(
        name="sse_stream_completion_rate",
        measure=Share(catalogue.EXPECTED_EVENTS_RECEIVED, catalogue.EXPECTED_EVENTS, HOUR),
        relation=">=",
        target=99.8,
        unit=Unit.PERCENT,
    ),
    Slo(
        name="sse_message_loss_rate",
        measure=Share(catalogue.MESSAGE_LOSS, catalogue.EXPECTED_EVENTS, HOUR),
        relation="<=",
        target=0,
        unit=Unit.PERCENT,
    ),
    Slo(
        name="sse_duplicate_rate",
        measure=Share(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, HOUR),
        relation="<",
        target=1,
        unit=Unit.PERCENT,
    ),
    Slo(
        name="sse_reconnect_time_mean_ms",
        measure=Mean(catalogue.RECONNECT_TIME_MS, HOUR),
        relation="<",
        target=5000,
        unit=Unit.MILLISECONDS,
    ),
    Slo(
        name="sse_reconnect_time_p95_ms",
        measure=Quantile(catalogue.RECONNECT_TIME_MS, HOUR, 0.95),
        relation="<",
        target=4200,
        unit=Unit.MILLISECONDS,
    ),
    Slo(
        name="sse_reconnect_time_p99_ms",
        measure=Quantile(catalogue.RECONNECT_TIME_MS, HOUR, 0.99),
        relation="<",
        target=4800,
        unit=Unit.MILLISECONDS,
    ),
)
"""The targets of the report."""


def conditions() -> list[str]:
    """Return the conditions of all rules in the words of the report, as in `completion_rate < 99.5%`."""
    return [alert.condition for alert in ALERTS]
