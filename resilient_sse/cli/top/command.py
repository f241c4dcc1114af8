"""What `top` does."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.top.arguments import SORTS
from resilient_sse.cli.top.ask import HeldUpError, UnreachableError, ask, running, where
from resilient_sse.cli.top.snapshot import NotAConsoleError, Snapshot, with_rates
from resilient_sse.cli.top.table import picture
from resilient_sse.cli.top.words import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resilient_sse.cli.top.arguments import TopOptions
    from resilient_sse.cli.top.ask import Found
    from resilient_sse.cli.top.terminal import Terminal

__all__ = ["run_top"]

_PIPE_WIDTH = 140
_REDRAW_SECONDS = 0.25


def run_top(options: TopOptions) -> int:
    """
    Run the command and return its exit code.

    Raises:
        OSError: The output cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    try:
        if options.address is None:
            return _list(options)
        return _watch(options, where(options.address))
    except (UnreachableError, NotAConsoleError) as error:
        complain(str(error))
        return Exit.OTHER


def _list(options: TopOptions) -> int:
    """Tell which programs can be watched."""
    found = running()
    if options.json:
        for one in found:
            print(json.dumps({"pid": one.pid, "path": str(one.path), **_about(one)}))
        return Exit.ENDED
    if not found:
        complain("no program of yours has opened a console; see resilient_sse.monitoring.console.Console")
        return Exit.OTHER
    for one in found:
        if one.process is None:
            print(f"{one.pid:>8}  {one.trouble}  {clean(str(one.path))}")
            continue
        streams = "1 stream" if one.process.streams == 1 else f"{one.process.streams} streams"
        print(f"{one.pid:>8}  {clean(one.process.program):<24}  {streams:<12}  {clean(str(one.path))}")
    return Exit.ENDED


def _about(one: Found) -> dict[str, object]:
    if one.process is None:
        return {"trouble": one.trouble}
    return {
        "program": one.process.program,
        "streams": one.process.streams,
        "failed": one.process.failed,
    }


def _watch(options: TopOptions, address: Path | tuple[str, int]) -> int:
    first = ask(address)
    terminal = None if options.once or options.json or options.plain else _terminal()
    if terminal is not None:
        return _draw(options, terminal, address, first)
    last = first
    for number, snapshot in enumerate(_looks(options, address, first)):
        last = snapshot
        _print(snapshot, options, apart=number > 0)
        if options.once:
            return Exit.ENDED
    if last is first:
        _print(first, options, apart=False)
    return _ended(last)


def _looks(options: TopOptions, address: Path | tuple[str, int], first: Snapshot) -> Iterator[Snapshot]:
    """Look at the program again and again, until it has ended."""
    before, due = first, time.monotonic()
    while True:
        due = max(due + options.interval, time.monotonic())
        time.sleep(max(due - time.monotonic(), 0))
        try:
            now = ask(address)
        except HeldUpError as error:
            complain(str(error))
        except UnreachableError:
            return
        else:
            yield with_rates(now, before)
            before = now


def _draw(options: TopOptions, terminal: Terminal, address: Path | tuple[str, int], first: Snapshot) -> int:
    """Draw until a key says that it is enough, or the program has ended."""
    sort, due, trouble = options.sort, time.monotonic() + options.interval, ""
    shown = before = first
    with terminal:
        while True:
            if time.monotonic() >= due:
                try:
                    now = ask(address)
                    shown, before, trouble = with_rates(now, before), now, ""
                except HeldUpError as error:
                    trouble = str(error)
                except UnreachableError:
                    break
                due = time.monotonic() + options.interval
            terminal.draw(
                picture(shown, width=terminal.width, height=terminal.height, sort=sort, trouble=trouble)
            )
            # Drawn more often than asked: a terminal that becomes wider is filled soon.
            match terminal.key(min(max(due - time.monotonic(), 0), _REDRAW_SECONDS)):
                case "q" | "Q":
                    return Exit.ENDED
                case "s":
                    sort = SORTS[(SORTS.index(sort) + 1) % len(SORTS)]
                case _:
                    pass
    _print(shown, options, apart=False)
    return _ended(shown)


def _print(snapshot: Snapshot, options: TopOptions, *, apart: bool) -> None:
    if options.json:
        print(json.dumps(snapshot.to_dict()), flush=True)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    lines = [
        "".join(text for text, _ in line).rstrip()
        for line in picture(snapshot, width=width, sort=options.sort)
    ]
    print("\n" * apart + "\n".join(lines), flush=True)


def _ended(snapshot: Snapshot) -> int:
    print(f"process {snapshot.process.pid} answers no more: it has ended", file=sys.stderr, flush=True)
    return Exit.ENDED


def _terminal() -> Terminal | None:
    """Return the terminal, if somebody looks at one and rich is installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from resilient_sse.cli.top.terminal import Terminal  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError:
        return None
    return Terminal()
