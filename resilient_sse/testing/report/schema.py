"""The JSON Schema of reports, shipped with the package as `schema.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["report_schema"]


@cache
def report_schema() -> dict[str, Any]:
    """
    Return the schema (draft 2020-12), for a validator such as `jsonschema`.

    A report that says YES has exactly the keys of the report that this project started from.  One that says NO has
    one more, `readiness_reasons`.
    """
    text = files("resilient_sse.testing.report").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
