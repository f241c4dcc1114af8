"""What the tests of the reference server share: servers of each kind, in real time and on real sockets."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from resilient_sse.testing.server import (
    EventStore,
    MemoryStore,
    RedisStore,
    ReferenceServer,
    RunningServer,
    SQLiteStore,
    serving,
)
from tests.testing.server.listening import Listener
from tests.testing.server.valkey import valkey

STORES = ["memory", "sqlite", "redis"]


@pytest.fixture
def start() -> Iterator[Callable[..., RunningServer]]:
    """Give a function that starts a server with options of its own; unless told, it leaves clients their pace."""
    with ExitStack() as servers:
        yield lambda *args, **options: servers.enter_context(
            serving(ReferenceServer(*args, **{"retry": None, **options}))
        )


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Give a function that opens a stream without our client."""
    with ExitStack() as listeners:
        yield lambda *args, **options: listeners.enter_context(Listener(*args, **options))


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a real Valkey."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., EventStore]:
    """Give a function that makes stores of one kind; all that it makes share what they hold, if they can."""
    if request.param == "memory":
        return MemoryStore
    if request.param == "sqlite":
        return lambda **options: SQLiteStore(tmp_path / "events.db", **options)
    url, prefix = request.getfixturevalue("valkey_url"), secrets.token_hex(8)
    return lambda **options: RedisStore(url, prefix=prefix, **options)
