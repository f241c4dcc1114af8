"""What is logged: one logger, and nothing that a log must not hold."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resilient_sse._core.states import Reason, StreamState

if TYPE_CHECKING:
    from resilient_sse._core.states import StateChange

__all__ = ["log_change", "logger", "redacted"]

logger = logging.getLogger("resilient_sse")
logger.addHandler(logging.NullHandler())

# Ends of a connection that belong to normal operation: servers and proxies rotate streams by design.
_ROUTINE = frozenset({Reason.EOF, Reason.AGE, Reason.RESTART, Reason.GAP})


def redacted(url: str) -> str:
    """Return scheme, host, port and path: queries and user information may hold secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def log_change(change: StateChange, where: str) -> None:
    """Log a transition at the level it deserves."""
    level = _level(change)
    if not logger.isEnabledFor(level):
        return
    logger.log(
        level,
        "%s: %s -> %s (%s%s)%s",
        where,
        change.old.value,
        change.new.value,
        change.reason.value,
        _because(change),
        f", attempt {change.attempt} in {change.delay:.2f} s" if change.delay is not None else "",
        extra={
            "sse_url": where,
            "sse_state": change.new.value,
            "sse_reason": change.reason.value,
            "sse_attempt": change.attempt,
            "sse_delay": change.delay,
            "sse_status": change.status,
        },
    )


def _because(change: StateChange) -> str:
    """Name the status, or the class of what lies behind the error; its text may quote what a log must not hold."""
    if change.status is not None and change.new is not StreamState.CONNECTED:
        return f" {change.status}"
    error = change.error
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return f", {type(error).__name__}" if error is not None else ""


def _level(change: StateChange) -> int:
    match change.new:
        case StreamState.ERROR:
            return logging.ERROR
        case StreamState.RECONNECTING if change.old is StreamState.RECONNECTING:
            # A long outage is told at attempts 2, 4, 8, ...: still there, without filling the log.
            return logging.INFO if change.attempt & (change.attempt - 1) == 0 else logging.DEBUG
        case StreamState.RECONNECTING if change.reason not in _ROUTINE:
            return logging.WARNING
        case _:
            return logging.INFO
