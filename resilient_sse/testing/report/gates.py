"""The figures that every scenario has, those over all of them, and what both have to be; `GATES` has all gates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean

from resilient_sse.testing.percentiles import percentile
from resilient_sse.testing.scenarios import SCENARIOS
from resilient_sse.testing.scenarios.gates import Figures, Gate, milliseconds, percent
from resilient_sse.testing.scenarios.log import Run, Stream

ALL = "*"
"""A gate of every scenario."""

TOGETHER = "aggregate"
"""A gate of the figures over all scenarios."""

PROMPT_ATTEMPTS = 2
"""An outage that takes more attempts is no measure of the client (X7): the server was away for longer."""

ALL_GATES: Sequence[Gate] = (
    Gate(ALL, "in_time", "==", True, "R4"),
    Gate(ALL, "completion_rate_percent", "==", 100.0, "R5 R13 R34 R43 R58, X1"),
    Gate(ALL, "duplicates", "==", 0, "R14 R63 R91"),
    Gate(ALL, "message_loss", "==", 0, "R16 R25 R57 R91"),
    Gate(ALL, "gaps", "==", 0, "R16 R36"),
    Gate(ALL, "order_breaks", "==", 0, "R35"),
    Gate(ALL, "altered", "==", 0, "R1"),
    Gate(ALL, "unreconciled", "==", 0, "R89"),
    Gate(ALL, "max_live_connections", "==", 1, "R149"),
    Gate(ALL, "unrecovered", "==", 0, "R6"),
)

TOGETHER_GATES: Sequence[Gate] = (
    Gate(TOGETHER, "mean_completion_rate_percent", ">=", 99.5, "R84"),
    Gate(TOGETHER, "mean_reconnect_time_ms", "<=", 2500.0, "R85"),
    Gate(TOGETHER, "p95_reconnect_time_ms", "<", 4200.0, "R86"),
    Gate(TOGETHER, "p99_reconnect_time_ms", "<", 4800.0, "R87"),
    Gate(TOGETHER, "max_reconnect_time_ms", "<", 5000.0, "R88"),
    Gate(TOGETHER, "reconnects_measured", ">=", 200, "R86"),
    Gate(TOGETHER, "reconnects_never", "==", 0, "R6"),
    Gate(TOGETHER, "total_message_loss", "==", 0, "R91"),
    Gate(TOGETHER, "total_duplicates", "==", 0, "R91"),
)

GATES: Sequence[Gate] = (
    *ALL_GATES,
    *(gate for scenario in SCENARIOS.values() for gate in scenario.gates),
    *TOGETHER_GATES,
)


def common(run: Run) -> Figures:
    """Return the figures that every scenario has."""
    streams = run.streams
    total = sum(len(stream.published) for stream in streams)
    received = sum(len(stream.received) for stream in streams)
    unique = sum(len(set(stream.ids) & stream.published.keys()) for stream in streams)
    known = sum(number in stream.published for stream in streams for number in stream.ids)
    stats = [stream.all("stats")[0].facts for stream in streams if stream.all("stats")]
    return {
        "total_events": total,
        "received_events": unique,
        "completion_rate_percent": percent(unique, total),
        "duplicates": known - unique,
        "duplicate_rate_percent": percent(received - unique, received) or 0.0,
        "message_loss": sum(len(stream.published.keys() - set(stream.ids)) for stream in streams),
        "gaps": sum(len(stream.all("gap")) for stream in streams),
        "order_breaks": sum(b <= a for stream in streams for a, b in pairwise(stream.ids)),
        "altered": sum(map(_altered, streams)),
        "unreconciled": sum(not _reconciles(stream) for stream in streams),
        "in_time": run.in_time,
        "max_live_connections": max(run.network("max_live"), default=0),
        "suppressed": sum(one["duplicates"] for one in stats),
        "announcements": sum(len(stream.announcements) for stream in streams),
        "unrecovered": sum(recovery.t4 is None for recovery in run.recoveries()),
    }


def aggregate(runs: Iterable[tuple[Run, Figures]]) -> Figures:
    """Return the figures over several runs; times are of prompt outages only."""
    judged = list(runs)
    times = [time for run, _ in judged for time in _measured(run)]
    rates = [float(str(figures["completion_rate_percent"])) for _, figures in judged]
    return {
        "mean_completion_rate_percent": round(fmean(rates), 2) if rates else None,
        "mean_reconnect_time_ms": milliseconds(fmean(times)) if times else None,
        "p95_reconnect_time_ms": milliseconds(percentile(times, 95)),
        "p99_reconnect_time_ms": milliseconds(percentile(times, 99)),
        "total_message_loss": sum(int(str(figures["message_loss"])) for _, figures in judged),
        "total_duplicates": sum(int(str(figures["duplicates"])) for _, figures in judged),
        "max_reconnect_time_ms": milliseconds(percentile(times, 100)),
        "reconnects_measured": len(times),
        "reconnects_never": sum(recovery.t4 is None for run, _ in judged for recovery in run.recoveries()),
    }


def _measured(run: Run) -> list[float]:
    """Return the seconds of the reconnects that measure the client: prompt ones, with something to send."""
    return [
        recovery.reconnect
        for recovery in run.recoveries()
        if recovery.reconnect is not None and recovery.attempts <= PROMPT_ATTEMPTS and not recovery.idle
    ]


def _altered(stream: Stream) -> int:
    """Count the messages that nobody published, or that were published with another content."""
    sums = {number: entry.facts["sum"] for number, entry in stream.published.items()}
    return sum(sums.get(entry.facts["id"]) != entry.facts["sum"] for entry in stream.received)


def _reconciles(stream: Stream) -> bool:
    """Return whether the client's own count adds up and agrees with what was seen of it."""
    stats = next((entry.facts for entry in stream.all("stats")), None)
    if stats is None:
        return False
    parts = stats["delivered"] + stats["duplicates"] + stats["heartbeats"] + stats["filtered"]
    delivered = len(stream.all("received"))
    return bool(
        stats["received"] == parts and stats["delivered"] == delivered and stats["callback_errors"] == 0
    )
