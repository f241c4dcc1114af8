"""Relays run on their own clocks: a real Valkey, real sockets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.replaying import replaying
from tests.testing.server import valkey as real


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run async tests on both backends, on their own clocks."""
    return request.param


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[real.Server]:
    """Run a server that the test may stop."""
    with real.valkey(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """Run a server that sends numbered events for ever, behind the given id."""
    with replaying() as url:
        yield url
