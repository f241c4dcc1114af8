"""The dependency groups of `pyproject.toml`, where they repeat what the extras say."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_group_of_what_is_optional():
    """The tests and the docs get what every extra brings, with the same bounds: the docs import all of it."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups, extras = told["dependency-groups"], told["project"]["optional-dependencies"]
    brought = {
        needed for extra in extras.values() for needed in extra if not needed.startswith("resilient-sse[")
    }
    assert set(groups["optional"]) == brought
    for name in ("tests", "docs"):
        assert {"include-group": "optional"} in groups[name]
