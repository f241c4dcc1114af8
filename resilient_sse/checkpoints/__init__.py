"""Stores for positions, to be passed as `checkpoint`."""

from resilient_sse._core.ports import Checkpoint, CheckpointStore
from resilient_sse.checkpoints.memory import MemoryCheckpoint

__all__ = ["Checkpoint", "CheckpointStore", "MemoryCheckpoint"]
