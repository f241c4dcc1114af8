"""The figures of the last three scenarios, counted anew."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter

from resilient_sse.testing.report.checking.columns import Columns, Line
from resilient_sse.testing.report.checking.numbers import percent, thousand

__all__ = ["handoff", "rapid_reconnects", "user_experience"]

_MESSAGE = "message"
_FIRST_AND_RETRIES = 1 + 5

_PATTERNS = {
    ("waiting", False): r"Waiting for server response\.\.\.",
    ("waiting", True): r"Waiting for server response\.\.\. \(retry {attempt}/{max_retries}\)",
    ("lost", True): r"Connection lost - attempting to reconnect\.\.\.",
    ("reconnecting", True): r"Reconnecting \(attempt {attempt}\)\.\.\.",
    ("restored", True): r"Connection restored - resuming stream\.\.\.",
    ("connected", True): "Connected",
    ("complete", True): "Response complete",
    ("closed", True): "Stream closed",
    ("error", True): r"Failed to connect\. Please refresh\.",
}

_SEVEN = (
    _PATTERNS["waiting", False],
    _PATTERNS["waiting", True].format(attempt=2, max_retries=5),
    _PATTERNS["lost", True],
    _PATTERNS["reconnecting", True].format(attempt=2),
    _PATTERNS["restored", True],
    _PATTERNS["complete", True],
    _PATTERNS["error", True],
)


def handoff(run: Columns) -> dict[str, object]:
    """Count what scenario 4 has of its own."""
    struck = run.one("fault").get("at", float("inf"))
    heard = run.of("received", type=_MESSAGE)
    after = [x["id"] for x in heard if x["at"] > struck]
    asked = run.of("request")
    again = asked[-1] if len(asked) > 1 else None
    outages = list(run.outages())
    spans = [None if x.back is None else x.back - x.lost for x in outages]
    end = run.one("ended")
    return {
        "recovery_ms": thousand(spans[0] if spans else None),
        "received_before": len({x["id"] for x in heard} - set(after)),
        "received_after": len(set(after)),
        "url_cursor": ",".join(again["query"]) if again else None,
        "header_cursor": again["header"] if again else None,
        "parameters_kept": len({str(x["params"]) for x in asked}) == 1,
        "first_resumed_id": after[0] if after else None,
        "outages": len(outages),
        "error": (end["error"] or "none") if end else "unfinished",
    }


def rapid_reconnects(run: Columns) -> dict[str, object]:
    """Count what scenario 5 has of its own."""
    told = run.of("state", "flap", new="reconnecting")
    tries = [x["at"] for x in run.of("attempt", "flap")]
    following = [(x, bisect_left(tries, x["at"])) for x in told]
    late = [tries[place] - x["at"] - x["delay"] for x, place in following if place < len(tries)]
    drawn = [(x["attempt"], x["delay"]) for x in run.of("state", "herd", new="reconnecting")]
    counts = Counter(attempt for attempt, _ in drawn)
    distinct = Counter(attempt for attempt, _ in {(attempt, round(delay, 4)) for attempt, delay in drawn})
    tried = Counter(x["stream"] for x in run.of("attempt", "herd"))
    shares = [distinct[attempt] / count for attempt, count in counts.items()]
    sent = {x["id"] for x in run.of("published", "flap", type=_MESSAGE)}
    got = {x["id"] for x in run.of("received", "flap", type=_MESSAGE)}
    return {
        "reconnect_attempts": len(told),
        "last_attempt": max((x["attempt"] for x in told), default=0),
        "reconnects": sum(x["reconnects"] for x in run.of("stats", "flap")),
        "backoff_sequence": [round(1000 * x["delay"]) for x in told],
        "earliest_attempt_ms": thousand(min(late, default=None)),
        "latest_attempt_ms": thousand(max(late, default=None)),
        "jitter_diversity_percent": round(min(shares) * 100, 2) if shares else None,
        "herd_clients": len(run.names("herd")),
        "herd_out_of_band": sum(_strays(attempt, delay) for attempt, delay in drawn),
        "herd_wrong_budget": sum(tried[name] != _FIRST_AND_RETRIES for name in run.names("herd")),
        "final_completion_percent": percent(len(got), len(sent)),
    }


def _strays(attempt: int, delay: float) -> bool:
    """Whether a delay lies outside of +-10 % of min(1 * 2**(n - 1), 5), or above 5."""
    nominal = min(2 ** (attempt - 1), 5)
    return abs(delay - nominal) > nominal / 10 + 1e-9 or delay > 5 + 1e-9


def user_experience(run: Columns) -> dict[str, object]:
    """Count what scenario 6 has of its own."""
    faults = run.of("fault", "faults")
    silent = sum(_unspoken(run, x) for x in faults)
    tries = run.of("attempt")
    again = len(tries) - len({x["stream"] for x in tries})
    missing = again - _announced(run)
    spans = [x.back - x.lost for x in run.outages() if x.back is not None and run.parts[x.stream] == "faults"]
    told = run.of("state")
    last = {x["stream"]: x for x in told}
    ended = [x for x in last.values() if x["new"] in ("closed", "error") and x["reason"]]
    texts = {x["message"] for x in told}
    return {
        "silent_failures": silent,
        "visible_errors": "All" if faults and silent == 0 else f"{len(faults) - silent} of {len(faults)}",
        "retry_indicator": "Shown" if again and not missing else f"Missing at {missing} of {again}",
        "faults_injected": len(faults),
        "faults_recovered": len(spans),
        "slowest_recovery_ms": thousand(max(spans, default=None)),
        "texts_missing": sum(not any(re.fullmatch(wanted, text) for text in texts) for wanted in _SEVEN),
        "texts_wrong": sum(not _well_said(x) for x in told),
        "without_an_end": len(run.names()) - len(ended),
    }


def _unspoken(run: Columns, fault: Line) -> bool:
    """Whether nothing was said between a fault and whatever came next: an event, the end, another fault."""
    for line in run.after(fault):
        if line.get("stream") != fault["stream"]:
            continue
        if (
            line["kind"] == "state"
            and line["new"] in ("waiting", "reconnecting", "error")
            and line["message"]
        ):
            return False
        if line["kind"] in ("received", "ended", "fault"):
            return True
    return False


def _announced(run: Columns) -> int:
    """Count the attempts whose number was the last thing said before them."""
    said: dict[str, Line] = {}
    count = 0
    for line in run.lines:
        if line["kind"] == "state":
            said[line["stream"]] = line
        elif line["kind"] == "attempt":
            before = said.pop(line["stream"], None)
            count += before is not None and before["new"] == "reconnecting" and before["attempt"] > 0
    return count


def _well_said(change: Line) -> bool:
    """Whether a change of state bears its text."""
    new, up = change["new"], change["old"] in ("connected", "waiting")
    key = new, new != "waiting" or change["attempt"] > 0
    if new == "reconnecting" and up:
        key = "lost", True
    elif new == "connected" and change["old"] in ("reconnecting", "error"):
        key = "restored", True
    elif new == "closed" and change["reason"] == "complete":
        key = "complete", True
    values = {"attempt": change["attempt"], "max_retries": change["max_retries"]}
    return re.fullmatch(_PATTERNS[key].format(**values), change["message"]) is not None
