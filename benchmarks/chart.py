"""The results as a chart in SVG: a panel a row, the longest bar is the best; colours for light and dark pages."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from .peers import BASE, PEERS
from .report import number

WIDTH, LEFT, RIGHT = 760, 220, 190
BAR, GAP, HEAD = 16, 6, 40
OURS, OTHERS, TEXT = "#2f81f7", "#8b949e", "#768390"
STYLE = f"text{{font:13px system-ui,sans-serif;fill:{TEXT}}}.h{{font-weight:600}}.v{{font-size:12px}}"


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {more}>{escape(words)}</text>'


def bar(client: dict[str, Any], best: float, y: float) -> list[str]:
    name = client["name"]
    colour = OURS if name.startswith("resilient_sse") else OTHERS
    length = max(2.0, (WIDTH - LEFT - RIGHT) * best / max(client["median"], best))
    ratio = f", {number(client['ratio'])} times {BASE}" if client["ratio"] else ""
    return [
        text(LEFT - 10, y + 13, name, 'text-anchor="end"'),
        f'<rect x="{LEFT}" y="{y:g}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
        text(LEFT + length + 8, y + 13, number(client["median"]) + ratio, 'class="v"'),
    ]


def draw(results: list[dict[str, Any]]) -> str:
    """Return the chart; floors, which make no events, are left out of the scale of their panel."""
    parts = [text(0, 14, f"Longer bars are better; {BASE} is 1.")]
    y = 14.0
    for result in results:
        clients = [client for client in result["clients"] if PEERS[client["name"]].unit == "event"]
        if not clients:
            continue
        parts.append(text(0, y + 24, f"{result['title']} ({result['unit']})", 'class="h"'))
        y += HEAD
        best = min(client["median"] for client in clients)
        for client in clients:
            parts += bar(client, best, y)
            y += BAR + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + GAP:g}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
