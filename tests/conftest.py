"""What all tests share: both backends, virtual time, and a scripted server."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_sse.testing import Script, virtual_backend

REAL_TIME = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever lies in `tests/e2e`, so that it gets real time and `-m "not e2e"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(REAL_TIME):
            item.add_marker("e2e")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run async tests on both backends: in virtual time, or in real time if they are marked `e2e`."""
    if request.node.get_closest_marker("e2e"):
        return request.param
    return virtual_backend(request.param)


@pytest.fixture(autouse=True)
def no_proxy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the environment's proxies from tests with real sockets: every server is on the loopback interface."""
    with pytest.MonkeyPatch.context() as environment:
        if request.node.get_closest_marker("e2e"):
            for name in list(os.environ):
                if name.lower().endswith("_proxy"):
                    environment.delenv(name)
        yield


@pytest.fixture
def script() -> Iterator[Script]:
    """Give a scripted server; a request that it did not expect fails the test even if the client hid it."""
    script = Script()
    yield script
    script.verify()
