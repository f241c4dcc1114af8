"""What is logged: one logger, and nothing that a log must not hold."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from resilient_sse._core.errors import (
    ConnectionLostError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
)
from resilient_sse._core.states import Reason, StreamState

if TYPE_CHECKING:
    from resilient_sse._core.states import StateChange

logger = logging.getLogger("resilient_sse")
logger.addHandler(logging.NullHandler())

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""By the schemes there are."""

_QUIET_SECONDS = 300.0

# Ends of a connection that belong to normal operation: servers and proxies rotate streams by design.
_ROUTINE = frozenset({Reason.EOF, Reason.AGE, Reason.RESTART, Reason.GAP, Reason.CIRCUIT})


def redacted(url: str) -> str:
    """Return scheme, host, port and path, in one spelling: queries and user information may hold secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, 0, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path or '/'}"


def origin(url: str) -> str:
    """Return scheme, host and port, which is always written."""
    parts = urlsplit(redacted(url))
    port = "" if parts.port else f":{DEFAULT_PORTS[parts.scheme]}"
    return f"{parts.scheme}://{parts.netloc}{port}"


class LogLimit:
    """Lets one thing be said every five minutes, and counts what was not said meanwhile."""

    __slots__ = ("_logged_at", "_suppressed")

    def __init__(self) -> None:
        self._logged_at = -math.inf
        self._suppressed = 0

    def allows(self, now: float) -> bool:
        if now - self._logged_at < _QUIET_SECONDS:
            self._suppressed += 1
            return False
        self._logged_at = now
        return True

    @property
    def suppressed(self) -> str:
        """A text about what was not said since the last time, which ends the count."""
        count, self._suppressed = self._suppressed, 0
        return f"; {count} more like it since the last warning" if count else ""


def log_change(change: StateChange, where: str, limit: LogLimit) -> None:
    """Log a transition at the level it deserves; *limit* keeps a loop of failures from filling the log."""
    level = _level(change, limit)
    if not logger.isEnabledFor(level):
        return
    due = "" if change.delay is None else f", attempt {change.attempt} in {change.delay:.2f} s"
    facts = (change.old.value, change.new.value, change.reason.value, _because(change), due)
    extra = {
        "sse_url": where,
        "sse_state": change.new.value,
        "sse_reason": change.reason.value,
        "sse_attempt": change.attempt,
        "sse_delay": change.delay,
        "sse_status": change.status,
    }
    suppressed = limit.suppressed if level == logging.WARNING else ""
    logger.log(level, "%s: %s -> %s (%s%s)%s%s", where, *facts, suppressed, extra=extra)


def _because(change: StateChange) -> str:
    """Name the status, or say what happened in words of ours: another's may quote what a log must not hold."""
    if change.status is not None and change.new is not StreamState.CONNECTED:
        return f" {change.status}"
    error = change.error
    while isinstance(error, RetriesExhaustedError | NotResumableError) and error.__cause__ is not None:
        error = error.__cause__
    match error:
        case None:
            return ""
        case ConnectionLostError():
            return f", {error.detail}" if error.detail else ""
        case ResilientSSEError():
            return f", {error}"
        case OSError():
            return f", {type(error).__name__}: {error.strerror}"
        case _:
            return f", {type(error).__name__}"


def _level(change: StateChange, limit: LogLimit) -> int:
    if change.new is StreamState.ERROR:
        return logging.ERROR
    if change.new is not StreamState.RECONNECTING:
        return logging.INFO
    failed_again = change.old is StreamState.RECONNECTING or change.attempt > 1
    if change.reason in _ROUTINE and not (failed_again and change.reason is Reason.EOF):
        return logging.INFO
    if limit.allows(change.at):
        return logging.WARNING
    # A long outage is told at attempts 1, 2, 4, 8, ... too: still there, without filling the log.
    return logging.INFO if change.attempt & (change.attempt - 1) == 0 else logging.DEBUG
