"""Numbers on the command line, which all commands read alike."""

from __future__ import annotations

import argparse
import math

__all__ = ["above_zero", "count", "digits", "host_and_port", "number", "seconds_or_none"]

_MAX_PORT = 65_535
_MOST_DIGITS = 18  # what fits into 64 bits


def digits(text: str) -> int | None:
    """Return a whole number that is written in at most 18 ASCII digits, without a sign; else `None`."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def number(text: str) -> float:
    """Return a number; what is none, or is not finite, becomes NaN, which no comparison lets pass."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return the two of `HOST:PORT`, the host without the brackets of IPv6; `None` if it is something else."""
    host, colon, after = text.rpartition(":")
    port = digits(after)
    if not (colon and host) or port is None or port > _MAX_PORT:
        return None
    return host.removeprefix("[").removesuffix("]"), port


def count(text: str) -> int:
    """
    Read a number of things.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    value = digits(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def above_zero(text: str) -> float:
    """
    Read a number above 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    value = number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def seconds_or_none(text: str) -> float | None:
    """
    Read a limit in seconds, or the word that switches it off.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    if text == "none":
        return None
    seconds = number(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, or none")
    return seconds
