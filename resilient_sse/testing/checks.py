"""Checks of arguments: what is wrong with one is said when it is given, with its name and what to give instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from resilient_sse._core.checks import check, shown

__all__ = [
    "Checked",
    "check",
    "check_kbps",
    "check_port",
    "check_seconds",
    "check_share",
    "check_text",
    "check_whole",
    "shown",
]


def check_whole(name: str, value: object, *, least: int = 0) -> None:
    """Check a whole number; errors as in `check`."""
    check(name, value, int, f"a whole number, at least {least}", lambda number: number >= least)


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Check a finite time, above 0 unless *zero* may be; errors as in `check`."""
    wanted = "a number of seconds, 0 or more" if zero else "a positive number of seconds"
    check(name, value, (int, float), wanted, lambda time: (0 if zero else 5e-324) <= time < math.inf)


def check_share(name: str, value: object) -> None:
    """Check a share; errors as in `check`."""
    check(name, value, (int, float), "a share between 0 and 1 (20 % is 0.2)", lambda share: 0 <= share <= 1)


def check_port(name: str, value: object, *, least: int = 1) -> None:
    """Check the number of a port; errors as in `check`."""
    check(name, value, int, f"a port from {least} to 65535", lambda port: port in range(least, 65_536))


def check_text(name: str, value: object, *, line: bool = False) -> None:
    """Check a text that can be sent, of one *line* perhaps; errors as in `check`."""
    wanted = "a string of one line" if line else "a string"
    check(name, value, str, wanted, lambda text: not (line and {*"\r\n"} & {*text}))
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a surrogate pair, which cannot be sent as UTF-8") from None


def check_kbps(name: str, kbps: float | None) -> None:
    """Check a rate: a finite number above 0, or `None` for no limit; errors as in `check`."""
    if kbps is not None:
        wanted = "a number of kbps above 0, or none for no limit"
        check(name, kbps, (int, float), wanted, lambda rate: 0 < rate < math.inf)


_BY_NAME: Mapping[str, Callable[[str, Any], None]] = {
    "delay": partial(check_seconds, zero=True),
    "every": partial(check_seconds, zero=True),
    "jitter": check_share,
    "rate": check_share,
    "share": check_share,
    "kbps": check_kbps,
    "direction": lambda name, way: check(
        name, way, str, "'down', 'up' or 'both'", lambda one: one in ("down", "up", "both")
    ),
    "size": partial(check_whole, least=1),
    "after": check_whole,
    "times": lambda name, times: None if times is None else check_whole(name, times, least=1),
}


class Checked:
    """Refuses values of fields that are out of their range: what a field is follows from its name."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, check_value in _BY_NAME.items():
            if hasattr(self, name):
                check_value(name, getattr(self, name))
