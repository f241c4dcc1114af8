"""Stores for positions, to be passed as `checkpoint`."""

from resilient_sse._core.ports import Checkpoint, CheckpointStore
from resilient_sse.checkpoints.memory import MemoryCheckpoint
from resilient_sse.checkpoints.redis import RedisCheckpoint
from resilient_sse.checkpoints.sql import SQLCheckpoint
from resilient_sse.checkpoints.sqlite import SQLiteCheckpoint

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "MemoryCheckpoint",
    "RedisCheckpoint",
    "SQLCheckpoint",
    "SQLiteCheckpoint",
]
