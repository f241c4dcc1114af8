"""
Draws the pictures of terminals, each from a real run.

`python docs/recording.py` runs the commands of `PICTURES` in a terminal of its own, for half a minute in all, and
writes a picture of each into `docs/_static`.  That of the demo shows the screen as it was at each moment, by CSS
alone; who asked for less motion, and what shows no animation, gets the last screen, as the others do.  It needs
the dependency group `docs` and the extra `demo`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeAlias

__all__ = ["PICTURES", "Frame", "Picture", "Run", "svg"]

DOCS = Path(__file__).parent
COLUMNS = 80
MERGED = 0.05
"""Seconds: what was written within them is one frame."""
HELD = 4.0
"""Seconds for which the last screen stands before it begins anew."""

CHARACTER, LINE, MARGIN, BAR = 8.4, 18.0, 14.0, 30.0
PAPER, INK = "#0d1117", "#e6edf3"
COLOURS = {
    "green": "#3fb950",
    "brown": "#d29922",
    "magenta": "#d2a8ff",
    "red": "#ff7b72",
    "blue": "#79c0ff",
    "cyan": "#56d4dd",
}
"""Readable on the picture's own dark ground; a terminal's yellow is called brown by pyte."""
HEX = re.compile(r"[0-9a-f]{6}")
"""How pyte names one of the 256 other colours."""


class Run(NamedTuple):
    """Characters of one look, beside each other."""

    column: int
    text: str
    colour: str
    bold: bool


Row: TypeAlias = tuple[Run, ...]


class Frame(NamedTuple):
    """A whole screen, from this second on."""

    at: float
    rows: Sequence[Row]


class Picture(NamedTuple):
    """A run that is drawn; *beside* is a program that has run for eight seconds when it begins."""

    name: str
    command: Sequence[str]
    lines: int
    says: str
    moves: bool = False
    beside: str | None = None

    @property
    def file(self) -> Path:
        """Where it lies."""
        return DOCS / "_static" / f"{self.name}.svg"


PICTURES = (
    Picture(
        "demo",
        ("resilient-sse", "demo", "--seed", "7"),
        26,
        "the connection is lost three times, and all 50 messages arrive once and in order",
        moves=True,
    ),
    Picture(
        "top",
        ("resilient-sse", "top", "127.0.0.1:8765", "--once"),
        11,
        "six streams, the worst first: two reconnect, one waits, three are connected",
        beside="watched.py",
    ),
)
"""All of them; the port is that of `watched.py`."""
SETTLED = 8.0
"""Seconds after which each stream beside has shown what it does."""


def record(picture: Picture) -> list[Frame]:
    """Run a command in a terminal, and return what it showed."""
    if picture.beside is None:
        return _recorded(picture)
    beside = subprocess.Popen([sys.executable, DOCS / picture.beside], stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        time.sleep(SETTLED)
        return _recorded(picture)
    finally:
        beside.terminate()
        beside.wait()


def _recorded(picture: Picture) -> list[Frame]:
    import pty  # noqa: PLC0415 - not on Windows, where the picture can still be drawn

    import pyte  # noqa: PLC0415 - the tests draw, and need no terminal

    screen = pyte.Screen(COLUMNS, picture.lines)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {' '.join(picture.command)}\r\n".encode())
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(picture.lines))
        os.environ.pop("NO_COLOR", None)
        name = picture.command[0]
        ours = Path(sys.executable).with_name(name)
        os.execv(ours if ours.exists() else shutil.which(name) or name, picture.command)  # noqa: S606
    frames: list[Frame] = []
    began = None
    while written := _read(terminal):
        now = time.monotonic()
        began = now if began is None else began
        stream.feed(written)
        if frames and now - began - frames[-1].at < MERGED:
            frames[-1] = Frame(frames[-1].at, _rows(screen))
        else:
            frames.append(Frame(now - began, _rows(screen)))
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{picture.name} ended with {status}, and nothing was drawn")
    return frames if picture.moves else [Frame(0.0, frames[-1].rows)]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # so Linux tells that the other side has closed
        return b""


def _rows(screen: object) -> list[Row]:
    """Return what a screen of pyte shows, in runs of one look; its last line is empty behind the demo."""
    buffer = screen.buffer  # type: ignore[attr-defined]
    rows: list[Row] = []
    for line in range(screen.lines):  # type: ignore[attr-defined]
        cells = [(column, buffer[line][column]) for column in range(COLUMNS)]
        runs = [
            Run(run[0][0], "".join(cell.data for _, cell in run), colour, bold)
            for (colour, bold), same in groupby(cells, lambda cell: (cell[1].fg, cell[1].bold))
            if (run := list(same))
        ]
        rows.append(tuple(run._replace(text=run.text.rstrip()) for run in runs if run.text.strip()))
    return rows


def svg(frames: Sequence[Frame], picture: Picture) -> str:
    """Draw *frames*: each row once for each text it had, visible from its second until the next."""
    total = frames[-1].at + HELD
    looks: dict[tuple[float, float], str] = {}
    body: list[str] = []
    for line in range(len(frames[0].rows)):
        same = [list(group) for _, group in groupby(frames, lambda frame: frame.rows[line])]  # noqa: B023
        ends = [*(group[0].at for group in same[1:]), total]
        for group, until in zip(same, ends, strict=True):
            if row := group[0].rows[line]:
                span = (round(group[0].at / total * 100, 2), round(until / total * 100, 2))
                name = looks.setdefault(span, f"f{len(looks)}")
                body.append(_text(row, line, name))
    width = COLUMNS * CHARACTER + 2 * MARGIN
    height = BAR + len(frames[0].rows) * LINE + MARGIN
    style = "".join(_look(name, *span, total) for span, name in looks.items())
    dots = "".join(
        f'<circle cx="{MARGIN + 6 + 18 * n:g}" cy="{BAR / 2:g}" r="5" fill="#30363d"/>' for n in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-labelledby="t">'
        f'<title id="t">A run of {escape(" ".join(picture.command))}: {escape(picture.says)}</title>'
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        f"fill:{INK};white-space:pre}}.b{{font-weight:bold}}{_colours()}"
        f"{style}@media(prefers-reduced-motion:reduce){{text{{animation:none!important}}}}</style>"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}" stroke="#30363d"/>{dots}'
        f"{''.join(body)}</svg>\n"
    )


def _colours() -> str:
    return "".join(f".{name}{{fill:{value}}}" for name, value in COLOURS.items())


def _look(name: str, since: float, until: float, total: float) -> str:
    """Return the rules for what is visible between two percentages; what is there at the end needs no motion."""
    begin = "0%{visibility:hidden}" if since else ""
    last = until >= 100  # noqa: PLR2004 - per cent
    end = "" if last else f"{until}%,to{{visibility:hidden}}"
    return (
        f"@keyframes {name}{{{begin}{since}%{{visibility:visible}}{end}}}"
        f".{name}{{{'' if last else 'visibility:hidden;'}animation:{name} {total:.2f}s step-end infinite}}"
    )


def _text(row: Row, line: int, name: str) -> str:
    y = BAR + (line + 0.72) * LINE
    runs = "".join(_span(run) for run in row)
    return f'<text class="{name}" y="{y:g}">{runs}</text>'


def _span(run: Run) -> str:
    look = " ".join([*([run.colour] if run.colour in COLOURS else []), *(["b"] if run.bold else [])])
    start = len(run.text) - len(run.text.lstrip())
    text = run.text[start:]
    x = MARGIN + (run.column + start) * CHARACTER
    look = f' class="{look}"' if look else ""
    if HEX.fullmatch(run.colour):
        look += f' style="fill:#{run.colour}"'
    return f'<tspan x="{x:g}" textLength="{len(text) * CHARACTER:g}"{look}>{escape(text)}</tspan>'


def shown(frames: Iterable[Frame]) -> str:
    """Return the text of the last of *frames*."""
    *_, last = frames
    return "\n".join(" ".join(run.text.strip() for run in row) for row in last.rows)


if __name__ == "__main__":
    for each in PICTURES:
        recorded = record(each)
        each.file.write_text(svg(recorded, each), encoding="utf-8")
        sys.stdout.write(f"{shown(recorded)}\n\n{each.file}: {each.file.stat().st_size / 1000:.0f} kB\n\n")
