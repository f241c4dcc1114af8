"""`resilient-sse top`: the streams of a running program that has opened a console."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from resilient_sse.cli.arguments import Number, command, host_and_port, json_option, option
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.output import one_line, show
from resilient_sse.testing.wire import counted

if TYPE_CHECKING:
    from rich.console import Group

Row: TypeAlias = dict[str, Any]
"""One stream as the console describes it, and its rates; durations are seconds."""
Look: TypeAlias = dict[str, Any]
"""One look at a program: `process`, and its streams as `rows`."""

_PATIENCE: Final = 3.0
_LONGEST: Final = 10.0
"""How long an answer may take; a console gives itself half of it, and each portion has `_PATIENCE`."""
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer; a thousand streams are less than one MiB."""
_PIPE_WIDTH: Final = 140
_LONG_NAME: Final = 28

_STYLES: Final = {
    "error": "bold red",
    "reconnecting": "magenta",
    "waiting": "yellow",
    "connecting": "cyan",
    "not started": "dim",
    "connected": "green",
    "closed": "blue",
}
"""By state, the worst first."""


class _TroubleError(Exception):
    """A program does not answer, or not as a console does; this may pass."""


class _GoneError(_TroubleError):
    """Nobody listens."""


def _address(text: str) -> int | Path | tuple[str, int]:
    """Read a process, the path of a socket, or a host and a port."""
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    if os.sep in text or text.endswith(".sock"):
        return Path(text)
    with suppress(click.BadParameter):
        return host_and_port(text)
    raise click.BadParameter(
        f"{text!r} is not the number of a process, a path such as ./app.sock, or HOST:PORT"
    )


@command(
    "Watch the streams of a running program.",
    "Watch the streams of a running program, which must have opened a console:\n\n\b\n"
    "  console = Console(); ResilientStream(url, observers=[console]); async with console: ...\n\n"
    "PROGRAM is the number of a process, or where its console listens: a path, or HOST:PORT.  Without it, the "
    "programs with a console are listed.",
    examples="resilient-sse top\nresilient-sse top 6300\nresilient-sse top 6300 --once --json",
    exits={0: "printed, or the program has ended", 4: "nobody answers, or not as a console does"},
)
@click.argument("program", required=False, type=_address)
@option(
    "--interval", type=Number(0.1, 3600), default=1.0, help="Seconds between two looks; rates are of them."
)
@option("--once", is_flag=True, help="Look twice, an interval apart, print, and end.")
@json_option
def top(*, program: int | Path | tuple[str, int] | None, interval: float, once: bool, as_json: bool) -> int:
    """List the programs, or look at one of them until it ends."""
    from resilient_sse.monitoring.console import sockets

    try:
        if program is None:
            return _list(as_json=as_json)
        where = sockets().get(program) if isinstance(program, int) else program
        if where is None:
            elsewhere = "if it listens elsewhere than usual, give the path or HOST:PORT"
            raise _GoneError(f"process {program} has no console; {elsewhere}")
        _watch(where, interval, once=once, as_json=as_json)
    except (_TroubleError, PermissionError) as error:
        complain(str(error))
        return Exit.OTHER
    return Exit.ENDED


def _watch(where: Path | tuple[str, int], interval: float, *, once: bool, as_json: bool) -> None:
    """Show look after look until the program has ended, or but *once*."""
    from rich.console import Console
    from rich.live import Live

    look, trouble, console = _ask(where), "", Console(highlight=False)
    width = console.width if sys.stdout.isatty() else _PIPE_WIDTH
    live = sys.stdout.isatty() and not (once or as_json)
    if live:  # the terminal is given back
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(Exit.TERMINATED))
    with Live(console=console, screen=True, auto_refresh=False) if live else nullcontext() as screen:
        while True:
            if screen is not None:
                screen.update(_picture(look, console.width, console.height, trouble), refresh=True)
            time.sleep(interval)
            try:
                look, trouble = _with_rates(_ask(where), look), ""
            except _GoneError:
                break
            except _TroubleError as error:
                if once:
                    raise
                trouble = str(error)
                if not live:
                    complain(trouble)
                continue
            if as_json:
                print(json.dumps({"process": look["process"], "rows": look["rows"]}), flush=True)
            elif not live:
                show(_picture(look, width), width=width)
            if once:
                return
    if live:  # the last picture stays
        show(_picture(look, console.width))
    print(f"process {look['process']['pid']} answers no more: it has ended", file=sys.stderr, flush=True)


def _list(*, as_json: bool) -> int:
    """Tell which programs can be watched; what listens and does not answer may be the one that is looked for."""
    from resilient_sse.monitoring.console import sockets

    found = False
    for pid, path in sockets().items():
        told: dict[str, Any]
        try:
            process = _ask(path)["process"]
            told = {name: process[name] for name in ("program", "streams", "failed")}
            words = f"{one_line(process['program']):<24}  {counted(process['streams'], 'stream'):<12}"
        except _GoneError:
            path.unlink(missing_ok=True)  # it was killed, and could not do so itself
            continue
        except _TroubleError as error:
            words = str(error).removeprefix(f"{path} ")
            told = {"trouble": words}
        found = True
        told = {"pid": pid, "path": str(path), **told}
        print(json.dumps(told) if as_json else f"{pid:>8}  {words}  {one_line(str(path))}")
    if not found and not as_json:
        complain("no program of yours has opened a console; see resilient_sse.monitoring.console.Console")
        return Exit.OTHER
    return Exit.ENDED


def _ask(where: Path | tuple[str, int]) -> Look:
    """Look once."""
    from resilient_sse.monitoring.console import QUESTION, VERSION

    name = str(where) if isinstance(where, Path) else f"{where[0]}:{where[1]}"
    try:
        with (
            socket.socket(socket.AF_UNIX)
            if isinstance(where, Path)
            else socket.create_connection(where, _PATIENCE) as connection
        ):
            connection.settimeout(_PATIENCE)
            if isinstance(where, Path):
                connection.connect(str(where))
            connection.sendall(QUESTION)
            look: Look = json.loads(_received(connection))
        if look["console"] == VERSION:
            return look
        raise _TroubleError(f"the console at {name} is of another release of resilient-sse than this command")
    except (TimeoutError, BlockingIOError) as error:  # the latter: its queue of readers is full
        raise _TroubleError(f"{name} does not answer; is its event loop held up?") from error
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise _GoneError(f"{name} does not answer: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, ConnectionError) as error:
        raise _TroubleError(
            f"{name} breaks off; is it a console, and are not many others looking?"
        ) from error
    except OSError as error:
        raise _TroubleError(f"{name} does not answer: {error.strerror or error}") from error


def _received(connection: socket.socket) -> bytes:
    """Read to the end.  What has none, or comes a byte at a time, is no console: `ValueError`."""
    data, end = bytearray(), time.monotonic() + _LONGEST
    while part := connection.recv(65_536):
        data += part
        if len(data) > _MOST_BYTES or time.monotonic() > end:
            raise ValueError("no console says so much, or so slowly")
    return bytes(data)


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


def _standing(row: Row) -> str:
    """Name the state; a stream that nobody has iterated over is not connecting, whatever its state says."""
    return "not started" if row["started_for"] is None and row["state"] == "connecting" else row["state"]


def _why(row: Row) -> str:
    """Say why a stream is not well: the reason, and the kind of the error."""
    if row["state"] in ("connected", "waiting", "closed") or row["reason"] is None:
        return ""
    return f"{row['reason']}: {row['last_error']}" if row["last_error"] else row["reason"]


_Column: TypeAlias = tuple[str, int, int, Callable[[Row], str], str]


def _figure(title: str, name: str, terminal: int, style: str = "", width: int = 6) -> _Column:
    return title, width, terminal, lambda row: _amount(row["stats"].get(name, 0)), style


_COLUMNS: Final[tuple[_Column, ...]] = (
    ("FOR", 7, 65, lambda row: _age(row["started_for" if row["state_for"] is None else "state_for"]), ""),
    ("TRY", 4, 29, lambda row: _amount(row["attempt"]) if row["attempt"] else "", ""),
    ("EVENT", 7, 36, lambda row: _age(row["eventless_for"]), ""),
    ("BYTE", 7, 78, lambda row: _age(row["silent_for"]), ""),
    ("LAG", 7, 97, lambda row: _age(row["lag"]), ""),
    ("EV/S", 7, 43, lambda row: _amount(row.get("events_per_second")), ""),
    _figure("RECON", "reconnects", 49),
    _figure("LOST", "lost", 55, "bold red"),
    _figure("GAPS", "gaps", 84, "yellow"),
    _figure("DUPS", "duplicates", 71),
    _figure("STALLS", "stalls", 91, "yellow", 7),
)
"""The figures: title, width, how wide a terminal must be to show it, text, and the style of what is not zero."""


def _picture(look: Look, width: int, height: int | None = None, trouble: str = "") -> Group:
    """Draw at most *height* streams, the worst first; *trouble* takes the place of the first line."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    worst = list(_STYLES)
    process, rows = look["process"], look["rows"]
    rows = sorted(rows, key=lambda row: (worst.index(_standing(row)), -row["attempt"], row["name"]))[:height]
    named, states = Counter(row["name"] for row in look["rows"]), Counter(map(_standing, look["rows"]))
    rates = [row["events_per_second"] for row in look["rows"] if row.get("events_per_second") is not None]
    tally = [(counted(process["streams"], "stream"), "")]
    tally += [(f"{states[state]} {state}", style) for state, style in _STYLES.items() if states[state]]
    tally += [(f"gave up {counted(process['failed'], 'time')}", "red")] if process["failed"] else []
    gone = process["attached"] - process["streams"]
    tally += [(f"{gone} gone", "")] if gone else []
    tally += [(f"{_amount(sum(rates))} events/s", "")] if rates else []
    head = f"{one_line(process['program'])}  process {process['pid']}  watched for {_age(process['up'])}"

    def cut(*parts: Any) -> Text:  # what does not fit into a line gives way to what does
        return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")

    columns = [column for column in _COLUMNS if width >= column[2]]
    reasons = width >= 120  # noqa: PLR2004 - the others leave room
    table = Table(box=None, padding=0, header_style="bold reverse", collapse_padding=True)
    table.add_column("NAME", min_width=12, max_width=_LONG_NAME if reasons else None)
    table.add_column(" STATE", width=13)
    for title, room, *_ in columns:
        table.add_column(f" {title}", width=room, justify="right", no_wrap=True)
    if reasons:
        table.add_column(" WHY")
    for row in rows:
        state, name = _standing(row), one_line(row["name"])
        cells = [cut(f"#{row['number']} {name}" if named[row["name"]] > 1 else name)]
        cells.append(cut((f" {state}", _STYLES[state])))
        for _, _, _, write, style in columns:
            text = write(row)
            cells.append(Text(text, style if text != "0" else ""))
        table.add_row(*cells, *([cut((f" {one_line(_why(row))}", "dim"))] if reasons else []))
    first = cut((one_line(trouble), "bold red")) if trouble else cut((head, "bold"))
    return Group(first, cut(*[(f"{text}  ", style) for text, style in tally]), table)
