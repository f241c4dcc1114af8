"""tenacity, at arm's length: it paces one outage, and every number and decision it is fed is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Outage"]


class Outage:
    """
    A series of attempts, which ends when one succeeds or the session decides that there shall be no other.

    Failures travel as results and not as exceptions: an exception that the engine kept would tie a knot of
    frames around the stream, and a stream that is dropped must free its socket at once.

    Args:
        go_on: Whether another attempt follows a failure.
        delay: Seconds until then.
        sleep: Waits that long; it may be woken early.
    """

    def __init__(
        self,
        *,
        go_on: Callable[[], bool],
        delay: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._attempts = AsyncRetrying(
            retry=_has_failed,
            wait=lambda _: delay(),
            stop=lambda _: not go_on(),
            sleep=sleep,
            retry_error_callback=lambda _: None,
        ).__aiter__()
        self._state: RetryCallState | None = None

    async def next(self) -> bool:
        """
        Wait for the next attempt.

        Returns:
            Whether there is one.
        """
        try:
            attempt = await anext(self._attempts)
        except StopAsyncIteration:
            return False
        self._state = attempt.retry_state
        return True

    def failed(self) -> None:
        """Take note that the attempt has failed; the session has been told why."""
        if self._state is not None:
            self._state.set_result(None)


def _has_failed(state: RetryCallState) -> bool:
    # The engine asks only about finished attempts, and an attempt that succeeds ends the outage unfinished.
    return state.outcome is not None
