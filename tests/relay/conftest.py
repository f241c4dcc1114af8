"""Relays run on their own clocks: a real Valkey, real sockets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.redis_process import Server
from tests.checkpoints.replaying import replaying


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run async tests on both backends, on their own clocks."""
    return request.param


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    """Run a server that the test may stop."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()
    server.client.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """Run a server that sends numbered events for ever, behind the given id."""
    with replaying() as url:
        yield url
