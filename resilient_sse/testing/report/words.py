"""The texts that people are shown, as they were agreed: written down here once more, not taken from the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["agreed_texts", "expected_text"]

_AGREED = frozenset(
    {
        "Waiting for server response...",  # R69
        "Reconnecting (attempt 2)...",  # R70
        "Connection lost - attempting to reconnect...",  # R71
        "Waiting for server response... (retry 2/5)",  # R72
        "Connection restored - resuming stream...",  # R73
        "Response complete",  # R74
        "Failed to connect. Please refresh.",  # R75
    }
)


def agreed_texts() -> frozenset[str]:
    """Return the seven texts that scenario 6 has to bring about (R69-R75)."""
    return _AGREED


def expected_text(change: Mapping[str, Any]) -> str:
    """
    Return the text that belongs to a change of state.

    Args:
        change: A `state` entry of the log.
    """
    old, new, attempt, retries = (change[name] for name in ("old", "new", "attempt", "max_retries"))
    match new:
        case "waiting":
            return "Waiting for server response..." + (f" (retry {attempt}/{retries})" if attempt else "")
        case "reconnecting" if old in ("connected", "waiting"):
            return "Connection lost - attempting to reconnect..."
        case "reconnecting":
            return f"Reconnecting (attempt {attempt})..."
        case "connected":
            again = old in ("reconnecting", "error")
            return "Connection restored - resuming stream..." if again else "Connected"
        case "closed":
            return "Response complete" if change["reason"] == "complete" else "Stream closed"
        case _:
            return "Failed to connect. Please refresh."
