"""What the tests of the client are given beside the scripted server."""

import pytest

from tests.client.support import Store


@pytest.fixture
def store() -> Store:
    """Give an empty store."""
    return Store()
