"""The words of a script about its conversation: what was said, what was not expected, and what is no step."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from resilient_sse.testing.steps import Handler, RecordedRequest, Refusal, Reply, Step

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

__all__ = ["UnexpectedRequestError", "check_answer", "check_step", "described", "shortened"]

_SHOWN_FIRST = 10
_SHOWN_LAST = 30
"""How much of a long conversation an error shows."""


class UnexpectedRequestError(AssertionError):
    """
    The client sent a request that the script has no step for, or one more than the script allows.

    Args:
        request: The request.
        conversation: What was said before it, one line per request.
        limit: How many requests the script allows; `None` if it just has no step for this one.
    """

    def __init__(
        self, request: RecordedRequest, conversation: Sequence[str], limit: int | None = None
    ) -> None:
        super().__init__(request, conversation, limit)
        self.request = request
        self.conversation = conversation
        self.limit = limit

    @override
    def __str__(self) -> str:
        what = "unexpected request"
        if self.limit is not None:
            what = f"more than {self.limit:,} requests (max_requests), does something retry for ever? last"
        return "\n    ".join((f"{what}: {self.request}; before it:", *shortened(self.conversation)))


def shortened(conversation: Sequence[str]) -> list[str]:
    """Return the lines of a conversation to be shown: how it began, and how it ended."""
    lines = list(conversation) or ["(nothing)"]
    left_out = len(lines) - _SHOWN_FIRST - _SHOWN_LAST
    if left_out > 1:
        lines[_SHOWN_FIRST:-_SHOWN_LAST] = [f"... {left_out:,} more"]
    return lines


def check_step(name: str, step: object) -> None:
    """
    Check a step that a test has given.

    Raises:
        TypeError: It is none.
    """
    if not (isinstance(step, Reply | Refusal) or callable(step)):
        raise TypeError(f"{name} must be a Reply, a Refusal, or a function that returns one, not {step!r}")


def check_answer(handler: Handler, answer: object) -> None:
    """
    Check what a handler has returned.

    Raises:
        TypeError: It is no step.
    """
    if not isinstance(answer, Reply | Refusal):
        raise TypeError(f"{described(handler)} must be a Reply or a Refusal, not {answer!r}")


def described(step: Step | Handler) -> str:
    """Say what a step does, or which function would say it."""
    return str(step) if isinstance(step, Reply | Refusal) else f"what {step!r} says"
