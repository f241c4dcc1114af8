"""Every figure of a report, computed from the log of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from statistics import fmean
from types import MappingProxyType
from typing import TypeAlias

from resilient_sse.testing.percentiles import percentile
from resilient_sse.testing.report import special
from resilient_sse.testing.report.runs import Recovery, Run, Stream

__all__ = ["PROMPT_ATTEMPTS", "Figure", "Figures", "aggregate", "figures_of"]

Figure: TypeAlias = "float | str | bool | list[float] | None"
Figures: TypeAlias = dict[str, Figure]

PROMPT_ATTEMPTS = 2
"""An outage that takes more attempts is no measure of the client (X7): the server was away for longer."""

_OF_SCENARIO: Mapping[str, Callable[[Run], Figures]] = MappingProxyType(
    {
        "scenario_1_slow_3g": special.slow_3g,
        "scenario_2_stall_detection": special.stall,
        "scenario_3_packet_loss": special.packet_loss,
        "scenario_4_network_handoff": special.handoff,
        "scenario_5_rapid_reconnects": special.rapid_reconnects,
        "scenario_6_user_experience": special.user_experience,
    }
)


def figures_of(run: Run) -> Figures:
    """Return the figures of one run: what every scenario has, and its own."""
    return {**_common(run.streams), **_of_run(run), **_OF_SCENARIO[run.scenario](run)}


def aggregate(runs: Iterable[tuple[Run, Figures]]) -> Figures:
    """Return the figures over several runs; times are of prompt outages only."""
    judged = list(runs)
    times = [
        recovery.reconnect * 1000
        for run, _ in judged
        for recovery in run.recoveries()
        if recovery.reconnect is not None and recovery.attempts <= PROMPT_ATTEMPTS and not recovery.idle
    ]
    rates = [float(str(figures["completion_rate_percent"])) for _, figures in judged]
    return {
        "mean_completion_rate_percent": round(fmean(rates), 2) if rates else None,
        "mean_reconnect_time_ms": _tenth(fmean(times) if times else None),
        "p95_reconnect_time_ms": _tenth(percentile(times, 95)),
        "p99_reconnect_time_ms": _tenth(percentile(times, 99)),
        "total_message_loss": sum(int(str(figures["message_loss"])) for _, figures in judged),
        "total_duplicates": sum(int(str(figures["duplicates"])) for _, figures in judged),
        "max_reconnect_time_ms": _tenth(max(times, default=None)),
        "reconnects_measured": len(times),
        "reconnects_never": sum(recovery.t4 is None for run, _ in judged for recovery in run.recoveries()),
    }


def _tenth(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _common(streams: list[Stream]) -> Figures:
    total = received = unique = lost = breaks = altered = gaps = unreconciled = 0
    for stream in streams:
        published, got = stream.published, stream.received
        ids = [entry.facts["id"] for entry in got]
        total += len(published)
        received += len(ids)
        unique += len(set(ids) & published.keys())
        lost += len(published.keys() - set(ids))
        breaks += sum(later <= earlier for earlier, later in pairwise(ids))
        altered += sum(
            entry.facts["id"] not in published
            or published[entry.facts["id"]].facts["sum"] != entry.facts["sum"]
            for entry in got
        )
        gaps += len(stream.all("gap"))
        unreconciled += not _reconciles(stream)
    return {
        "total_events": total,
        "received_events": unique,
        "completion_rate_percent": round(100 * unique / total, 2) if total else None,
        "duplicates": received - unique - _unknown(streams),
        "duplicate_rate_percent": round(100 * (received - unique) / received, 2) if received else 0.0,
        "message_loss": lost,
        "gaps": gaps,
        "order_breaks": breaks,
        "altered": altered,
        "unreconciled": unreconciled,
    }


def _unknown(streams: list[Stream]) -> int:
    """Count what was delivered and never published."""
    return sum(entry.facts["id"] not in stream.published for stream in streams for entry in stream.received)


def _reconciles(stream: Stream) -> bool:
    """Whether the client's own count adds up and agrees with what was seen of it."""
    stats = next((entry.facts for entry in stream.all("stats")), None)
    if stats is None:
        return False
    parts = stats["delivered"] + stats["duplicates"] + stats["heartbeats"] + stats["filtered"]
    return bool(
        stats["received"] == parts
        and stats["delivered"] == len(stream.all("received"))
        and stats["callback_errors"] == 0
    )


def _of_run(run: Run) -> Figures:
    stats = [stream.all("stats")[0].facts for stream in run.streams if stream.all("stats")]
    measured: list[Recovery] = list(run.recoveries())
    return {
        "in_time": run.in_time,
        "max_live_connections": max(run.network("max_live"), default=0),
        "suppressed": sum(figures["duplicates"] for figures in stats),
        "announcements": sum(len(stream.announcements) for stream in run.streams),
        "unrecovered": sum(recovery.t4 is None for recovery in measured),
    }
