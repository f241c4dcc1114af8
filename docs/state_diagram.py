"""
Draws the states of a stream from the table that the code runs by.

`python docs/state_diagram.py` prints the diagram in Mermaid's language, and `--write` puts it, and the table of
reasons, into `docs/explanation/states.md`, between the markers.  A code host draws that Mermaid by itself; the
built pages show what `svg` makes of it, so they need no script and no network.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple, TypeAlias

from resilient_sse import Reason, StreamState
from resilient_sse._core.session import TRANSITIONS

__all__ = ["mermaid", "reasons", "svg", "updated"]

PAGE = Path(__file__).parent / "explanation" / "states.md"
Transitions: TypeAlias = Mapping[tuple[StreamState, StreamState], Collection[Reason]]

LIVE = (StreamState.CONNECTING, StreamState.CONNECTED, StreamState.WAITING, StreamState.RECONNECTING)
GROUP = "live"
"""The states in which something may still arrive, drawn as one where all of them lead to the same state."""


def word(old: StreamState, new: StreamState) -> str:
    """Say in a word or two what a transition means."""
    match new:
        case StreamState.CONNECTED:
            return "heard again" if old is StreamState.WAITING else "opened"
        case StreamState.WAITING:
            return "silent"
        case StreamState.RECONNECTING:
            return "lost" if old in (StreamState.CONNECTED, StreamState.WAITING) else "failed"
        case StreamState.ERROR:
            return "given up"
        case _:
            return "over"


def mermaid(transitions: Transitions = TRANSITIONS) -> str:
    """Render *transitions* as a Mermaid state diagram."""
    others = [state for state in StreamState if state not in LIVE]
    shared = [new for new in others if all((old, new) in transitions for old in LIVE)]
    lines = ["stateDiagram-v2", f"    [*] --> {StreamState.CONNECTING.name}", f"    state {GROUP} {{"]
    outside: list[str] = []
    for old, new in transitions:
        if old in LIVE and new in shared:
            continue
        inside = old in LIVE and new in LIVE
        line = f"{old.name} --> {new.name} : {word(old, new)}"
        (lines if inside else outside).append(f"{'        ' if inside else '    '}{line}")
    lines.append("    }")
    lines += [f"    {GROUP} --> {new.name} : {word(LIVE[0], new)}" for new in shared]
    return "\n".join([*lines, *outside, f"    {StreamState.CLOSED.name} --> [*]"])


def reasons(transitions: Transitions = TRANSITIONS) -> str:
    """Render *transitions* as a Markdown table of the reasons that each may have."""
    rows = ["| from | to | reasons |", "| --- | --- | --- |"]
    for (old, new), known in transitions.items():
        names = ", ".join(f"`{reason.value}`" for reason in Reason if reason in known)
        rows.append(f"| `{old.name}` | `{new.name}` | {names} |")
    return "\n".join(rows)


def updated(page: str, transitions: Transitions = TRANSITIONS) -> str:
    """
    Put the diagram and the table between their markers in the text of a page.

    Raises:
        ValueError: A marker is missing.
    """
    parts = {"diagram": f"```mermaid\n{mermaid(transitions)}\n```", "reasons": reasons(transitions)}
    for name, content in parts.items():
        begin, end = f"<!-- {name}: written by docs/state_diagram.py -->", f"<!-- {name}: end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no markers for the {name}")
        page = f"{before}{begin}\n{content}\n{end}{after}"
    return page


class Point(NamedTuple):
    x: float
    y: float


START, END = "[*]", "end"
WIDTH, HEIGHT = 760, 445
BOX = (20, 50, 720, 270)
PLACES: Mapping[str, Point] = {
    START: Point(130, 22),
    "CONNECTING": Point(130, 110),
    "CONNECTED": Point(400, 110),
    "WAITING": Point(650, 110),
    "RECONNECTING": Point(400, 260),
    "ERROR": Point(230, 410),
    "CLOSED": Point(560, 410),
    END: Point(690, 410),
}
# How far the middle of an edge is bent away from the straight line, for those that would cross a state.
BENDS: Mapping[tuple[str, str], Point] = {("ERROR", "CONNECTED"): Point(-105, 30)}
EDGE = re.compile(r"^\s*(\S+) --> (\S+)(?: : (.+))?$")
STYLE = """
.states-diagram { color: var(--color-foreground-primary, #222); font: 14px sans-serif; }
.states-diagram text { fill: currentColor; text-anchor: middle; dominant-baseline: central; }
.states-diagram .state { fill: var(--color-background-secondary, #f4f4f4); stroke: currentColor; }
.states-diagram .name { font-family: monospace; }
.states-diagram .box { fill: none; stroke: var(--color-foreground-muted, #777); stroke-dasharray: 6 4; }
.states-diagram .edge { fill: none; stroke: var(--color-foreground-secondary, #555); stroke-width: 1.4; }
.states-diagram .arrow, .states-diagram .dot { fill: var(--color-foreground-secondary, #555); }
.states-diagram .word { font-size: 13px; stroke: var(--color-background-primary, #fff); stroke-width: 6;
  paint-order: stroke; }
""".strip()


def svg(diagram: str) -> str:
    """
    Draw *diagram*, which `mermaid` wrote, as an SVG element that follows the colours of its page.

    Raises:
        ValueError: There is a state that no place is known for.
    """
    edges: list[tuple[str, str, str]] = []
    for line in diagram.splitlines():
        if match := EDGE.match(line):
            old, new, label = match.groups()
            edges.append((old, END if new == START else new, label or ""))
    names = {name for old, new, _ in edges for name in (old, new)} - {GROUP}
    if unknown := names - PLACES.keys():
        raise ValueError(f"no place for {sorted(unknown)}")
    pairs = {(old, new) for old, new, _ in edges}
    x, y, width, height = BOX
    body = [f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="12"/>']
    drawn = [_edge(old, new, label, paired=(new, old) in pairs) for old, new, label in edges]
    body += [path for path, _ in drawn] + [_state(name) for name in sorted(names)]
    body += [text for _, text in drawn]
    return (
        f'<svg class="states-diagram" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
        f'aria-label="The states of a stream and the ways between them" xmlns="http://www.w3.org/2000/svg">'
        f'<style>{STYLE}</style><defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path class="arrow" d="M0 0L10 5L0 10z"/></marker></defs>'
        f"{''.join(body)}</svg>"
    )


def _half(name: str) -> Point:
    """Return half the width and half the height of what stands for *name*."""
    return Point(7, 7) if name in (START, END) else Point(len(name) * 4.4 + 14, 19)


def _state(name: str) -> str:
    centre, half = PLACES[name], _half(name)
    if name == START:
        return f'<circle class="dot" cx="{centre.x}" cy="{centre.y}" r="6"/>'
    if name == END:
        return (
            f'<circle class="edge" cx="{centre.x}" cy="{centre.y}" r="8"/>'
            f'<circle class="dot" cx="{centre.x}" cy="{centre.y}" r="4"/>'
        )
    return (
        f'<rect class="state" x="{centre.x - half.x:.0f}" y="{centre.y - half.y:.0f}" width="{2 * half.x:.0f}" '
        f'height="{2 * half.y:.0f}" rx="8"/><text class="name" x="{centre.x}" y="{centre.y}">{name}</text>'
    )


def _edge(old: str, new: str, label: str, *, paired: bool) -> tuple[str, str]:
    """Return an arrow and its label."""
    if old == new:
        return _loop(old, label)
    end = PLACES[new]
    start = Point(end.x, BOX[1] + BOX[3]) if old == GROUP else PLACES[old]
    length = math.dist(start, end)
    # Two states that lead to each other get two lines side by side, each on its own right.
    shift = 11 if paired else 0
    aside = Point(-(end.y - start.y) / length * shift, (end.x - start.x) / length * shift)
    start, end = (Point(p.x + aside.x, p.y + aside.y) for p in (start, end))
    bend = BENDS.get((old, new), Point(0, 0))
    control = Point((start.x + end.x) / 2 + bend.x * 2, (start.y + end.y) / 2 + bend.y * 2)
    first = start if old == GROUP else _border(start, control, _half(old))
    last = _border(end, control, _half(new))
    middle = Point((first.x + last.x) / 4 + control.x / 2, (first.y + last.y) / 4 + control.y / 2)
    if paired:
        middle = Point(middle.x + aside.x * 2.6, middle.y + aside.y * 1.2)  # words are wide, not high
    path = f"M{first.x:.1f} {first.y:.1f}Q{control.x:.1f} {control.y:.1f} {last.x:.1f} {last.y:.1f}"
    return _arrow(path), _label(middle, label)


def _loop(name: str, label: str) -> tuple[str, str]:
    centre, half = PLACES[name], _half(name)
    side = -1 if name == "ERROR" else 1
    x, reach = centre.x + side * half.x, centre.x + side * (half.x + 46)
    above, below = f"{reach:.1f} {centre.y - 30}", f"{reach:.1f} {centre.y + 30}"
    path = f"M{x:.1f} {centre.y - 9}C{above} {below} {x:.1f} {centre.y + 9}"
    return _arrow(path), _label(Point(centre.x + side * (half.x + 64), centre.y), label)


def _border(centre: Point, towards: Point, half: Point) -> Point:
    """Return where the line from *centre* to *towards* leaves the rectangle around *centre*."""
    dx, dy = towards.x - centre.x, towards.y - centre.y
    scale = min(half.x / abs(dx) if dx else math.inf, half.y / abs(dy) if dy else math.inf)
    return Point(centre.x + dx * scale, centre.y + dy * scale)


def _arrow(path: str) -> str:
    return f'<path class="edge" d="{path}" marker-end="url(#arrow)"/>'


def _label(at: Point, label: str) -> str:
    return f'<text class="word" x="{at.x:.1f}" y="{at.y:.1f}">{escape(label)}</text>' if label else ""


def main() -> None:
    """Print the diagram, or write it into its page."""
    parser = argparse.ArgumentParser(description="Draw the states of a stream from the table in the code.")
    parser.add_argument("--write", action="store_true", help=f"write it into {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(mermaid() + "\n")


if __name__ == "__main__":
    main()
