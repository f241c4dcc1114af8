"""What the tests of the client are given beside the scripted server."""

import pytest

from tests.client.support import Record, Store


@pytest.fixture
def record() -> Record:
    """Give a callback that keeps what it is told."""
    return Record()


@pytest.fixture
def store() -> Store:
    """Give an empty store."""
    return Store()
