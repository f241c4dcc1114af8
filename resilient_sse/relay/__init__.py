"""Streams of events copied into Redis Streams, exactly one copy of each event, for any number of consumers."""

from resilient_sse.relay.log import Log, Position, RedisLog
from resilient_sse.relay.relay import Relay, RelayError

__all__ = ["Log", "Position", "RedisLog", "Relay", "RelayError"]
