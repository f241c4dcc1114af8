"""tenacity, at arm's length: it paces one outage, and every number and decision it is fed is ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_always

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(eq=False)
class AttemptLoop:
    """
    A series of attempts, which ends when one succeeds or the session decides that there shall be no other.

    A stream that is dropped must free its socket at once, by its reference count, but the engine refers to
    itself in circles.  Therefore failures travel as results, for an exception would lead through its frames to
    the stream, and `end` lets go of the functions given here.

    *go_on* tells whether another attempt follows a failure, and *delay* after how many seconds; *sleep* waits so
    long, and may be woken early.
    """

    go_on: Callable[[], bool]
    delay: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    _engine: AsyncRetrying | None = None
    _state: RetryCallState | None = None

    async def next(self) -> bool:
        """Wait for the next attempt; return whether there is one."""
        if self._engine is None:
            return True  # the first: there is nothing to pace
        try:
            if self._state is None:
                self._state = (await anext(self._engine)).retry_state
                self._state.set_result(None)  # that one has failed
            self._state = (await anext(self._engine)).retry_state
        except StopAsyncIteration:
            return False
        return True

    def failed(self) -> None:
        """Record that the attempt has failed; the session has been told why."""
        if self._engine is None:
            self._engine = AsyncRetrying(
                retry=retry_always,  # it is asked about failures only: a success ends the outage unfinished
                wait=lambda _: self.delay(),
                stop=lambda _: not self.go_on(),
                sleep=lambda seconds: self.sleep(seconds),  # noqa: PLW0108 - a bound method would not let go
                retry_error_callback=lambda _: None,
            ).__aiter__()
        elif self._state is not None:
            self._state.set_result(None)

    def end(self) -> None:
        """Let go of the stream; nothing else may be called afterwards."""
        del self.go_on, self.delay, self.sleep
