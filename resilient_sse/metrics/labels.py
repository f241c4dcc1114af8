"""
A program's own labels: few, declared with their values, and nothing that tells one user from another.

Each combination of values is a time series, kept for as long as the process lives.  What grows with users, URLs
or events would fill a monitoring system, and tell it what is none of its business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias, cast

__all__ = ["MAX_LABELS", "MAX_VALUES", "OTHER", "OURS", "LabelValues", "Labels", "checked_names"]

LabelValues: TypeAlias = Mapping[str, Collection[str]]
"""The names of labels, each with the values that it may take."""

MAX_LABELS: Final = 3
"""How many labels of its own a program may have."""
MAX_VALUES: Final = 20
"""How many values one label may take, without `other`."""
OTHER: Final = "other"
"""What stands for every value that was not declared, and for none."""
OURS: Final = frozenset({"category", "kind", "reason", "state"})
"""The labels that metrics have by themselves."""

# Names that monitoring systems give a meaning of their own.
_TAKEN: Final = frozenset({"le", "quantile", "job", "instance", "pid", "host", "env", "service", "version"})

# What such labels would hold is different for each user, URL or event.
_UNBOUNDED: Final = frozenset(
    {
        *("id", "uid", "uuid", "guid", "key", "ip", "addr", "address", "email", "mail", "login", "account"),
        *(
            "url",
            "uri",
            "href",
            "path",
            "query",
            "endpoint",
            "user",
            "username",
            "userid",
            "customer",
            "person",
        ),
        *("event", "message", "payload", "data", "session", "token", "secret", "password", "cookie"),
        *("request", "trace", "span", "time", "timestamp"),
    }
)
_BOUNDED: Final = frozenset({"user_segment", "user_tier", "user_group", "account_tier", "customer_tier"})

_SHOWN: Final = 80  # characters of what was given, in the text of an error
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,63}")


class Labels:
    """
    The labels that one program adds to all its metrics.

    Args:
        declared: The names, each with the values that it may take.

    Raises:
        TypeError: *declared* is not a mapping of strings to collections of strings.
        ValueError: There are too many labels or values, or one of them is not allowed.
    """

    def __init__(self, declared: LabelValues | None = None) -> None:
        declared = {} if declared is None else declared
        if not isinstance(declared, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f'labels must map names to their values: {{"network": ["4g", "wifi"]}}, not {_shown(declared)}'
            )
        names = checked_names(declared)
        self._values = {name: _values(name, declared[name]) for name in names}

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the declaration."""
        return tuple(self._values)

    @property
    def unset(self) -> tuple[str, ...]:
        """The values of a stream about which nothing was said."""
        return (OTHER,) * len(self._values)

    @property
    def known(self) -> tuple[tuple[str, ...], ...]:
        """The combinations of values that are sure to come: without labels, the empty one."""
        return () if self._values else ((),)

    def chosen(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """
        Return the values of one stream, in the order of `names`; what was not declared is `other`.

        Raises:
            ValueError: A name was not declared.
        """
        for name in values:
            if name not in self._values:
                known = ", ".join(self._values) or "none"
                raise ValueError(f"label {_shown(name)} was not declared; declared: {known}; see labels=")
        return tuple(_or_other(values.get(name), known) for name, known in self._values.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and list(self._values.items()) == list(other._values.items())

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"Labels({ {name: sorted(values) for name, values in self._values.items()} })"


def checked_names(names: Collection[object]) -> list[str]:
    """
    Return *names* if a program may have such labels.

    Raises:
        ValueError: There are too many, one is there twice, or not allowed.
    """
    if len(names) > MAX_LABELS:
        raise ValueError(f"labels: at most {MAX_LABELS}, not {len(names)}: leave some out")
    checked = [_name(name) for name in names]
    for name in checked:
        if checked.count(name) > 1:
            raise ValueError(f"label {name!r} is there twice: leave one out")
    return checked


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"label {_shown(name)}: use lower-case letters, digits and underscores, 32 at most")
    if name in OURS or name in _TAKEN or name.startswith(("sse_", "exported_")):
        raise ValueError(f"label {name!r} is taken: choose another name")
    if name not in _BOUNDED and not _UNBOUNDED.isdisjoint(name.split("_")):
        raise ValueError(
            f"label {name!r} is not allowed: its values would differ by user, URL or event; "
            "label by a group instead, such as a segment, a device type or a network"
        )
    return name


def _values(name: str, values: object) -> frozenset[str]:
    if isinstance(values, str) or not isinstance(values, Collection):
        raise TypeError(
            f'label {name!r}: give the values that it may take, as in ["4g", "wifi"], not {_shown(values)}'
        )
    known = cast("Collection[object]", values)
    for value in known:
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"label {name!r}: {_shown(value)} is no value: use up to 64 letters, digits and '_.+ -'"
            )
    chosen = frozenset(str(value) for value in known) - {OTHER}
    if known and not chosen:
        raise ValueError(
            f"label {name!r}: {OTHER!r} stands for what is not declared, and need not be: declare another value"
        )
    if not 1 <= len(chosen) <= MAX_VALUES:
        raise ValueError(f"label {name!r}: declare 1 to {MAX_VALUES} values, not {len(chosen)}")
    return chosen


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _or_other(value: object, known: frozenset[str]) -> str:
    return value if isinstance(value, str) and value in known else OTHER
