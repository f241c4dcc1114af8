"""Plain data as YAML that people like to read: the little of it that rule files need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

__all__ = ["Plain", "yaml_text"]

Plain: TypeAlias = "str | int | float | bool | Sequence[Plain] | Mapping[str, Plain]"
"""What can be written."""

# Neither numbers nor the words that YAML 1.1 takes for something else.
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*|[0-9]+(?:ms|s|m|h|d)")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def yaml_text(data: Mapping[str, Plain]) -> str:
    """Return *data* as a YAML document: text of several lines as a block, other text quoted where it must be."""
    return "\n".join(_mapping(data, "")) + "\n"


def _mapping(data: Mapping[str, Plain], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in data.items():
        lines += _entry(f"{indent}{_scalar(key)}:", value, indent)
    return lines


def _entry(head: str, value: Plain, indent: str) -> list[str]:
    if isinstance(value, str) and "\n" in value:
        return [f"{head} |-", *(f"{indent}  {line}" for line in value.split("\n"))]
    if isinstance(value, (str, int, float)):
        return [f"{head} {_scalar(value)}"]
    if not value:
        return [f"{head} {'{}' if isinstance(value, Mapping) else '[]'}"]
    if isinstance(value, Mapping):
        return [head, *_mapping(value, f"{indent}  ")]
    return [head, *(line for item in value for line in _item(item, f"{indent}  "))]


def _item(item: Plain, indent: str) -> list[str]:
    if isinstance(item, Mapping):
        first, *rest = _mapping(item, f"{indent}  ")
        return [f"{indent}- {first.lstrip()}", *rest]
    return _entry(f"{indent}-", item, indent)


def _scalar(value: str | float) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
