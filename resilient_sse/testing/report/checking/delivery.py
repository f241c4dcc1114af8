"""The figures that every scenario has, and those of the first three, counted anew."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from resilient_sse.testing.report.checking.columns import Columns, Line
from resilient_sse.testing.report.checking.numbers import percent, thousand, thousandth

__all__ = ["common", "packet_loss", "slow_3g", "stall"]

_MESSAGE = "message"


def common(run: Columns) -> dict[str, object]:
    """Count what every scenario has."""
    truth = {(x["stream"], x["id"]): x["sum"] for x in run.of("published", type=_MESSAGE)}
    brought = [(x["stream"], x["id"], x["sum"]) for x in run.of("received", type=_MESSAGE)]
    seen = Counter((stream, number) for stream, number, _ in brought)
    right = seen.keys() & truth.keys()
    return {
        "total_events": len(truth),
        "received_events": len(right),
        "completion_rate_percent": percent(len(right), len(truth)),
        "duplicates": sum(seen[key] - 1 for key in right),
        "duplicate_rate_percent": percent(len(brought) - len(right), len(brought)) or 0.0,
        "message_loss": len(truth.keys() - right),
        "gaps": len(run.of("gap")),
        "order_breaks": sum(_falls(run, name) for name in run.names()),
        "altered": sum(truth.get((stream, number)) != content for stream, number, content in brought),
        "unreconciled": sum(not _reconciled(run, name) for name in run.names()),
        "in_time": run.one("finish").get("in_time", False),
        "max_live_connections": max((x["max_live"] for x in run.of("network")), default=0),
        "suppressed": sum(x["duplicates"] for x in run.of("stats")),
        "announcements": len(run.of("state", new="reconnecting")),
        "unrecovered": sum(outage.back is None for outage in run.outages()),
    }


def _falls(run: Columns, name: str) -> int:
    """Count the messages of a stream whose id is not above the one before."""
    ids: list[int] = [x["id"] for x in run.of("received", stream=name, type=_MESSAGE)]
    return len(ids) - sum(b > a for a, b in pairwise(ids)) - min(len(ids), 1)


def _reconciled(run: Columns, name: str) -> bool:
    stats = next(iter(run.of("stats", stream=name)), None)
    if stats is None:
        return False
    handed = len(run.of("received", stream=name))
    rest = stats["received"] - stats["duplicates"] - stats["heartbeats"] - stats["filtered"]
    return handed == stats["delivered"] == rest and not stats["callback_errors"]


def slow_3g(run: Columns) -> dict[str, object]:
    """Count what scenario 1 has of its own."""
    slow, clean = _span(run, "slow"), _span(run, "clean")
    sizes = sorted(x["size"] for x in run.of("received", type=_MESSAGE))
    return {
        "duration_ms": thousand(slow),
        "clean_duration_ms": thousand(clean),
        "slowdown": round(slow / clean, 2) if slow is not None and clean else None,
        "drops": sum(x["drops"] for x in run.of("network", part="slow")),
        "smallest_message_bytes": sizes[0] if sizes else None,
        "largest_message_bytes": sizes[-1] if sizes else None,
    }


def _span(run: Columns, part: str) -> float | None:
    """Return the shortest time that any line of a part took for all its messages."""
    times = [
        (run.times("published", name, type=_MESSAGE), run.times("received", name, type=_MESSAGE))
        for name in run.names(part)
    ]
    return min((back[-1] - out[0] for out, back in times if out and back), default=None)


def stall(run: Columns) -> dict[str, object]:
    """Count what scenario 2 has of its own."""
    mine, late = run.names("stall"), run.names("late")
    stalled = {*mine, *run.names("offline")}
    ends = [outage for outage in run.outages() if outage.stream in mine]
    spans = [x.back - x.lost for x in ends if x.back is not None]
    silences = [x.back - x.last for x in ends if x.back is not None and x.last is not None]
    shown = {
        x["stream"] for x in run.of("state", new="waiting") if x["message"].partition(" ")[0] == "Waiting"
    }
    detected = [x.lost - x.last for x in run.outages() if x.stream in stalled and x.last is not None]
    noticed = [gap for name in (*stalled, *late) for gap in _silences(run, name)]
    alarms = [x for x in run.of("state", "heartbeats") if x["new"] in ("waiting", "reconnecting")]
    return {
        "stall_recovery_ms": thousand(max(spans, default=None)),
        "median_stall_recovery_ms": thousand(statistics.median(spans) if spans else None),
        "ui_feedback": "Visible" if stalled and stalled <= shown else "Missing",
        "auto_reconnect": 0 < len(spans) == len(ends) == len(mine),
        "earliest_notice_s": thousandth(min(noticed, default=None)),
        "latest_notice_s": thousandth(max(noticed, default=None)),
        "earliest_detection_s": thousandth(min(detected, default=None)),
        "latest_detection_s": thousandth(max(detected, default=None)),
        "shortest_silence_s": thousandth(min(silences, default=None)),
        "longest_silence_s": thousandth(max(silences, default=None)),
        "stalls_missed": len(mine) - len({line["stream"] for line in run.of("stats", "stall", stalls=1)}),
        "offline_resume_ms": thousand(_resumed(run, "offline")),
        "late_reconnects": len(run.of("state", "late", new="reconnecting")) if late else None,
        "late_notices": len(run.of("state", "late", new="waiting")) if late else None,
        "heartbeat_false_alarms": len(alarms) if run.names("heartbeats") else None,
        "heartbeat_interval_s": thousandth(_beat(run)),
    }


def _silences(run: Columns, name: str) -> Iterator[float]:
    """Yield how long a stream had been silent at each notice."""
    heard = run.times("received", name)
    for at in run.times("state", name, new="waiting"):
        before = bisect_right(heard, at)
        if before:
            yield at - heard[before - 1]


def _resumed(run: Columns, part: str) -> float | None:
    for line in run.of("mended", part):
        heard = run.times("received", line["stream"], type=_MESSAGE)
        place = bisect_left(heard, line["at"])
        if place < len(heard):
            return heard[place] - float(line["at"])
    return None


def _beat(run: Columns) -> float | None:
    beats = sum(x["heartbeats"] for x in run.of("stats", "heartbeats"))
    heard = [float(x["at"]) for x in run.of("received", "heartbeats", type=_MESSAGE)]
    pauses = [b - a for a, b in pairwise(heard)]
    return max(pauses, default=0.0) / beats if beats else None


def packet_loss(run: Columns) -> dict[str, object]:
    """Count what scenario 3 has of its own."""
    due = {(x["stream"], x["id"]) for x in run.of("published", "dropped", type=_MESSAGE)}
    first = {(x["stream"], x["id"]) for x in run.of("sent", "dropped", number=1)}
    known = {(x["stream"], x["id"]) for x in run.of("received", type=_MESSAGE)}
    every = {(x["stream"], x["id"]) for x in run.of("published", type=_MESSAGE)}
    requests = run.of("request", "dropped")
    return {
        "initial_delivery_percent": percent(len(due & first), len(due)),
        "completion_after_replay_percent": percent(len(known), len(every)),
        "withheld": len(run.of("fault", "dropped", name="withhold")),
        "replays": len(requests) - len(run.names("dropped")),
        "resume_mismatches": sum(not _continues(run, x) for x in requests if x["number"] > 1),
        "delayed_segments": sum(x["drops"] for x in run.of("network", part="delayed")),
        "delayed_reconnects": len(run.of("state", "delayed", new="reconnecting")),
    }


def _continues(run: Columns, request: Line) -> bool:
    """Whether a request names the last event that had come, and is answered with the one after it."""
    name, at = request["stream"], request["at"]
    had = [x["id"] for x in run.of("received", stream=name, type=_MESSAGE) if x["at"] <= at]
    answer = [x["id"] for x in run.of("sent", stream=name, number=request["number"])]
    return bool(had and answer) and request["header"] == str(had[-1]) and answer[0] == had[-1] + 1
