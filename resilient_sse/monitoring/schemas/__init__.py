"""The JSON Schema of the figures of a stream, shipped with the package as `stats.schema.json`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["stats_schema"]


def stats_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of `StreamStats.to_json()`, for a validator such as `jsonschema`."""
    schema: dict[str, Any] = json.loads(
        files(__name__).joinpath("stats.schema.json").read_text(encoding="utf-8")
    )
    return schema
