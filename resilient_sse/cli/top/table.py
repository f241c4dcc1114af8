"""The picture: which columns there is room for, in which order the streams stand, and what is said above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from resilient_sse.cli.top.words import age, amount, clean, fit, percent, width_of

if TYPE_CHECKING:
    from resilient_sse.cli.top.snapshot import Row, Snapshot

__all__ = ["COLUMNS", "Line", "picture", "sort_rows"]

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text with their styles, as rich names them; an empty style is none."""

_UNASKED: Final = "not started"
_STYLES: Final = {
    "connecting": "cyan",
    "connected": "green",
    "waiting": "yellow",
    "reconnecting": "magenta",
    "error": "bold red",
    "closed": "blue",
    _UNASKED: "dim",
}
_TROUBLE: Final = ("error", "reconnecting", "waiting", "connecting", "connected", "closed")
_WELL: Final = ("connected", "waiting", "closed")
_NAME: Final = (12, 28)
_WHY: Final = 40
_LUXURY: Final = 11  # from this rank on, a long name is worth more than the column
_HEAD: Final = 3
_FEWEST_ROWS: Final = 3
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column.

    Attributes:
        title: What stands above it.
        width: In cells.
        rank: The lower, the longer it stays where the terminal is narrow.
        write: Writes the cell.
        alarm: The style of a cell that is not zero.
    """

    title: str
    width: int
    rank: int
    write: Callable[[Row], str]
    alarm: str = ""


def _figure(title: str, name: str, rank: int, alarm: str = "", width: int = 5) -> Column:
    return Column(title, width, rank, lambda row: amount(row.count(name)), alarm)


def _standing(row: Row) -> str:
    """Name the state; a stream that nobody has iterated over is not connecting, whatever its state says."""
    return _UNASKED if row.started_for is None and row.state == "connecting" else row.state


def _why(row: Row) -> str:
    """Say why a stream is not well: the reason, and the kind of the error."""
    if row.state in _WELL or row.reason is None:
        return ""
    return f"{row.reason}: {row.last_error}" if row.last_error else row.reason


COLUMNS: Final = (
    Column("STATE", 12, 0, _standing),
    Column("FOR", 6, 4, lambda row: age(row.started_for if row.state_for is None else row.state_for)),
    Column("TRY", 3, 1, lambda row: amount(row.attempt) if row.attempt else ""),
    Column("NEXT", 5, 12, lambda row: age(row.next_attempt_in) if row.next_attempt_in else ""),
    Column("EVENT", 6, 1, lambda row: age(row.eventless_for)),
    Column("BYTE", 6, 5, lambda row: age(row.silent_for)),
    Column("LAG", 6, 8, lambda row: age(row.lag)),
    Column("EV/S", 6, 2, lambda row: amount(row.events_per_second)),
    Column("B/S", 6, 11, lambda row: amount(row.bytes_per_second)),
    _figure("RECON", "reconnects", 3),
    _figure("LOST", "lost", 3, "bold red"),
    _figure("GAPS", "gaps", 6, "yellow"),
    _figure("DUPS", "duplicates", 4),
    _figure("STALLS", "stalls", 7, "yellow", 6),
    Column("DONE", 6, 13, lambda row: percent(row.completion)),
    Column("WHY", 22, 10, _why, "dim"),
)
"""What stands behind the name, from left to right."""

_TO_THE_LEFT: Final = ("STATE", "WHY")


def sort_rows(rows: Iterable[Row], key: str) -> list[Row]:
    """Return the rows, the worst first; ties by name."""
    worst: dict[str, Callable[[Row], float]] = {
        "trouble": lambda row: _TROUBLE.index(row.state) - row.attempt / (row.attempt + 1),
        "name": lambda _: 0,
        "rate": lambda row: -(row.events_per_second or 0),
        "age": lambda row: -_NEVER if row.eventless_for is None else -row.eventless_for,
        "lag": lambda row: _NEVER if row.lag is None else -row.lag,
        "lost": lambda row: -row.count("lost"),
        "reconnects": lambda row: -row.count("reconnects"),
    }
    return sorted(rows, key=lambda row: (worst[key](row), row.name, row.number))


def picture(
    snapshot: Snapshot, *, width: int, height: int | None = None, sort: str = "trouble", trouble: str = ""
) -> list[Line]:
    """
    Draw.

    Args:
        snapshot: What is shown.
        width: Cells that no line exceeds.
        height: Lines that are not exceeded, within reason; `None` shows every stream.
        sort: What comes first.
        trouble: Why it could not be looked at again; it stands in the place of the first line.
    """
    name_width, columns = _layout(snapshot, width)
    titles = [fit("NAME", name_width)]
    titles += [fit(column.title, cells, right=column.title not in _TO_THE_LEFT) for column, cells in columns]
    lines = [
        [(fit(clean(trouble), width).rstrip(), "bold red")] if trouble else _header(snapshot, width),
        _tally(snapshot, width, sort),
        [(" ".join(titles), "bold reverse")],
    ]
    rows = sort_rows(snapshot.rows, sort)
    room = len(rows) if height is None else max(height - _HEAD, _FEWEST_ROWS)
    if len(rows) > room:
        rows = rows[: room - 1]
    shared = {name for name, times in Counter(row.name for row in snapshot.rows).items() if times > 1}
    lines.extend(_row(row, _named(row, shared, name_width), columns) for row in rows)
    hidden = snapshot.process.streams - len(rows)
    if hidden > 0:
        lines.append([(fit(f"and {hidden} more", width), "dim")])
    return lines


def _layout(snapshot: Snapshot, width: int) -> tuple[int, list[tuple[Column, int]]]:
    """Choose the columns that there is room for, by rank, and how wide everything is."""
    longest = max((width_of(clean(row.name)) for row in snapshot.rows), default=0)
    name_width = min(_NAME[0], width)
    chosen: dict[str, int] = {}
    room = width - name_width
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if column.rank >= _LUXURY:
            wider = min(max(min(longest, _NAME[1]) - name_width, 0), room)
            name_width += wider
            room -= wider
        if column.width + 1 > room:
            break
        chosen[column.title] = column.width
        room -= column.width + 1
    if "WHY" in chosen:
        chosen["WHY"] += min(room, _WHY - chosen["WHY"])
    else:
        name_width += min(max(longest - name_width, 0), room)
    return name_width, [(column, chosen[column.title]) for column in COLUMNS if column.title in chosen]


def _header(snapshot: Snapshot, width: int) -> Line:
    process = snapshot.process
    text = f"{clean(process.program)}  process {process.pid}  watched for {age(process.up)}"
    return [(fit(text, width).rstrip(), "bold")]


def _tally(snapshot: Snapshot, width: int, sort: str) -> Line:
    """Say how many streams stand where; at a narrow terminal's edge the sentence ends."""
    process = snapshot.process
    states = Counter(_standing(row) for row in snapshot.rows)
    pieces: Line = [(_number(process.streams, "stream"), "")]
    pieces += [(f"{states[state]} {state}", style) for state, style in _STYLES.items() if states[state]]
    if process.failed:
        pieces.append((f"gave up {_number(process.failed, 'time')}", "red"))
    gone = process.attached - process.streams
    if gone > 0:
        pieces.append((f"{gone} gone", ""))
    rates = [row.events_per_second for row in snapshot.rows if row.events_per_second is not None]
    if rates:
        pieces.append((f"{amount(sum(rates))} events/s", ""))
    pieces.append((f"by {sort}", "dim"))
    line: Line = []
    for text, style in pieces:
        gap = "  " if line else ""
        if width_of("".join(piece for piece, _ in line)) + len(gap) + len(text) > width:
            break
        line += [(gap, ""), (text, style)]
    return line


def _named(row: Row, shared: Collection[str], width: int) -> str:
    """Write the name; streams that share theirs have a number behind it, which is not cut off."""
    number = f" #{row.number}" if row.name in shared else ""
    if width <= len(number):
        return fit(clean(row.name), width)
    return fit(fit(clean(row.name), width - len(number)).rstrip() + number, width)


def _row(row: Row, name: str, columns: list[tuple[Column, int]]) -> Line:
    line: Line = [(name, "")]
    for column, cells in columns:
        text = clean(column.write(row))
        style = _STYLES[_standing(row)] if column.title == "STATE" else column.alarm if text != "0" else ""
        line += [(" ", ""), (fit(text, cells, right=column.title not in _TO_THE_LEFT), style)]
    return line


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
