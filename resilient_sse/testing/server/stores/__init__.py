"""Where the reference server keeps its events: in memory, in SQLite, or in Redis or Valkey."""

from resilient_sse.testing.server.stores.memory import MemoryStore
from resilient_sse.testing.server.stores.protocol import EventStore, StoredEvent, StoreError
from resilient_sse.testing.server.stores.redis import RedisStore
from resilient_sse.testing.server.stores.sqlite import SQLiteStore

__all__ = ["EventStore", "MemoryStore", "RedisStore", "SQLiteStore", "StoreError", "StoredEvent"]
