"""The charts of the page, as SVG: what a stream went through, and how the delays of many spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from resilient_sse.testing.scenarios.log import Stream

_WIDTH, _LEFT, _RIGHT = 460, 30, 450
"""A drawing in its own units; a browser stretches it to the width there is."""
_TOP, _FLOOR, _BAND = 22, 84, 14
_LETTER = 5.2
"""What a letter of a label takes."""
_LONGEST_DELAY = 5.0


class _Scale:
    """A straight line between the values *low* to *high* and the places *start* to *end*."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low = low
        self.high: float = high if high > low else low + 1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 2)


def timeline(stream: Stream) -> str:
    """Draw one stream: its states as a band, events received as a curve, faults as lines, delays as numbers."""
    received, published = stream.received, len(stream.published)
    x = _Scale(stream.entries[0].at, stream.entries[-1].at, _LEFT, _RIGHT)
    y = _Scale(0, max(published, 1), _FLOOR - 2, _TOP)
    places = [(x(x.low), y(0))]
    for number, entry in enumerate(received, start=1):
        places += [(x(entry.at), places[-1][1]), (x(entry.at), y(number))]
    places.append((x(x.high), places[-1][1]))
    content = [
        *_seconds(x, _FLOOR + _BAND + 4, top=_TOP),
        _text(_LEFT - 4, y(published) + 4, str(published), "tick", "end"),
        _tag("polyline", points=" ".join(f"{left:g},{up:g}" for left, up in places), class_="curve"),
    ]
    free = 0.0  # names that would run into each other are left out
    for entry in [*stream.all("mended"), *stream.all("fault")]:
        at, name = x(entry.at), str(entry.facts["name"])
        content.append(_tag("line", x1=at, x2=at, y1=_TOP - 4, y2=_FLOOR, class_=entry.kind))
        half = _LETTER * len(name) / 2
        if entry.kind == "fault" and at - half > free:
            middle = min(max(at, _LEFT + half), _RIGHT - half)
            content.append(_text(middle, _TOP - 8, name, "fault-name"))
            free = middle + half + 4
    changes = stream.all("state")
    bounds = [x.low, *(change.at for change in changes), x.high]
    told = [
        ("connecting", "", None),
        *((c.facts["new"], c.facts["message"], c.facts["delay"]) for c in changes),
    ]
    for (start, stop), (state, message, delay) in zip(pairwise(bounds), told, strict=True):
        width = round(max(x(stop) - x(start), 0.8), 2)
        title = _tag("title", escape(f"{state}: {message} ({stop - start:.2f} s)"))
        content.append(
            _tag("rect", title, x=x(start), y=_FLOOR, width=width, height=_BAND, class_=f"state {state}")
        )
        label = "" if delay is None else f"{delay:.3g} s"
        if label and width > _LETTER * len(label) + 2:
            content.append(_text(x((start + stop) / 2), _FLOOR + 11, label, "delay"))
    label = f"{stream.name}: {len(received)} of {published} messages, states over time"
    return _drawing(content, label, height=128)


def delays(streams: Sequence[Stream]) -> str:
    """Draw the delays that many clients drew, attempt by attempt, in the band that is allowed."""
    announced = [entry.facts for stream in streams for entry in stream.announcements]
    attempts = max((facts["attempt"] for facts in announced), default=1)
    row, bottom = 20, _TOP + 20 * attempts
    x = _Scale(0, 1.05 * _LONGEST_DELAY, _LEFT, _RIGHT)
    content = [*_seconds(x, bottom + 2, top=_TOP - 6)]
    for attempt in range(1, attempts + 1):
        middle = _TOP + row * (attempt - 0.5)
        nominal = min(2.0 ** (attempt - 1), _LONGEST_DELAY)
        low, high = x(0.9 * nominal), x(min(1.1 * nominal, _LONGEST_DELAY))
        content.append(
            _tag("rect", x=low, y=middle - 7, width=round(high - low, 2), height=14, rx=3, class_="allowed")
        )
        content.append(_text(_LEFT - 6, middle + 4, str(attempt), "tick", "end"))
        mine = [facts["delay"] for facts in announced if facts["attempt"] == attempt]
        for number, delay in enumerate(mine):
            height = round(middle + 5 * ((number * 7 % 11) / 5.5 - 0.95), 2)
            content.append(_tag("circle", cx=x(delay), cy=height, r=1.3, class_="dot"))
    return _drawing(content, f"delays before each attempt of {len(streams)} clients", height=bottom + 20)


def _seconds(scale: _Scale, y: float, *, top: float) -> Iterable[str]:
    """Yield an axis of about six round numbers of seconds from the scale's beginning, with lines up to *top*."""
    rough = (scale.high - scale.low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough)
    for number in range(math.floor((scale.high - scale.low) / step + 1e-9) + 1):
        x = scale(scale.low + number * step)
        yield _tag("line", x1=x, x2=x, y1=top, y2=y, class_="grid")
        yield _text(x, y + 12, f"{number * step:g} s", "tick", "middle" if x < _RIGHT - 12 else "end")


def _text(x: float, y: float, text: str, style: str, anchor: str = "middle") -> str:
    return _tag("text", escape(text), x=round(x, 2), y=y, class_=style, text_anchor=anchor)


def _tag(name: str, content: str = "", **attributes: str | float) -> str:
    """Write an element; an underscore at the end of a name is left out, one within it becomes a hyphen."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _drawing(content: Iterable[str], label: str, *, height: float) -> str:
    inner = _tag("title", escape(label)) + "".join(content)
    return _tag("svg", inner, viewBox=f"0 0 {_WIDTH} {height:g}", role="img", aria_label=label)
