"""
A program's own labels: few, and declared with their values.

Each combination of values is a time series, kept for as long as the process lives, so labels are for groups: a
segment, a device type, a network.  What grows with users, URLs or events would fill a monitoring system.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, cast

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
_TAKEN: Final = OURS | {"le", "quantile", "job", "instance", "pid", "host", "env", "service", "version"}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,63}")


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels that one program adds to all its metrics, each with the values that were declared."""

    declared: tuple[tuple[str, frozenset[str]], ...]

    @classmethod
    def of(cls, given: LabelValues | None) -> Self:
        """Check what was declared."""
        given = {} if given is None else given
        if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f'labels must map names to their values: {{"network": ["4g", "wifi"]}}, not {given!r:.80}'
            )
        return cls(tuple((name, _values(name, given[name])) for name in checked_names(given)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the declaration."""
        return tuple(name for name, _ in self.declared)

    def chosen(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """Return the values of one stream, in the order of `names`; what was not declared is `other`."""
        for name in values.keys() - set(self.names):
            known = ", ".join(self.names) or "none"
            raise ValueError(f"label {name!r:.80} was not declared; declared: {known}; see labels=")
        return tuple(
            value if isinstance(value := values.get(name), str) and value in known else OTHER
            for name, known in self.declared
        )


def checked_names(names: Collection[object]) -> list[str]:
    """Return *names* if a program may have such labels; a `ValueError` says why not."""
    if len(names) > MAX_LABELS:
        raise ValueError(f"labels: at most {MAX_LABELS}, not {len(names)}: leave some out")
    checked: list[str] = []
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"label {name!r:.80}: use lower-case letters, digits and underscores, 32 at most"
            )
        if name in _TAKEN or name.startswith(("sse_", "exported_")):
            raise ValueError(f"label {name!r} is taken: choose another name")
        if name in checked:
            raise ValueError(f"label {name!r} is there twice: leave one out")
        checked.append(name)
    return checked


def _values(name: str, values: object) -> frozenset[str]:
    if isinstance(values, str) or not isinstance(values, Collection):
        raise TypeError(
            f'label {name!r}: give the values that it may take, as in ["4g", "wifi"], not {values!r:.80}'
        )
    for value in cast("Collection[object]", values):
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"label {name!r}: {value!r:.80} is no value: use up to 64 letters, digits and '_.+ -'"
            )
    chosen = frozenset(cast("Collection[str]", values)) - {OTHER}
    if not 1 <= len(chosen) <= MAX_VALUES:
        raise ValueError(
            f"label {name!r}: declare 1 to {MAX_VALUES} values besides {OTHER!r}, not {len(chosen)}"
        )
    return chosen
