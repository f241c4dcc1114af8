"""
A reference server: everything a resilient client relies on, and on demand everything it has to survive.

It is a real ASGI application on Starlette and sse-starlette, run by uvicorn; it needs the extra
`resilient-sse[testing]`.
"""

from resilient_sse.testing.extra import require

require("the reference server")  # before what needs it is imported

# ruff: noqa: E402
from resilient_sse.testing.server.app import DONE as DONE
from resilient_sse.testing.server.app import ReferenceServer as ReferenceServer
from resilient_sse.testing.server.faults import BadUtf8 as BadUtf8
from resilient_sse.testing.server.faults import Bom as Bom
from resilient_sse.testing.server.faults import Close as Close
from resilient_sse.testing.server.faults import Drop as Drop
from resilient_sse.testing.server.faults import Duplicate as Duplicate
from resilient_sse.testing.server.faults import Fault as Fault
from resilient_sse.testing.server.faults import Faults as Faults
from resilient_sse.testing.server.faults import GiantLine as GiantLine
from resilient_sse.testing.server.faults import GzipGarbage as GzipGarbage
from resilient_sse.testing.server.faults import HalfEvent as HalfEvent
from resilient_sse.testing.server.faults import RedirectLoop as RedirectLoop
from resilient_sse.testing.server.faults import Reorder as Reorder
from resilient_sse.testing.server.faults import Reset as Reset
from resilient_sse.testing.server.faults import Silence as Silence
from resilient_sse.testing.server.faults import Status as Status
from resilient_sse.testing.server.faults import Trickle as Trickle
from resilient_sse.testing.server.faults import TruncatedChunk as TruncatedChunk
from resilient_sse.testing.server.faults import WrongType as WrongType
from resilient_sse.testing.server.publisher import EVENT_TYPE as EVENT_TYPE
from resilient_sse.testing.server.publisher import payload as payload
from resilient_sse.testing.server.publisher import payloads as payloads
from resilient_sse.testing.server.requests import RateLimit as RateLimit
from resilient_sse.testing.server.requests import RequestRecord as RequestRecord
from resilient_sse.testing.server.requests import ServerCounters as ServerCounters
from resilient_sse.testing.server.running import RunningServer as RunningServer
from resilient_sse.testing.server.running import serving as serving
from resilient_sse.testing.server.stores import EventStore as EventStore
from resilient_sse.testing.server.stores import MemoryStore as MemoryStore
from resilient_sse.testing.server.stores import RedisStore as RedisStore
from resilient_sse.testing.server.stores import SQLiteStore as SQLiteStore
from resilient_sse.testing.server.stores import StoredEvent as StoredEvent
from resilient_sse.testing.server.stores import StoreError as StoreError
from resilient_sse.testing.server.streams import HEARTBEAT as HEARTBEAT
from resilient_sse.testing.server.streams import SLOW as SLOW
from resilient_sse.testing.server.streams import TRUNCATED as TRUNCATED
from resilient_sse.testing.server.streams import Block as Block
from resilient_sse.testing.server.streams import Peer as Peer
