"""What the demo's server will do, and how it reports what it did; the two processes share this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

__all__ = [
    "MESSAGES",
    "OVERLAP",
    "REPLY",
    "RETRY_AFTER",
    "STALL_TIMEOUT",
    "WAITING_AFTER",
    "Deed",
    "Fault",
    "Plan",
]

_TEXT = (
    "A stream is a promise kept one piece at a time. Networks break it: cables fail, proxies go quiet, "
    "servers restart. A good client notices, waits, asks again from the last piece it holds, drops what "
    "comes twice, and the reader gets every word once, in order, to the end."
)

REPLY = _TEXT.split()
"""The reply, a word for each message."""

MESSAGES = len(REPLY)

OVERLAP = 5
"""How many messages the server repeats when it comes back from its restart."""

STALL_TIMEOUT = 3.0
"""The client's limit on silence, in seconds: a tenth of the default, to save half a minute of everybody's time."""

WAITING_AFTER = 2.0

RETRY_AFTER = 2
"""Seconds for which the restarting server asks to be left alone."""


class Fault(Enum):
    """What goes wrong, in this order."""

    RESET = "reset"
    """A TCP reset inside a message."""
    SILENCE = "silence"
    """Nothing, on an open connection."""
    UNAVAILABLE = "unavailable"
    """A clean end, and 503 with `Retry-After` for the request that follows."""
    REPLAY = "replay"
    """Messages that were sent before, sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    Where faults strike.

    Attributes:
        reset_after: The last whole message before the reset.
        cut: The share of the next message that is still sent, from 0 to 1.
        silent_after: The last message before the silence.
        end_after: The last message before the clean end.
        sabotage: `"lose"` never sends one message, `"repeat"` alters what it replays so that it passes for new,
            `"calm"` leaves the reset out; all three break a promise that the demo has to notice.
    """

    reset_after: int
    cut: float
    silent_after: int
    end_after: int
    sabotage: str | None = None

    @classmethod
    def of(cls, seed: int, sabotage: str | None = None) -> Plan:
        """Draw a plan; the same seed draws the same."""
        random = Random(seed)  # noqa: S311 - no secret
        return cls(
            reset_after=random.randint(8, 14),
            cut=random.uniform(0.2, 0.8),
            silent_after=random.randint(20, 26),
            end_after=random.randint(32, 38),
            sabotage=sabotage,
        )

    @property
    def never_sent(self) -> int | None:
        """The message that is lost on purpose: one that no connection's end can hide."""
        return self.silent_after - 3 if self.sabotage == "lose" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """
    One line of the server's report.

    Attributes:
        text: What it did, for people.
        fault: Which fault that was, or `None` if it is only news.
        url: Where the reply is; in the first report only.
        messages: How many messages it repeated, for a replay.
        seconds: How long it was silent, for a silence.
    """

    text: str
    fault: Fault | None = None
    url: str | None = None
    messages: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(
            {
                "text": self.text,
                "fault": self.fault.value if self.fault else None,
                "url": self.url,
                "messages": self.messages,
                "seconds": self.seconds,
            }
        )

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Deed:
        """Return the deed that `to_json` wrote, from what was read of its line."""
        fault = facts["fault"]
        known: dict[str, Any] = {**facts, "fault": Fault(fault) if fault else None}
        return cls(**known)
