"""What the relays of all tests copy from."""

from collections.abc import Iterator

import pytest

from tests.checkpoints.replaying import replaying


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """Run a server that sends numbered events for ever, behind the given id."""
    with replaying() as url:
        yield url
