"""`resilient-sse top`: the streams of a running program that has opened a console."""

from __future__ import annotations

import json
import math
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click

from resilient_sse.cli.arguments import (
    Number,
    Parsed,
    command,
    host_and_port,
    json_option,
    option,
    plain_option,
)
from resilient_sse.cli.exits import Exit, complain

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["top"]

Address: TypeAlias = int | Path | tuple[str, int]
"""A process, the path of a socket, or a host and a port."""
Row: TypeAlias = dict[str, Any]
"""One stream as the console describes it, and its rates; durations are seconds."""
Look: TypeAlias = dict[str, Any]
"""One look at a program: `process`, and its streams as `rows`."""

_PATIENCE: Final = 3.0
_PIPE_WIDTH: Final = 140
_REDRAW_SECONDS: Final = 0.25
_SILENT: Final = "does not answer; is its event loop held up?"
_CUT: Final = "breaks off; is it ending, or are many others looking?"

_LEAST_NAME: Final = 12
_LONG_NAME: Final = 28
_WIDER_WHY: Final = 18

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
_ORDERS: Final[dict[str, Callable[[Row], float]]] = {
    "trouble": lambda row: _TROUBLE.index(row["state"]) - row["attempt"] / (row["attempt"] + 1),
    "name": lambda _: 0,
    "rate": lambda row: -(row.get("events_per_second") or 0),
    "age": lambda row: -math.inf if row["eventless_for"] is None else -row["eventless_for"],
    "lag": lambda row: math.inf if row["lag"] is None else -row["lag"],
    "lost": lambda row: -row["stats"].get("lost", 0),
    "reconnects": lambda row: -row["stats"].get("reconnects", 0),
}
"""What puts the worst first; ties go by name."""
_SORTS: Final = tuple(_ORDERS)


class _GoneError(Exception):
    """Nobody answers, or what answers is no console of this version."""


class _HeldUpError(_GoneError):
    """Somebody listens, and does not answer in time, or not to the end; this may pass."""


def _address(text: str) -> Address:
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    if os.sep in text or text.endswith(".sock"):
        return Path(text)
    with suppress(ValueError):
        return host_and_port(text)
    raise ValueError(f"{text!r} is not the number of a process, a path such as ./app.sock, or HOST:PORT")


@command(
    "Watch the streams of a running program.",
    "Watch the streams of a running program, which must have opened a console:\n\n\b\n"
    "  console = Console(); ResilientStream(url, observers=[console]); async with console: ...\n\n"
    "PROGRAM is the number of a process, or where its console listens: a path, or HOST:PORT.  Without it, the "
    "programs with a console are listed.  Keys: q ends it, s sorts by something else.",
    examples="resilient-sse top\nresilient-sse top 6300 --sort lag\nresilient-sse top 6300 --once --json",
    exits={0: "ended as asked, or the program has ended", 4: "nobody answers, or not as a console does"},
)
@click.argument("program", required=False, type=Parsed(_address, "PROGRAM"))
@option(
    "--interval", type=Number(0.1, 3600), default=1.0, help="Seconds between two looks; rates are of them."
)
@option("--sort", type=click.Choice(_SORTS), default="trouble", help="What comes first.")
@option("--once", is_flag=True, help="Look twice, an interval apart, print, and end.")
@json_option
@plain_option
def top(
    *, program: Address | None, interval: float, sort: str, once: bool, as_json: bool, plain: bool
) -> int:
    """List the programs, or look at one of them until it ends."""
    try:
        if program is None:
            return _list(as_json=as_json)
        where = _socket_of(program) if isinstance(program, int) else program
        last = first = _ask(where)
        if sys.stdout.isatty() and not (once or as_json or plain):
            last, ended = _draw(where, first, interval, sort)
            if not ended:
                return Exit.ENDED
            _print(last, sort, as_json=False)
        else:
            for last in _looks(where, first, interval):
                _print(last, sort, as_json=as_json)
                if once:
                    return Exit.ENDED
                print(end="" if as_json else "\n")
            if last is first:
                _print(first, sort, as_json=as_json)
    except (_GoneError, PermissionError) as error:
        complain(str(error))
        return Exit.OTHER
    print(f"process {last['process']['pid']} answers no more: it has ended", file=sys.stderr, flush=True)
    return Exit.ENDED


def _sockets() -> list[Path]:
    from resilient_sse.monitoring.console import sockets

    return sockets() if hasattr(os, "geteuid") else []  # elsewhere there are no such sockets


def _socket_of(pid: int) -> Path:
    """Return where a process listens."""
    from resilient_sse.monitoring.console import directory, pid_of

    found = [path for path in _sockets() if pid_of(path) == pid]
    if not found:
        raise _GoneError(
            f"process {pid} has no console in {directory()}; "
            "if it listens elsewhere, give the path or HOST:PORT"
        )
    if len(found) > 1:
        several = ", ".join(map(str, found))
        raise _GoneError(f"process {pid} has several consoles, choose one: {several}")
    return found[0]


def _list(*, as_json: bool) -> int:
    """Tell which programs can be watched; what listens and does not answer may be the one that is looked for."""
    from resilient_sse.monitoring.console import answers, pid_of

    found = False
    for path in _sockets():
        pid = pid_of(path)
        try:
            process = _ask(path)["process"]
            told = {name: process[name] for name in ("program", "streams", "failed")}
            streams = f"{process['streams']} stream{'s' * (process['streams'] != 1)}"
            words = f"{_clean(process['program']):<24}  {streams:<12}"
        except _GoneError as error:
            if not isinstance(error, _HeldUpError) and not answers(path):
                path.unlink(missing_ok=True)  # it was killed, and could not do so itself
                continue
            words = str(error).removeprefix(f"{path} ")
            told = {"trouble": words}
        found = True
        told = {"pid": pid, "path": str(path), **told}
        print(json.dumps(told) if as_json else f"{pid:>8}  {words}  {_clean(str(path))}")
    if not found and not as_json:
        complain("no program of yours has opened a console; see resilient_sse.monitoring.console.Console")
        return Exit.OTHER
    return Exit.ENDED


def _ask(where: Path | tuple[str, int]) -> Look:
    """Look once."""
    from resilient_sse.monitoring.console import QUESTION, VERSION

    name = str(where) if isinstance(where, Path) else f"{where[0]}:{where[1]}"
    try:
        with ExitStack() as stack:
            if isinstance(where, Path):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(_PATIENCE)
                connection.connect(str(where))
            else:
                connection = stack.enter_context(socket.create_connection(where, _PATIENCE))
            connection.sendall(QUESTION)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    except (TimeoutError, BlockingIOError) as error:  # the latter: its queue of readers is full
        raise _HeldUpError(f"{name} {_SILENT}") from error
    except (BrokenPipeError, ConnectionResetError) as error:
        raise _HeldUpError(f"{name} {_CUT}") from error
    except OSError as error:
        raise _GoneError(f"{name} does not answer: {error.strerror or error}") from error
    if not answer.endswith(b"\n"):
        raise _HeldUpError(f"{name} {_CUT}")
    try:
        look: Look = json.loads(answer.partition(b"\n")[0])
        version = look["console"]
    except (ValueError, TypeError, KeyError) as error:
        raise _GoneError(
            f"{name} is not the console of a program; a console has a port of its own: Console(port)"
        ) from error
    if version != VERSION:
        raise _GoneError(
            f"{name} is a console of version {version}, and this is for version {VERSION}: "
            "use the same release of resilient-sse for both"
        )
    return look


def _looks(where: Path | tuple[str, int], before: Look, interval: float) -> Iterator[Look]:
    """Look again and again, until the program has ended."""
    while True:
        time.sleep(interval)
        try:
            now = _with_rates(_ask(where), before)
        except _HeldUpError as error:
            complain(str(error))
        except _GoneError:
            return
        else:
            yield now
            before = now


def _with_rates(now: Look, before: Look) -> Look:
    """Return *now* with what has come per second since *before*, by the clock of the program."""
    seconds = now["process"]["at"] - before["process"]["at"]
    same = now["process"]["pid"] == before["process"]["pid"]
    known = {row["number"]: row for row in before["rows"] if same}
    for row in now["rows"]:
        old = known.get(row["number"])
        for rate, count in (("events_per_second", "received"), ("bytes_per_second", "bytes_received")):
            risen = 0 if old is None else max(row["stats"][count] - old["stats"][count], 0)
            row[rate] = None if old is None or seconds <= 0 else risen / seconds
    return now


def _clean(text: str) -> str:
    r"""Write what a terminal would obey, or what would turn the line around, as `\x1b` or `\u202e`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _age(seconds: float | None) -> str:
    """Write a duration in at most six characters."""
    if seconds is None:
        return "-"
    if seconds < 9.95:  # noqa: PLR2004 - where 10.0 would begin
        return f"{max(seconds, 0.0):.1f}s"
    minutes, left = divmod(int(seconds + 0.5), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours >= 24:  # noqa: PLR2004 - a day
        return f"{hours // 24}d{hours % 24:02d}h"
    return f"{hours}h{minutes_left:02d}m" if hours else f"{minutes}m{left:02d}s" if minutes else f"{left}s"


def _amount(value: float | None) -> str:
    """Write a number in at most five characters, a whole one without a fraction while it is small."""
    if value is None:
        return "-"
    units = iter("kMGTPE")
    unit = ""
    while value >= 999.5:  # noqa: PLR2004 - where 1000 would begin
        value, unit = value / 1000, next(units)
    exact = isinstance(value, int) or not value or value >= 99.95  # noqa: PLR2004 - where 100.0 would begin
    return f"{value:.0f}{unit}" if exact else f"{value:.1f}{unit}"


def _percent(value: float | None) -> str:
    """Write a share so that only what is whole looks whole."""
    if value is None:
        return "-"
    return "100%" if value >= 100 else f"{min(value, 99.99):.2f}%"  # noqa: PLR2004 - percent


def _standing(row: Row) -> str:
    """Name the state; a stream that nobody has iterated over is not connecting, whatever its state says."""
    return _UNASKED if row["started_for"] is None and row["state"] == "connecting" else row["state"]


def _why(row: Row) -> str:
    """Say why a stream is not well: the reason, and the kind of the error."""
    if row["state"] in ("connected", "waiting", "closed") or row["reason"] is None:
        return ""
    return f"{row['reason']}: {row['last_error']}" if row["last_error"] else row["reason"]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, and how wide a terminal must be to show it; a style is for what is not zero."""

    title: str
    width: int
    terminal: int
    write: Callable[[Row], str]
    style: str = ""


def _figure(title: str, name: str, terminal: int, style: str = "", width: int = 6) -> _Column:
    return _Column(title, width, terminal, lambda row: _amount(row["stats"].get(name, 0)), style)


_COLUMNS: Final = (
    _Column("STATE", 13, 25, _standing),
    _Column("FOR", 7, 65, lambda row: _age(row["started_for" if row["state_for"] is None else "state_for"])),
    _Column("TRY", 4, 29, lambda row: _amount(row["attempt"]) if row["attempt"] else ""),
    _Column("NEXT", 6, 160, lambda row: _age(row["next_attempt_in"]) if row["next_attempt_in"] else ""),
    _Column("EVENT", 7, 36, lambda row: _age(row["eventless_for"])),
    _Column("BYTE", 7, 78, lambda row: _age(row["silent_for"])),
    _Column("LAG", 7, 97, lambda row: _age(row["lag"])),
    _Column("EV/S", 7, 43, lambda row: _amount(row.get("events_per_second"))),
    _Column("B/S", 7, 150, lambda row: _amount(row.get("bytes_per_second"))),
    _figure("RECON", "reconnects", 49),
    _figure("LOST", "lost", 55, "bold red"),
    _figure("GAPS", "gaps", 84, "yellow"),
    _figure("DUPS", "duplicates", 71),
    _figure("STALLS", "stalls", 91, "yellow", 7),
    _Column("DONE", 7, 170, lambda row: _percent(row["completion"])),
    _Column("WHY", 23, 120, _why, "dim"),
)
"""What stands behind the name, from left to right."""


def _picture(look: Look, *, width: int, height: int = 0, sort: str = "trouble", trouble: str = "") -> Group:
    """Draw within *width* cells and *height* lines, 0 being any; *trouble* takes the place of the first line."""
    from rich.console import Group
    from rich.text import Text

    process, rows = (
        look["process"],
        sorted(look["rows"], key=lambda row: (_ORDERS[sort](row), row["name"], row["number"])),
    )
    head = f"{_clean(process['program'])}  process {process['pid']}  watched for {_age(process['up'])}"
    states = Counter(map(_standing, rows))
    failed, gone = process["failed"], process["attached"] - process["streams"]
    rates = [row["events_per_second"] for row in rows if row.get("events_per_second") is not None]
    tally = [(f"{process['streams']} stream{'s' * (process['streams'] != 1)}", "")]
    tally += [(f"{states[state]} {state}", style) for state, style in _STYLES.items() if states[state]]
    tally += [(f"gave up {failed} time{'s' * (failed != 1)}", "red")] if failed else []
    tally += [(f"{gone} gone", "")] if gone > 0 else []
    tally += [(f"{_amount(sum(rates))} events/s", "")] if rates else []
    tally += [(f"by {sort}", "dim")]
    shown = rows[: max(height - 4, 2)] if height and len(rows) > max(height - 3, 3) else rows
    hidden = process["streams"] - len(shown)
    lines = [
        Text(_clean(trouble) or head, "bold red" if trouble else "bold"),
        Text("  ").join(Text(text, style) for text, style in tally),
        *([Text(f"and {hidden} more", "dim")] if hidden > 0 else []),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines[:2], _table(shown, Counter(row["name"] for row in rows), width), *lines[2:])


def _table(rows: list[Row], called: Counter[str], room: int) -> Table:
    """Show the columns that there is room for; what they leave is for the names and the reasons."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    numbers = [f" #{row['number']}" if called[row["name"]] > 1 else "" for row in rows]
    names = [_clean(row["name"]) for row in rows]
    longest = max(
        (cell_len(name) + len(number) for name, number in zip(names, numbers, strict=True)), default=0
    )
    columns = [column for column in _COLUMNS if room >= column.terminal]
    room -= sum(column.width for column in columns)
    reasons = any(column.title == "WHY" for column in columns)
    first = min(max(longest, _LEAST_NAME), room, *([_LONG_NAME] if reasons else []))
    wider = min(room - first, _WIDER_WHY) if reasons else 0
    table = Table(box=None, padding=0, header_style="bold reverse")
    table.add_column("NAME", width=first, no_wrap=True)
    for column in columns:
        side: Literal["left", "right"] = "left" if column.title in ("STATE", "WHY") else "right"
        more = wider if column.title == "WHY" else 0
        table.add_column(f" {column.title}", width=column.width + more, no_wrap=True, justify=side)
    for row, name, number in zip(rows, names, numbers, strict=True):
        label = Text(name)
        label.truncate(max(first - len(number), 0), overflow="ellipsis")
        cells = [label.append(number)]
        for column in columns:
            text = _clean(column.write(row))
            style = _STYLES[text] if column.title == "STATE" else column.style if text != "0" else ""
            cells.append(Text(f" {text}", style))
        table.add_row(*cells)
    return table


def _print(look: Look, sort: str, *, as_json: bool) -> None:
    """Print a look as an object, or as lines."""
    if as_json:
        print(json.dumps({"process": look["process"], "rows": look["rows"]}), flush=True)
        return
    from rich.console import Console

    console = Console(color_system=None, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with console.capture() as capture:
        console.print(_picture(look, width=console.width, sort=sort))
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), flush=True)


def _draw(where: Path | tuple[str, int], look: Look, interval: float, sort: str) -> tuple[Look, bool]:
    """Draw over the terminal until a key says that it is enough, or the program has ended; tell which."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    before, due, trouble = look, time.monotonic() + interval, ""
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            if time.monotonic() >= due:
                try:
                    look = before = _with_rates(_ask(where), before)
                    trouble = ""
                except _HeldUpError as error:
                    trouble = str(error)
                except _GoneError:
                    return look, True
                due = time.monotonic() + interval
            picture = _picture(look, width=console.width, height=console.height, sort=sort, trouble=trouble)
            live.update(picture, refresh=True)
            # Drawn more often than asked: a terminal that becomes wider is filled soon.
            match pressed(min(max(due - time.monotonic(), 0), _REDRAW_SECONDS)):
                case "q" | "Q":
                    return look, False
                case "s":
                    sort = _SORTS[(_SORTS.index(sort) + 1) % len(_SORTS)]
                case _:
                    pass


@contextmanager
def _keys() -> Generator[Callable[[float], str]]:
    """Have keys told at once and not shown; give what waits for one, at most so long."""
    if sys.platform == "win32" or not sys.stdin.isatty():  # there, Ctrl-C ends the command

        def wait(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield wait
        return
    import termios
    import tty

    def key(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return os.read(sys.stdin.fileno(), 64)[:1].decode(errors="replace") or "q" if ready else ""

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
