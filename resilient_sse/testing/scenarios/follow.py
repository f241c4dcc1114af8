"""The client under observation: the public API as any program would use it, and everything it shows noted down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import StateChange, StreamState

if TYPE_CHECKING:
    from resilient_sse._core.events import Gap, ServerSentEvent
    from resilient_sse.testing.scenarios.log import RunLog
    from resilient_sse.testing.scenarios.stage import Stage

__all__ = ["DONE", "Follower", "Settings"]

DONE = "done"
"""The type of the event that completes a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The client's settings; those that are not here are the defaults.

    Attributes:
        stall_timeout: As of `ResilientStream`.
        waiting_after: As of `ResilientStream`.
        max_retries: As of `ResilientStream`.
        jitter: That of the default backoff.
        initial: The first delay of the default backoff, in seconds.
        numbered: Whether ids are checked for gaps.
        params: Query parameters besides those of the stage.
        part: Which part of the scenario the stream plays; the figures go by it.
    """

    stall_timeout: float = 30.0
    waiting_after: float | None = None
    max_retries: int | None = 5
    jitter: float = 0.1
    initial: float = 1.0
    numbered: bool = True
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    part: str = "main"


class Follower:
    """
    One stream and what is known of it.

    Args:
        name: What it is called in the log.
        settings: The client's.
        stage: Where its server is.
        log: Where everything is noted.
        random: Draws from [0, 1): the source of the client's jitter.
    """

    def __init__(
        self, name: str, settings: Settings, *, stage: Stage, log: RunLog, random: Callable[[], float]
    ) -> None:
        self.name = name
        self.settings = settings
        self.received: int = 0
        """How many events were delivered."""
        self.state: StreamState = StreamState.CONNECTING
        self.attempt: int = 0
        """The number of the last attempt that was announced in this outage."""
        self.losses: int = 0
        """How often the connection was lost."""
        self.over: bool = False
        self._log = log
        self._changed = anyio.Event()
        log.add(
            "stream",
            name,
            part=settings.part,
            stall_timeout=settings.stall_timeout,
            waiting_after=settings.waiting_after,
            max_retries=settings.max_retries,
            jitter=settings.jitter,
        )
        self._stream = ResilientStream(
            stage.url(name),
            client=stage.client,
            headers=self._attempted,
            params=settings.params,
            resume_param="last_event_id",
            stall_timeout=settings.stall_timeout,
            waiting_after=settings.waiting_after,
            max_retries=settings.max_retries,
            backoff=Backoff(initial=settings.initial, jitter=settings.jitter, random=random),
            sequence=integers if settings.numbered else None,
            until=DONE,
            on_state_change=self._changed_state,
            on_gap=self._gap,
        )

    @property
    def duplicates(self) -> int:
        """How many events were dropped because they had come before."""
        return self._stream.stats.duplicates

    async def run(self) -> None:
        """Follow the stream to its end, whichever that is."""
        error: str | None = None
        try:
            async with self._stream as stream:
                async for event in stream:
                    self._received(event)
        except ResilientSSEError as failure:
            error = type(failure).__name__
        finally:
            self._log.add("ended", self.name, error=error)
            self._log.add("stats", self.name, **self._stream.stats.to_dict())
            self.over = True
            self._wake()

    async def until(self, held: Callable[[Follower], bool]) -> None:
        """Wait until *held* is true of this follower, or the stream is over."""
        while not (held(self) or self.over):
            await self._changed.wait()

    def _attempted(self) -> dict[str, str]:
        # Headers are asked for at each attempt: this sees also those that never reach the server.
        self._log.add("attempt", self.name)
        return {}

    def _received(self, event: ServerSentEvent) -> None:
        self.received += 1
        number = int(event.id) if event.id else None
        self._log.add(
            "received",
            self.name,
            id=number,
            type=event.event,
            size=len(event.data.encode()),
            sum=crc32(event.data.encode()),
            connection=event.connection,
        )
        self._wake()

    def _changed_state(self, change: StateChange) -> None:
        self._log.add(
            "state",
            self.name,
            old=change.old.value,
            new=change.new.value,
            reason=change.reason.value,
            attempt=change.attempt,
            max_retries=change.max_retries,
            delay=change.delay,
            message=change.message,
        )
        lost = change.new in (StreamState.RECONNECTING, StreamState.ERROR)
        self.losses += lost and change.was_up
        self.state, self.attempt = change.new, change.attempt
        self._wake()

    def _gap(self, gap: Gap) -> None:
        self._log.add("gap", self.name, gap=gap.kind, missing=gap.missing)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
