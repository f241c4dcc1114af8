"""What arguments must be: each check names the argument, what was given, and what to give instead."""

from __future__ import annotations

import math
import re

__all__ = [
    "MAX_USER",
    "check_event",
    "check_flag",
    "check_seconds",
    "check_share",
    "check_text",
    "check_user",
    "check_whole",
    "shown",
]

MAX_USER = 256
"""How many characters a user's id may have."""

_LINE_END = re.compile(r"[\r\n]")

_EXCERPT = 60


def shown(value: object) -> str:
    """Return *value* as an error shows it; the start of it, if it is long."""
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."


def check_whole(name: str, value: object, *, least: int | None = None) -> None:
    """
    Check a whole number.

    Raises:
        TypeError: It is none.
        ValueError: It is less than *least*.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """
    Check a time.

    Args:
        name: What it is called.
        value: The time, in seconds.
        zero: Whether it may be 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite, or too small.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {shown(value)}")
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        kind = "number of seconds, 0 or more" if zero else "positive number of seconds"
        raise ValueError(f"{name} must be a {kind}, not {value!r}")


def check_share(name: str, value: object) -> None:
    """
    Check a share.

    Raises:
        TypeError: It is no number.
        ValueError: It is not between 0 and 1.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number between 0 and 1, not {shown(value)}")
    if not 0 <= value <= 1:  # false for NaN, too
        raise ValueError(f"{name} must be between 0 and 1, not {value!r}")


def check_flag(name: str, value: object) -> None:
    """
    Check a switch.

    Raises:
        TypeError: It is neither `True` nor `False`.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")


def check_text(name: str, value: object, *, hint: str = "") -> None:
    """
    Check a text.

    Args:
        name: What it is called.
        value: The text.
        hint: What else to say if it is none.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be encoded.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {shown(value)}{hint}")
    if not value.isascii():  # which costs nothing
        try:
            value.encode()
        except UnicodeEncodeError:
            text = f"{name} holds half a surrogate pair, which cannot be sent as UTF-8"
            raise ValueError(text) from None


def check_event(event: object) -> None:
    """
    Check an event type, or `None`.

    Raises:
        TypeError: It is no text.
        ValueError: It contains a line end, or cannot be encoded.
    """
    if event is None:
        return
    if not isinstance(event, str):
        raise TypeError(f"event must be a string of one line, not {shown(event)}")
    check_text("event", event)
    if _LINE_END.search(event):
        raise ValueError(f"event must be a string of one line, not {shown(event)}")


def check_user(user: object) -> None:
    """
    Check a user's id.

    Raises:
        TypeError: It is no text.
        ValueError: It is too long, or cannot be encoded.
    """
    check_text("user_id", user)
    if isinstance(user, str) and len(user) > MAX_USER:
        raise ValueError(f"user_id must not be longer than {MAX_USER} characters; this one has {len(user)}")
