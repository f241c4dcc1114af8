"""Words and figures for a narrow column: harmless, short, and as wide as they look."""

from __future__ import annotations

import unicodedata

__all__ = ["age", "amount", "clean", "fit", "percent", "width_of"]

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_THOUSAND = 1000
_UNITS = ("", "k", "M", "G", "T")
NOTHING = "-"


def clean(text: str) -> str:
    r"""Write what a terminal would obey, or what would turn the line around, as `\x1b` or `\u202e`."""
    return "".join(_harmless(character) for character in text)


def _harmless(character: str) -> str:
    if character.isprintable():  # no controls, no surrogates, no marks of direction, no line separators
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - what two digits hold


def width_of(text: str) -> int:
    """Return how many cells of a terminal *text* takes."""
    return sum(_cells(character) for character in text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Make *text* exactly *width* cells wide; what is too long ends in an ellipsis."""
    if width_of(text) > width:
        kept, room = "", width - 1
        for character in text:
            room -= _cells(character)
            if room < 0:
                break
            kept += character
        text = f"{kept}…" if width > 0 else ""
    blank = " " * (width - width_of(text))
    return blank + text if right else text + blank


def age(seconds: float | None) -> str:
    """Write a duration in at most six characters."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0.0)
    if seconds < 9.95:  # noqa: PLR2004 - where 10.0 would begin
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02d}h"


def amount(value: float | None) -> str:
    """Write a number in at most five characters, a whole one without a fraction while it is small."""
    if value is None:
        return NOTHING
    unit = 0
    while abs(value) >= _THOUSAND - 0.5 and unit < len(_UNITS) - 1:
        value /= _THOUSAND
        unit += 1
    exact = isinstance(value, int) or not value or value >= 99.95  # noqa: PLR2004 - where 100.0 would begin
    return f"{value:.0f}{_UNITS[unit]}" if exact else f"{value:.1f}{_UNITS[unit]}"


def percent(value: float | None) -> str:
    """Write a share so that only what is whole looks whole."""
    if value is None:
        return NOTHING
    return "100%" if value >= 100 else f"{min(value, 99.99):.2f}%"  # noqa: PLR2004 - percent


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
