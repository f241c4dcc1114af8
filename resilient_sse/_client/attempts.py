"""tenacity, at arm's length: it paces outages, and every number and decision it is fed is ours."""

from __future__ import annotations

from typing import cast

from tenacity import RetryCallState, Retrying, retry_always

# One for all: it keeps nothing of those who ask, and what an outage has come to is in its `RetryCallState`.
_ENGINE = Retrying(
    retry=retry_always,  # it is asked about failures only: a success ends the outage unfinished
    wait=lambda outage: outage.kwargs["delay"],
    stop=lambda outage: outage.kwargs["over"],
    retry_error_callback=lambda _: None,
)


class Attempts:
    """
    The failed attempts of one stream.

    The session decides whether another follows, and when; a failure is told by result, for an exception would lead
    through its frames to the stream, which must be freed at once when it is dropped.
    """

    def __init__(self) -> None:
        self._outage: RetryCallState | None = None

    def failed(self, delay: float, *, over: bool) -> float | None:
        """Record a failure; return the seconds until the next attempt, `None` if there is none."""
        self._outage = outage = self._outage or RetryCallState(_ENGINE, None, (), {})
        outage.kwargs.update(delay=delay, over=over)
        outage.set_result(None)
        _ENGINE.begin()  # figures of this thread, which it counts and nobody reads
        sleep = cast("float | None", _ENGINE.iter(outage))
        outage.prepare_for_next_attempt()
        return sleep

    def succeeded(self) -> None:
        """Record that there is a connection."""
        self._outage = None
