"""Servers that the tests of stores share."""

from collections.abc import Iterator

import pytest

from tests.checkpoints.postgres import postgres
from tests.testing.server.valkey import valkey


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Valkey server for all tests, and give its URL."""
    with valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running.url


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server for all tests, and give what connects to it."""
    with postgres() as dsn:
        yield dsn
