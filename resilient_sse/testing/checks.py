"""Checks of arguments: what is wrong with one is said when it is given, with its name and what to give instead."""

from __future__ import annotations

import math

from resilient_sse._core.checks import check, shown

__all__ = ["check", "check_seconds", "check_share", "check_text", "check_whole", "shown"]


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


def check_text(name: str, value: object, *, line: bool = False) -> None:
    """Check a text that can be sent, of one *line* perhaps; errors as in `check`."""
    wanted = "a string of one line" if line else "a string"
    check(name, value, str, wanted, lambda text: not (line and {*"\r\n"} & {*text}))
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a surrogate pair, which cannot be sent as UTF-8") from None
