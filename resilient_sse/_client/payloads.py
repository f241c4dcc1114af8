"""What a stream with `decode` hands out: the data of its events, decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from resilient_sse._core.checks import answered_at_once, check_callable
from resilient_sse._core.errors import DecodeError
from resilient_sse._core.events import ServerSentEvent

if TYPE_CHECKING:
    from resilient_sse._core.session import Session

T = TypeVar("T")
OnInvalid: TypeAlias = "Literal['raise', 'skip'] | Callable[[ServerSentEvent, Exception], T]"

SKIPPED: Any = object()
"""What stands for an event that is left out."""


class Payloads(Generic[T]):
    """Decodes events, and does with those whose data is invalid what the program has asked for."""

    def __init__(self, decode: Callable[[str], T], on_invalid: OnInvalid[T], session: Session) -> None:
        check_callable("decode", decode, what="a function of an event's data")
        if callable(on_invalid):
            check_callable("on_invalid", on_invalid, what="a function of the event and the error")
        elif on_invalid not in ("raise", "skip"):
            raise ValueError(f"on_invalid must be 'raise', 'skip' or a function, not {on_invalid!r}")
        self._decode = decode
        self._on_invalid = on_invalid
        self._session = session

    def of(self, event: ServerSentEvent) -> T:
        """Return what is handed out for *event*, `SKIPPED` if nothing is."""
        try:
            payload = self._decode(event.data)
        except Exception as error:  # noqa: BLE001 - whatever it is, the data is not what the function takes
            return self._invalid(event, error)
        return answered_at_once("decode", payload)

    def _invalid(self, event: ServerSentEvent, error: Exception) -> T:
        if self._session.delivery.done:  # a sentinel such as [DONE], or a summary: no payload like the others
            return SKIPPED  # type: ignore[no-any-return]
        self._session.stats.invalid += 1
        if self._on_invalid == "raise":
            raise DecodeError(event, error) from error
        if not callable(self._on_invalid):
            return SKIPPED  # type: ignore[no-any-return]
        try:
            return self._on_invalid(event, error)
        except (StopIteration, StopAsyncIteration) as exc:  # would end the caller's loop as if all were well
            raise RuntimeError(f"on_invalid has raised {type(exc).__name__}") from exc
