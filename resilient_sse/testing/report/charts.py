"""The charts of the page: what streams went through, how delays spread, how fast all came back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from resilient_sse.testing.report.runs import Recovery, Run, Stream
from resilient_sse.testing.report.svg import LEFT, RIGHT, Scale, figure, mark, tag, time_axis
from resilient_sse.testing.scenarios.log import Entry

__all__ = ["crowd", "recoveries_chart", "scatter", "timeline"]

_TOP = 22
_FLOOR = 84
_BAND = 14
_LABEL_WIDTH = 5.2
"""What a letter of a label takes."""

_SHORT = 30
"""Half the width that a label of a fault needs."""


def timeline(stream: Stream) -> str:
    """Draw one stream: its states as a band, events received as a curve, faults as lines, delays as numbers."""
    times = [entry.at for entry in stream.entries]
    x = Scale(min(times), max(times), LEFT, RIGHT)
    received, total = stream.received, max(len(stream.published), 1)
    y = Scale(0, total, _FLOOR - 2, _TOP)
    content = [
        *time_axis(x, _FLOOR + _BAND + 4, grid=_TOP),
        mark(LEFT - 4, y(total) + 4, str(total), class_="tick", text_anchor="end"),
        mark(LEFT - 4, _FLOOR, "0", class_="tick", text_anchor="end"),
        *_curve(received, x, y, x.high),
        *_faults(stream, x),
        *_band(stream, x),
    ]
    label = f"{stream.name}: {len(received)} of {len(stream.published)} messages, states over time"
    return figure(content, label=label)


def crowd(streams: Sequence[Stream], end: float) -> str:
    """Draw the states of many streams as thin bands, one under the other."""
    row = 7
    bottom = _TOP + row * len(streams)
    x = Scale(0, end, LEFT, RIGHT)
    content: list[str] = []
    for number, stream in enumerate(streams):
        for state, start, stop, _ in _states(stream):
            width = max(round(x(stop) - x(start), 2), 0.5)
            top = _TOP + row * number
            content.append(
                tag("rect", x=x(start), y=top, width=width, height=row - 1, class_=f"state {state}")
            )
        faults = ((entry.at, _TOP + row * number) for entry in stream.all("fault"))
        content += [
            tag("rect", x=x(at) - 0.75, y=top, width=1.5, height=row - 1, class_="hit") for at, top in faults
        ]
    content += time_axis(x, bottom + 2)
    injected = sum(len(stream.all("fault")) for stream in streams)
    content.append(
        mark(LEFT, _TOP - 8, f"{len(streams)} streams, {injected} faults (dark marks)", class_="note")
    )
    return figure(content, label=f"states of {len(streams)} streams over time", height=bottom + 20)


def scatter(streams: Sequence[Stream]) -> str:
    """Draw the delays that many clients drew, attempt by attempt."""
    drawn = [
        (entry.facts["attempt"], entry.facts["delay"]) for stream in streams for entry in stream.announcements
    ]
    attempts = max((attempt for attempt, _ in drawn), default=1)
    row = 20
    bottom = _TOP + row * attempts
    x = Scale(0, 5.25, LEFT, RIGHT)
    content = [*time_axis(x, bottom + 2, grid=_TOP - 6)]
    for attempt in range(1, attempts + 1):
        middle = _TOP + row * (attempt - 0.5)
        nominal = min(2.0 ** (attempt - 1), 5.0)
        low, high = x(0.9 * nominal), x(min(1.1 * nominal, 5.0))
        content.append(
            tag("rect", x=low, y=middle - 7, width=round(high - low, 2), height=14, rx=3, class_="allowed")
        )
        content.append(mark(LEFT - 6, middle + 4, str(attempt), class_="tick", text_anchor="end"))
        content += [
            tag(
                "circle",
                cx=x(delay),
                cy=round(middle + 5 * ((number * 7 % 11) / 5.5 - 0.95), 2),
                r=1.3,
                class_="dot",
            )
            for number, (mine, delay) in enumerate(drawn)
            if mine == attempt
        ]
    note = f"delay before each attempt, {len(streams)} clients at the same instant"
    content.append(mark(LEFT, 10, note, class_="note"))
    return figure(content, label=note, height=bottom + 20)


def recoveries_chart(recoveries: Sequence[Recovery]) -> str:
    """Draw what share of the outages was over after how many seconds, and what was asked for."""
    times = sorted(time for recovery in recoveries if (time := recovery.reconnect) is not None)
    top, bottom = 26, 128
    x = Scale(0, 5.25, LEFT, RIGHT)
    y = Scale(0, 100, bottom, top)
    content = [*time_axis(x, bottom + 2, grid=top)]
    for value in (0, 50, 100):
        content.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(value), y2=y(value), class_="grid"))
        content.append(mark(LEFT - 4, y(value) + 4, f"{value} %", class_="tick", text_anchor="end"))
    for limit, name in ((2.5, "mean"), (4.2, "p95"), (4.8, "p99")):
        content.append(tag("line", x1=x(limit), x2=x(limit), y1=top - 4, y2=bottom, class_="limit"))
        content.append(mark(x(limit), top - 8, f"{name} {limit:g}", class_="note", text_anchor="middle"))
    places: list[tuple[float, float]] = [(LEFT, y(0))]
    for number, time in enumerate(times, start=1):
        at = x(min(time, 5.25))
        places += [(at, places[-1][1]), (at, y(100 * number / len(times)))]
    places.append((RIGHT, places[-1][1]))
    content.append(tag("polyline", points=_points(places), class_="curve"))
    return figure(
        content, label=f"{len(times)} outages: share over after so many seconds", height=bottom + 20
    )


def _states(stream: Stream) -> Iterable[tuple[str, float, float, Entry | None]]:
    """Yield each state with its beginning, its end, and the change that led to it."""
    first, last = stream.entries[0].at, stream.entries[-1].at
    changes = stream.all("state")
    bounds = [first, *(change.at for change in changes), last]
    names = ["connecting", *(change.facts["new"] for change in changes)]
    for (start, stop), name, change in zip(pairwise(bounds), names, [None, *changes], strict=True):
        yield name, start, stop, change


def _band(stream: Stream, x: Scale) -> Iterable[str]:
    for state, start, stop, change in _states(stream):
        width = round(max(x(stop) - x(start), 0.8), 2)
        text = state if change is None else f"{state}: {change.facts['message']} ({stop - start:.2f} s)"
        title = tag("title", text.replace("&", "&amp;").replace("<", "&lt;"))
        yield tag("rect", title, x=x(start), y=_FLOOR, width=width, height=_BAND, class_=f"state {state}")
        delay = None if change is None else change.facts["delay"]
        label = f"{delay:.3g} s" if delay is not None else ""
        if label and width > _LABEL_WIDTH * len(label) + 2:
            yield mark(x((start + stop) / 2), _FLOOR + 11, label, class_="delay", text_anchor="middle")


def _curve(received: Sequence[Entry], x: Scale, y: Scale, end: float) -> Iterable[str]:
    places = [(x(x.low), y(0))]
    for number, entry in enumerate(received, start=1):
        at = x(entry.at)
        if at == places[-1][0]:
            places[-1] = (at, y(number))
        else:
            places += [(at, places[-1][1]), (at, y(number))]
    places.append((x(end), places[-1][1]))
    area = [*places, (x(end), y(0))]
    yield tag("polygon", points=_points(area), class_="area")
    yield tag("polyline", points=_points(places), class_="curve")


def _faults(stream: Stream, x: Scale) -> Iterable[str]:
    """Draw faults; names that would run into each other are left out."""
    free = 0.0
    named = {entry.facts["name"]: 0 for entry in stream.all("fault")}
    for entry in stream.all("mended"):
        at = x(entry.at)
        yield tag("line", x1=at, x2=at, y1=_TOP - 4, y2=_FLOOR, class_="mended")
    for entry in stream.all("fault"):
        at = x(entry.at)
        yield tag("line", x1=at, x2=at, y1=_TOP - 4, y2=_FLOOR, class_="fault")
        name = entry.facts["name"]
        if name == "withhold":
            named[name] += 1
            continue
        half = _LABEL_WIDTH * len(name) / 2
        if at - half > free:
            middle = min(max(at, LEFT + half), RIGHT - half)
            yield mark(middle, _TOP - 8, name, class_="fault-name", text_anchor="middle")
            free = middle + half + 4
    if named.get("withhold"):
        at = x(next(entry.at for entry in stream.all("fault", name="withhold")))
        text = f"server drops {named['withhold']}"
        yield mark(max(at, LEFT + _SHORT), _TOP - 8, text, class_="fault-name", text_anchor="middle")


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def charted(run: Run) -> Iterable[tuple[str, str]]:
    """Yield the charts of a run, each with its caption."""
    for part, caption in _PARTS.get(run.scenario, ()):
        streams = run.part(part)
        if streams:
            drawn = {"faults": crowd(streams, run.end), "herd": scatter(streams)}
            others = f" (the first of {len(streams)})" if len(streams) > 1 and part not in drawn else ""
            yield caption + others, drawn.get(part) or timeline(streams[0])


_PARTS = {
    "scenario_1_slow_3g": (("slow", "100 kbps, 150 ms"), ("clean", "the same, unhindered")),
    "scenario_2_stall_detection": (
        ("stall", "The connection falls silent"),
        ("offline", "No network for 36 s"),
        ("late", "Almost too long a silence"),
        ("heartbeats", "Nothing but heartbeats"),
    ),
    "scenario_3_packet_loss": (("delayed", "Segments lost"), ("dropped", "Events dropped by the server")),
    "scenario_4_network_handoff": (("handoff", "Wi-Fi, nothing, 4G"),),
    "scenario_5_rapid_reconnects": (
        ("flap", "Off and on three times"),
        ("herd", "A hundred clients without a server"),
    ),
    "scenario_6_user_experience": (
        ("journey", "Through every state"),
        ("refused", "No server at all"),
        ("faults", "Two hundred faults"),
    ),
}
