"""The demo as plain lines: for pipes, logs and terminals that cannot do more."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from resilient_sse.cli.demo.script import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_sse.cli.demo.record import Entry, Record
    from resilient_sse.cli.demo.report import Check, Report

__all__ = ["PlainView"]


class PlainView:
    """Prints what happens when it happens."""

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def told(self, entry: Entry) -> None:
        """Print an entry."""
        try:
            print(f"{entry.at:6.2f}  {entry.source:<7}  {entry.text}", flush=True)
        except OSError as error:
            # Raised later: this runs in a callback of the stream, which lets nothing out.
            self.failure = error

    @contextmanager
    def showing(self, record: Record) -> Generator[None]:
        """Print a heading."""
        print(
            f"A reply of {MESSAGES} messages over a network that misbehaves, seed {record.seed}.", flush=True
        )
        yield

    def refresh(self) -> None:
        """Do nothing: lines do not move."""

    def summary(self, report: Report) -> None:
        """Print the summary."""
        print("\nPromises")
        _print_checks(report.promises)
        print("\nFaults, as the server reports them")
        _print_checks(report.faults)
        print("\nReconnects, and the time from the loss to the first new message")
        for number, reconnect in enumerate(report.reconnects, start=1):
            noun = "attempt" if reconnect.attempts == 1 else "attempts"
            recovery = "never" if reconnect.recovery is None else f"{reconnect.recovery:.2f} s"
            print(f"  {number}   {reconnect.reason:<22}  {reconnect.attempts} {noun:<8}  {recovery}")
        print(f"\n{report.verdict}", flush=True)


def _print_checks(checks: list[Check]) -> None:
    for check in checks:
        print(f"  {'ok' if check.kept else 'NO':<3} {check.name:<22}  {check.found}")
