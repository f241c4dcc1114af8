"""Drawing for the page: scales, axes and a few marks as SVG text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

__all__ = ["HEIGHT", "LEFT", "RIGHT", "WIDTH", "Scale", "figure", "mark", "tag", "ticks", "time_axis"]

WIDTH = 460
HEIGHT = 128
LEFT = 30
RIGHT = 450
"""A drawing in its own units; a browser stretches it to the width there is."""

_STEPS = (1, 2, 2.5, 5, 10)
_TICKS = 6


class Scale:
    """
    A straight line between values and places.

    Args:
        low: The value at *start*.
        high: The value at *end*.
        start: A place.
        end: Another.
    """

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low: float = low
        self.high: float = high if high > low else low + 1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """Return the place of *value*."""
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 2)


def tag(name: str, text: str = "", **attributes: str | float) -> str:
    """
    Write an element; an underscore at the end of a name is left out, one within it becomes a hyphen.

    Args:
        name: The element's name.
        text: What it contains, already escaped.
        **attributes: Its attributes.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{text}</{name}>" if text else f"<{name}{written}/>"


def mark(x: float, y: float, text: str, **attributes: str | float) -> str:
    """Write a text at a place."""
    return tag("text", escape(text), x=x, y=y, **attributes)


def figure(content: Iterable[str], *, label: str, height: float = HEIGHT) -> str:
    """
    Put marks together to a drawing.

    Args:
        content: The marks.
        label: What the drawing shows, for those who cannot see it.
        height: Its height.
    """
    inner = tag("title", escape(label)) + "".join(content)
    return tag("svg", inner, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label)


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Return about *count* round values between *low* and *high*."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in _STEPS if step * power >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def time_axis(scale: Scale, y: float, *, grid: float | None = None) -> Iterable[str]:
    """Yield an axis of seconds from the scale's beginning at the height *y*, with lines up to *grid*."""
    for value in ticks(0, scale.high - scale.low):
        x = scale(scale.low + value)
        if grid is not None:
            yield tag("line", x1=x, x2=x, y1=grid, y2=y, class_="grid")
        yield mark(
            x, y + 12, f"{value:g} s", class_="tick", text_anchor="middle" if x < RIGHT - 12 else "end"
        )
