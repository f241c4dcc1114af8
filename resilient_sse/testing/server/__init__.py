"""
A reference server: everything a resilient client relies on, and on demand everything it has to survive.

It is a real ASGI application on Starlette and sse-starlette, run by uvicorn; it needs the extra
`resilient-sse[testing]`.
"""

from resilient_sse.testing.extra import require

require("the reference server")  # before what needs it is imported

# ruff: noqa: E402
from resilient_sse.testing.server.app import DONE, ReferenceServer
from resilient_sse.testing.server.faults import (
    BadUtf8,
    Bom,
    Close,
    Drop,
    Duplicate,
    Fault,
    Faults,
    GiantLine,
    GzipGarbage,
    HalfEvent,
    RedirectLoop,
    Reorder,
    Reset,
    Silence,
    Status,
    Trickle,
    TruncatedChunk,
    WrongType,
)
from resilient_sse.testing.server.publisher import EVENT_TYPE, Publisher, payload, payloads
from resilient_sse.testing.server.requests import Counters, RateLimit, RequestRecord
from resilient_sse.testing.server.running import OpenServer, RunningServer, open_server, serving
from resilient_sse.testing.server.stores import (
    EventStore,
    MemoryStore,
    RedisStore,
    SQLiteStore,
    StoredEvent,
    StoreError,
)
from resilient_sse.testing.server.streams import HEARTBEAT, SLOW, TRUNCATED, Block, Peer

__all__ = [
    "DONE",
    "EVENT_TYPE",
    "HEARTBEAT",
    "SLOW",
    "TRUNCATED",
    "BadUtf8",
    "Block",
    "Bom",
    "Close",
    "Counters",
    "Drop",
    "Duplicate",
    "EventStore",
    "Fault",
    "Faults",
    "GiantLine",
    "GzipGarbage",
    "HalfEvent",
    "MemoryStore",
    "OpenServer",
    "Peer",
    "Publisher",
    "RateLimit",
    "RedirectLoop",
    "RedisStore",
    "ReferenceServer",
    "Reorder",
    "RequestRecord",
    "Reset",
    "RunningServer",
    "SQLiteStore",
    "Silence",
    "Status",
    "StoreError",
    "StoredEvent",
    "Trickle",
    "TruncatedChunk",
    "WrongType",
    "open_server",
    "payload",
    "payloads",
    "serving",
]
