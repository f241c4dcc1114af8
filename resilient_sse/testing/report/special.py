"""The figures that each scenario has of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from statistics import median
from typing import TypeAlias

from resilient_sse.testing.report.runs import MESSAGE, Run, Stream
from resilient_sse.testing.report.words import agreed_texts, expected_text

__all__ = ["handoff", "packet_loss", "rapid_reconnects", "slow_3g", "stall", "user_experience"]

Figures: TypeAlias = "dict[str, float | str | bool | list[float] | None]"

_CAP = 4
"""From this attempt on the nominal delay is the longest one."""

_TENTH_OF_A_MS = 4
"""Decimals of a second."""


def slow_3g(run: Run) -> Figures:
    """Return the figures of scenario 1."""
    slow, clean = (min(_durations(run.part(part)), default=None) for part in ("slow", "clean"))
    sizes = [entry.facts["size"] for stream in run.streams for entry in stream.received]
    return {
        "duration_ms": _ms(slow),
        "clean_duration_ms": _ms(clean),
        "slowdown": None if slow is None or not clean else round(slow / clean, 2),
        "drops": sum(run.network("drops", "slow")),
        "smallest_message_bytes": min(sizes, default=None),
        "largest_message_bytes": max(sizes, default=None),
    }


def stall(run: Run) -> Figures:
    """Return the figures of scenario 2."""
    streams = run.part("stall")
    recoveries = [recovery for stream in streams for recovery in stream.recoveries]
    times = [recovery.reconnect for recovery in recoveries if recovery.reconnect is not None]
    silences = [recovery.silence for recovery in recoveries if recovery.silence is not None]
    stalled = [*streams, *run.part("offline")]
    detections = [
        recovery.t2 - recovery.t1
        for stream in stalled
        for recovery in stream.recoveries
        if recovery.t1 is not None
    ]
    notices = [notice for stream in [*stalled, *run.part("late")] for notice in _notices(stream)]
    shown = all(
        any(entry.facts["message"].startswith("Waiting") for entry in stream.all("state", new="waiting"))
        for stream in stalled
    )
    late = next(iter(run.part("late")), None)
    beats = next(iter(run.part("heartbeats")), None)
    return {
        "stall_recovery_ms": _ms(max(times, default=None)),
        "median_stall_recovery_ms": _ms(median(times) if times else None),
        "ui_feedback": "Visible" if stalled and shown else "Missing",
        "auto_reconnect": bool(recoveries) and len(times) == len(recoveries) == len(streams),
        "earliest_notice_s": _seconds(min(notices, default=None)),
        "latest_notice_s": _seconds(max(notices, default=None)),
        "earliest_detection_s": _seconds(min(detections, default=None)),
        "latest_detection_s": _seconds(max(detections, default=None)),
        "shortest_silence_s": _seconds(min(silences, default=None)),
        "longest_silence_s": _seconds(max(silences, default=None)),
        "stalls_missed": len(streams) - sum(stream.fact("stats", "stalls", 0) == 1 for stream in streams),
        "offline_resume_ms": _ms(_after_mended(run.part("offline"))),
        "late_reconnects": None if late is None else len(late.announcements),
        "late_notices": None if late is None else len(late.all("state", new="waiting")),
        "heartbeat_false_alarms": None
        if beats is None
        else len(beats.announcements) + len(beats.all("state", new="waiting")),
        "heartbeat_interval_s": _seconds(_beat(beats)),
    }


def packet_loss(run: Run) -> Figures:
    """Return the figures of scenario 3."""
    dropped, delayed = run.part("dropped"), run.part("delayed")
    total = sum(len(stream.published) for stream in dropped)
    first = sum(len(_first_pass(stream)) for stream in dropped)
    unique = sum(len({entry.facts["id"] for entry in stream.received}) for stream in run.streams)
    every = sum(len(stream.published) for stream in run.streams)
    return {
        "initial_delivery_percent": round(100 * first / total, 2) if total else None,
        "completion_after_replay_percent": round(100 * unique / every, 2) if every else None,
        "withheld": sum(len(stream.all("fault", name="withhold")) for stream in dropped),
        "replays": sum(len(stream.all("request")) - 1 for stream in dropped),
        "resume_mismatches": sum(map(_resume_mismatches, dropped)),
        "delayed_segments": sum(run.network("drops", "delayed")),
        "delayed_reconnects": sum(len(stream.announcements) for stream in delayed),
    }


def handoff(run: Run) -> Figures:
    """Return the figures of scenario 4."""
    stream = run.streams[0] if run.streams else Stream("none")
    at = next((entry.at for entry in stream.all("fault")), None)
    received = stream.received
    after = [entry for entry in received if at is not None and entry.at > at]
    requests = stream.all("request")
    resumed = requests[-1] if len(requests) > 1 else None
    recoveries = stream.recoveries
    error = stream.fact("ended", "error", "unfinished")
    return {
        "recovery_ms": _ms(recoveries[0].reconnect if recoveries else None),
        "received_before": len({entry.facts["id"] for entry in received} - {x.facts["id"] for x in after}),
        "received_after": len({entry.facts["id"] for entry in after}),
        "url_cursor": None if resumed is None else ",".join(resumed.facts["query"]),
        "header_cursor": None if resumed is None else resumed.facts["header"],
        "parameters_kept": bool(requests)
        and all(request.facts["params"] == requests[0].facts["params"] for request in requests),
        "first_resumed_id": after[0].facts["id"] if after else None,
        "outages": len(recoveries),
        "error": "none" if error is None else error,
    }


def rapid_reconnects(run: Run) -> Figures:
    """Return the figures of scenario 5."""
    flap = run.part("flap")
    announced = [entry for stream in flap for entry in stream.announcements]
    waits = [wait for stream in flap for wait in _waits(stream)]
    late = [wait - entry.facts["delay"] for wait, entry in zip(waits, announced, strict=False)]
    herd = run.part("herd")
    by_attempt: dict[int, list[float]] = {}
    for stream in herd:
        for entry in stream.announcements:
            by_attempt.setdefault(entry.facts["attempt"], []).append(entry.facts["delay"])
    total = sum(len(stream.published) for stream in flap)
    unique = sum(len({entry.facts["id"] for entry in stream.received}) for stream in flap)
    return {
        "reconnect_attempts": len(announced),
        "last_attempt": max((entry.facts["attempt"] for entry in announced), default=0),
        "reconnects": sum(stream.fact("stats", "reconnects", 0) for stream in flap),
        "backoff_sequence": [round(entry.facts["delay"] * 1000) for entry in announced],
        "earliest_attempt_ms": _ms(min(late, default=None)),
        "latest_attempt_ms": _ms(max(late, default=None)),
        "jitter_diversity_percent": _diversity(by_attempt),
        "herd_clients": len(herd),
        "herd_out_of_band": sum(
            not _in_band(attempt, delay) for attempt, delays in by_attempt.items() for delay in delays
        ),
        "herd_wrong_budget": sum(len(stream.all("attempt")) != 6 for stream in herd),  # noqa: PLR2004 - 1 + 5
        "final_completion_percent": round(100 * unique / total, 2) if total else None,
    }


def user_experience(run: Run) -> Figures:
    """Return the figures of scenario 6."""
    streams = run.part("faults")
    injected = sum(len(stream.all("fault")) for stream in streams)
    silent = sum(map(_silent, streams))
    attempts = sum(len(stream.all("attempt")) - 1 for stream in run.streams)
    indicated = sum(map(_indicated, run.streams))
    changes = [entry for stream in run.streams for entry in stream.all("state")]
    seen = {entry.facts["message"] for entry in changes}
    times = [recovery.reconnect for stream in streams for recovery in stream.recoveries]
    back = [time for time in times if time is not None]
    missing = attempts - indicated
    return {
        "silent_failures": silent,
        "visible_errors": "All" if injected and not silent else f"{injected - silent} of {injected}",
        "retry_indicator": "Shown" if attempts and not missing else f"Missing at {missing} of {attempts}",
        "faults_injected": injected,
        "faults_recovered": len(back),
        "slowest_recovery_ms": _ms(max(back, default=None)),
        "texts_missing": len(agreed_texts() - seen),
        "texts_wrong": sum(entry.facts["message"] != expected_text(entry.facts) for entry in changes),
        "without_an_end": sum(not _ended(stream) for stream in run.streams),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _durations(streams: Iterable[Stream]) -> Iterable[float]:
    """Yield the time from the first message published to the last received, of each stream."""
    for stream in streams:
        published, received = stream.all("published", type=MESSAGE), stream.received
        if published and received:
            yield received[-1].at - published[0].at


def _notices(stream: Stream) -> Iterable[float]:
    """Yield how long each silence had lasted when it was shown."""
    for entry in stream.all("state", new="waiting"):
        last = [event.at for event in stream.all("received") if event.at <= entry.at]
        if last:
            yield entry.at - last[-1]


def _after_mended(streams: Iterable[Stream]) -> float | None:
    """Return the time from the end of the fault to the first event after it."""
    for stream in streams:
        for mended in stream.all("mended"):
            after = [entry.at for entry in stream.received if entry.at >= mended.at]
            if after:
                return after[0] - mended.at
    return None


def _beat(stream: Stream | None) -> float | None:
    """Return the mean time between heartbeats, over the longest time without a message."""
    count = 0 if stream is None else stream.fact("stats", "heartbeats", 0)
    if stream is None or not count:
        return None
    times = [entry.at for entry in stream.received]
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0) / count


def _first_pass(stream: Stream) -> set[int]:
    """Return the messages that the first connection brought."""
    published = stream.published.keys()
    return {entry.facts["id"] for entry in stream.all("sent", number=1)} & published


def _resume_mismatches(stream: Stream) -> int:
    """Count resuming requests that name another event than the last one, or are not answered with the next."""
    wrong = 0
    for request in stream.all("request")[1:]:
        before = [entry.facts["id"] for entry in stream.received if entry.at <= request.at]
        sent = stream.all("sent", number=request.facts["number"])
        last = before[-1] if before else None
        wrong += str(last) != request.facts["header"] or not sent or sent[0].facts["id"] != (last or 0) + 1
    return wrong


def _waits(stream: Stream) -> Iterable[float]:
    """Yield the time from each announcement to the attempt that follows it."""
    attempts = [entry.at for entry in stream.all("attempt")]
    for announced in stream.announcements:
        following = [at for at in attempts if at >= announced.at]
        if following:
            yield following[0] - announced.at


def _diversity(delays: dict[int, list[float]]) -> float | None:
    """Return the share of distinct delays, to a tenth of a millisecond, at the attempt where it is smallest."""
    shares = [
        len({round(delay, _TENTH_OF_A_MS) for delay in drawn}) / len(drawn)
        for drawn in delays.values()
        if drawn
    ]
    return round(100 * min(shares), 2) if shares else None


def _in_band(attempt: int, delay: float) -> bool:
    nominal = 5.0 if attempt >= _CAP else 2.0 ** (attempt - 1)
    return 0.9 * nominal - 1e-9 <= delay <= min(1.1 * nominal, 5.0) + 1e-9


def _silent(stream: Stream) -> int:
    """Count the faults after which an event came, or the end, before anything was said."""
    silent = 0
    waiting = False
    for entry in stream.entries:
        if entry.kind == "fault":
            silent += waiting
            waiting = True
        elif entry.kind == "state" and entry.facts["message"]:
            told = entry.facts["new"] in ("waiting", "reconnecting", "error")
            waiting = waiting and not told
        elif entry.kind in ("received", "ended"):
            silent += waiting
            waiting = False
    return silent


def _indicated(stream: Stream) -> int:
    """Count the attempts after the first that were announced, with their number, right before."""
    indicated = 0
    announced = False
    for entry in stream.entries:
        if entry.kind == "state":
            announced = entry.facts["new"] == "reconnecting" and entry.facts["attempt"] >= 1
        elif entry.kind == "attempt":
            indicated += announced
            announced = False
    return indicated


def _ended(stream: Stream) -> bool:
    changes = stream.all("state")
    return (
        bool(changes)
        and changes[-1].facts["new"] in ("closed", "error")
        and bool(changes[-1].facts["reason"])
    )
