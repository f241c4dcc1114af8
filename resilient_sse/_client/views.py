"""Other ways to iterate one stream: everything that happens, or payloads decoded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeAlias, TypeVar

from resilient_sse._core.checks import answered_at_once

if TYPE_CHECKING:
    from resilient_sse._core.events import Activity, ServerSentEvent

__all__ = ["Activities", "Decoded", "Invalid"]

T = TypeVar("T")
Invalid: TypeAlias = "Literal['raise', 'skip'] | Callable[[ServerSentEvent, Exception], T]"


class Activities:
    """
    The iterator behind `ResilientStream.activity`.

    An object and not a generator, which would leak its connection when abandoned.
    """

    def __init__(self, take: Callable[[], Awaitable[Activity | None]]) -> None:
        self._take = take

    def __aiter__(self) -> Self:
        """Iterate over everything."""
        return self

    async def __anext__(self) -> Activity:
        """Wait for the next thing that happens."""
        item = await self._take()
        if item is None:
            raise StopAsyncIteration
        return item


class Decoded(Generic[T]):
    """The iterator behind `ResilientStream.decoded`."""

    def __init__(
        self, take: Callable[[], Awaitable[ServerSentEvent]], decoder: Callable[[str], T], invalid: Invalid[T]
    ) -> None:
        self._take = take
        self._decoder = decoder
        self._invalid = invalid

    def __aiter__(self) -> Self:
        """Iterate over the decoded payloads."""
        return self

    async def __anext__(self) -> T:
        """Wait for the next event and decode its data."""
        while True:
            event = await self._take()
            try:
                try:
                    return answered_at_once("decoder", self._decoder(event.data))
                except Exception as exc:
                    if callable(self._invalid):
                        return self._invalid(event, exc)
                    if self._invalid == "raise":
                        raise
            except StopAsyncIteration as exc:  # it would end the caller's loop as if all were well
                raise RuntimeError("a function given to decoded() raised StopAsyncIteration") from exc
