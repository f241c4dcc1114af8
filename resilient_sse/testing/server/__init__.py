"""
A reference server: everything a resilient client relies on, and on demand everything it has to survive.

It is a real ASGI application on Starlette and sse-starlette, run by uvicorn; it needs the extra
`resilient-sse[testing]`.
"""

from resilient_sse.testing.server import _needed as _needed
from resilient_sse.testing.server.app import DONE, ReferenceServer
from resilient_sse.testing.server.broken_streams import (
    BadUtf8,
    Bom,
    Close,
    Drop,
    Duplicate,
    GiantLine,
    GzipGarbage,
    HalfEvent,
    Reorder,
    Reset,
    Silence,
    Trickle,
    TruncatedChunk,
)
from resilient_sse.testing.server.counters import Counters, RequestRecord
from resilient_sse.testing.server.faults import Fault, Faults, RedirectLoop, Status, WrongType
from resilient_sse.testing.server.limits import RateLimit
from resilient_sse.testing.server.opening import OpenServer, open_server
from resilient_sse.testing.server.payloads import EVENT_TYPE, payload, payloads
from resilient_sse.testing.server.reader import HEARTBEAT, SLOW, TRUNCATED
from resilient_sse.testing.server.running import RunningServer, serving
from resilient_sse.testing.server.stores import (
    EventStore,
    MemoryStore,
    RedisStore,
    SQLiteStore,
    StoredEvent,
    StoreError,
)

__all__ = [
    "DONE",
    "EVENT_TYPE",
    "HEARTBEAT",
    "SLOW",
    "TRUNCATED",
    "BadUtf8",
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
