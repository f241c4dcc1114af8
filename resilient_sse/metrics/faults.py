"""What becomes of an exporter that cannot start: the stream is told once, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_sse._core.ports import Fact, Observer

__all__ = ["Faulty"]


class Faulty:
    """
    An observer that says once what is wrong with its exporter, for the stream to count and log.

    Args:
        exporter: Its name, for the log.
        fault: What is wrong.
        observer: Is told all facts nevertheless.
    """

    def __init__(self, exporter: str, fault: Exception, observer: Observer | None = None) -> None:
        self._exporter = exporter
        self._fault: Exception | None = fault
        self._observer = observer

    def __repr__(self) -> str:
        return self._exporter

    def __call__(self, fact: Fact, /) -> None:
        """Pass *fact* on, and raise the fault if that was not done yet."""
        if self._observer is not None:
            self._observer(fact)
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
