"""Stores are judged on their own clocks: their work is done in threads, files and servers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkpoints.postgres import postgres
from tests.testing.server.valkey import valkey


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run async tests on both backends, on their own clocks."""
    return request.param


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
