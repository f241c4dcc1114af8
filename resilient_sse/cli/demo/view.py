"""What a way of showing the demo has to offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from resilient_sse.cli.demo.record import Entry, Record
    from resilient_sse.cli.demo.report import Report

__all__ = ["View"]


class View(Protocol):
    """
    A way of showing the demo.

    Attributes:
        failure: Why nothing can be shown any more, if so.
    """

    failure: OSError | None

    def told(self, entry: Entry, /) -> None:
        """Take note of something that has just happened."""
        ...

    def showing(self, record: Record, /) -> AbstractContextManager[None]:
        """Show *record* for the time of the block."""
        ...

    def refresh(self) -> None:
        """Show time passing; called a few times a second."""
        ...

    def summary(self, report: Report, /) -> None:
        """Show how it ended."""
        ...
