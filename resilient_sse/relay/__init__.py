"""Streams handed on: into Redis Streams, exactly one copy of each event, and to many browsers."""

from resilient_sse.relay.broadcast import Broadcast
from resilient_sse.relay.config import Config, load_config, run_worker
from resilient_sse.relay.log import Log, Position, RedisLog
from resilient_sse.relay.relay import Relay, RelayError
from resilient_sse.relay.workers import Worker, WorkerStats

__all__ = [
    "Broadcast",
    "Config",
    "Log",
    "Position",
    "RedisLog",
    "Relay",
    "RelayError",
    "Worker",
    "WorkerStats",
    "load_config",
    "run_worker",
]
