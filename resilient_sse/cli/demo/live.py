"""The demo on a terminal: one picture that is drawn anew ten times a second."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from resilient_sse._core.states import StreamState
from resilient_sse.cli.demo.script import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_sse.cli.demo.record import Entry, Record
    from resilient_sse.cli.demo.report import Check, Report

__all__ = ["LiveView"]

_STYLES = {
    StreamState.CONNECTING: "cyan",
    StreamState.CONNECTED: "green",
    StreamState.WAITING: "yellow",
    StreamState.RECONNECTING: "magenta",
    StreamState.ERROR: "red",
    StreamState.CLOSED: "blue",
}

# Everything but the list of what happened: frame, state, bar, reply, rules, latest messages, the prompt.
_OTHER_ROWS = 16
_FEWEST_ENTRIES = 4
_REPLY_ROWS = 4

# The terminal echoes `^C` behind the last line; if that broke the line, the picture would be drawn a row too low.
_ROOM_FOR_CTRL_C = 2


class LiveView:
    """Draws the record of a run."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._record: Record | None = None
        self.failure: OSError | None = None

    def told(self, entry: Entry) -> None:
        """Do nothing: the next drawing shows it."""

    @contextmanager
    def showing(self, record: Record) -> Generator[None]:
        """Draw *record*, and at the end print it whole: a moving picture is bound to the size of the screen."""
        self._record = record
        # Drawn by `refresh` in the event loop, not by a thread of rich's: the record may change under a thread.
        with Live(self._draw(record), console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            except BaseException:
                live.transient = False  # what was seen last stays on the screen
                raise
            finally:
                self._live = None
        self._console.print(self._draw(record, whole=True))

    def refresh(self) -> None:
        """Draw."""
        if self._live is not None and self._record is not None:
            self._live.update(self._draw(self._record), refresh=True)

    def summary(self, report: Report) -> None:
        """Print three tables and the verdict."""
        self._console.print()
        self._console.print(_checks("Promises", report.promises))
        self._console.print(_checks("Faults, as the server reports them", report.faults))
        self._console.print(_reconnects(report))
        self._console.print(Text(report.verdict, style="bold green" if report.kept else "bold red"))

    def _draw(self, record: Record, *, whole: bool = False) -> RenderableType:
        room = max(self._console.height - _OTHER_ROWS, _FEWEST_ENTRIES)
        entries = record.entries if whole else record.entries[-room:]
        picture = Group(
            _state(record),
            _progress(record),
            _reply(record),
            Rule(style="dim"),
            _entries(entries, wrap=whole),
            Rule(style="dim"),
            _latest(record),
        )
        return Panel(
            picture,
            title="resilient-sse demo",
            title_align="left",
            subtitle=f"seed {record.seed}",
            width=self._console.width - _ROOM_FOR_CTRL_C,
        )


def _state(record: Record) -> Text:
    style = _STYLES[record.state]
    return Text.assemble((record.state.name, f"bold {style}"), "  ", record.message)


def _progress(record: Record) -> Table:
    unique = len(record.counts)
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(
        ProgressBar(total=MESSAGES, completed=unique),
        f"{unique}/{MESSAGES} messages  {record.elapsed:4.1f} s",
    )
    return row


def _reply(record: Record) -> Panel:
    # Of a fixed height, so that what stands below does not move while the reply grows.
    return Panel(Text(" ".join(record.words)), height=_REPLY_ROWS + 2, style="bold", border_style="dim")


def _entries(entries: list[Entry], *, wrap: bool) -> Table:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right", min_width=5, no_wrap=True)
    rows.add_column(min_width=6, no_wrap=True)
    rows.add_column(no_wrap=not wrap)
    for entry in entries:
        style = "red" if entry.state is None else _STYLES[entry.state]
        rows.add_row(Text(f"{entry.at:.2f}", style="dim"), entry.source, Text(entry.text, style=style))
    return rows


def _latest(record: Record) -> Table:
    rows = Table.grid(padding=(0, 2))
    for event in record.latest:
        rows.add_row(f"id {event.id}", Text(event.data, style="dim"), f"connection {event.connection}")
    return rows


def _checks(title: str, checks: list[Check]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=60)
    for check in checks:
        mark = Text("yes", style="green") if check.kept else Text("NO", style="bold red")
        table.add_row(check.name, Text(check.found), mark)
    return table


def _reconnects(report: Report) -> Table:
    table = Table(title="Reconnects", title_justify="left", min_width=60)
    table.add_column("reason")
    table.add_column("attempts", justify="right")
    table.add_column("loss to first new message", justify="right")
    for reconnect in report.reconnects:
        recovery = "never" if reconnect.recovery is None else f"{reconnect.recovery:.2f} s"
        table.add_row(reconnect.reason, str(reconnect.attempts), recovery)
    return table
