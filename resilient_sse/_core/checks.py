"""
Checks of single arguments; every complaint begins with the argument's name and says what to give.

A value of the wrong type is a `TypeError`, one out of its range a `ValueError`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_EXCERPT = 60


def shown(value: object) -> str:
    """Return *value* as an error shows it; the start of it, if it is long."""
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."


def check(
    name: str,
    value: object,
    kind: type | tuple[type, ...],
    wanted: str,
    fits: Callable[[Any], bool] = lambda _: True,
) -> None:
    """
    Check an argument.

    Raises:
        TypeError: It is not of the kind; a `bool` is no number.
        ValueError: It does not fit.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} must be {wanted}, not {shown(value)}")
    if not fits(value):  # written so that NaN never fits
        raise ValueError(f"{name} must be {wanted}, not {shown(value)}")


def check_number(name: str, value: object, *, what: str = "a number") -> float:
    """Return *value* if it is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {what}, not {value!r}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None
    return value


def check_seconds(name: str, value: object, *, positive: bool = False, optional: bool = True) -> None:
    """Check one duration: finite, and not negative, nor zero where it must be *positive*."""
    if value is None and optional:
        return
    off = " or None, which switches the limit off" if optional else ""
    seconds = check_number(name, value, what=f"a number of seconds{off}")
    if not math.isfinite(seconds) or seconds < 0 or (positive and seconds == 0):
        least = "more than 0" if positive else "0 or more"
        raise ValueError(f"{name} must be {least} seconds{off}, not {value!r}")


def check_count(name: str, value: object, *, least: int, optional: bool = True) -> None:
    """Check one count: an integer of *least* or more."""
    if value is None and optional:
        return
    off = " or None for no limit" if optional else ""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer{off}, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more{off}, not {value!r}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_callable(name: str, value: object, *, what: str = "a function") -> None:
    """Check that something can be called, and is not async: a coroutine would always count as true."""
    if not callable(value):
        raise TypeError(f"{name} must be {what}, not {value!r}")
    call = getattr(value, "__call__", None)  # noqa: B004 - an object's own, to see whether it is async
    for function in (value, call):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} must be {what}, and not async: it is called between events")


def answered_at_once(name: str, answer: T) -> T:
    """Return what the caller's function has answered; a lambda around an async one could not be seen before."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError(f"{name} must not be async: it has returned a coroutine")
    return answer


def event_types(name: str, types: Iterable[str]) -> frozenset[str]:
    """Copy event types, which are not the letters of one string."""
    if isinstance(types, (str, bytes)) or not isinstance(types, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a collection of event types, not {types!r}")
    kinds = tuple(types)
    if not all(isinstance(kind, str) for kind in kinds):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must hold event types, which are strings, not {kinds!r}")
    return frozenset(kinds)
