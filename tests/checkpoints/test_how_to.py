"""The store for PostgreSQL that the docs show, as it stands there: short, and right by the suite."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from resilient_sse.testing.checkpoint_suite import CheckpointSuite

PAGE = Path(__file__).parents[2] / "docs" / "use" / "resume-after-a-restart.md"
[CODE] = re.findall(
    r"```python\n# postgres_checkpoint\.py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


def test_it_is_short():
    """A store takes at most sixty lines (P55)."""
    assert len(CODE.strip().splitlines()) <= 60


class TestPostgresCheckpoint(CheckpointSuite):
    """It passes in a real PostgreSQL."""

    test_of_two_processes_one_wins = (
        None  # a class that is made here is in no module that another process finds
    )

    @pytest.fixture
    def open_store(self, postgresql: str):
        names: dict = {}
        exec(compile(CODE, str(PAGE), "exec"), names)  # noqa: S102 - the page's own
        with psycopg.connect(postgresql) as database:
            database.execute(names["CREATE"])
            database.execute("TRUNCATE positions")
        return lambda: names["PostgresCheckpoint"](postgresql)
