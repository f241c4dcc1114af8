"""Checks of what a proxy is told to do, before it begins with it."""

from __future__ import annotations

from collections.abc import Sequence

from resilient_sse.testing.proxy.profiles import Profile, check_seconds
from resilient_sse.testing.proxy.profiles import profile as known_profile
from resilient_sse.testing.proxy.timeline import Timeline
from resilient_sse.testing.proxy.toxics import TOXICS, Toxic

__all__ = ["check_flap", "check_handoff", "check_timeline", "check_toxic"]

_KINDS = tuple(TOXICS.values())


def check_flap(times: int, down: float | Sequence[float], up: float) -> list[float]:
    """
    Return the seconds that the network is to be away, one figure for each time.

    Raises:
        TypeError: A figure is no number.
        ValueError: A time is negative, or *down* has another length than *times*.
    """
    if not isinstance(times, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # tests are not type-checked
        raise TypeError(f"times must be a whole number, not {times!r}")
    downs: list[float] = list(down) if isinstance(down, Sequence) else [down] * times
    if times < 1 or len(downs) != times:
        raise ValueError(
            f"flap needs times of 1 or more and one figure in down for each, not {times}, {down}"
        )
    for seconds in (*downs, up):
        check_seconds("down and up", seconds)
    return downs


def check_handoff(before: str | Profile, after: str | Profile, gap: float) -> tuple[Profile, Profile]:
    """
    Return the two lines of a hand-off.

    Raises:
        TypeError: *gap* is no number.
        ValueError: A profile is unknown, or *gap* is negative.
    """
    check_seconds("gap", gap)
    return known_profile(before), known_profile(after)


def check_timeline(timeline: object) -> None:
    """
    Check what is to be played.

    Raises:
        TypeError: It is no timeline.
    """
    if not isinstance(timeline, Timeline):
        raise TypeError(
            f"play needs a Timeline, such as Timeline().at(5, 'black-hole').at(41, 'flow'), not {timeline!r}"
        )


def check_toxic(toxic: object) -> Toxic:
    """
    Return the toxic.

    Raises:
        TypeError: It is none; as text, it needs to be read first, since some words mean an action as well.
    """
    if isinstance(toxic, _KINDS):
        return toxic
    how = f"parse_toxic({toxic!r})" if isinstance(toxic, str) else "SegmentLoss(share=0.1)"
    raise TypeError(f"give a toxic, such as {how}, not {toxic!r}")
