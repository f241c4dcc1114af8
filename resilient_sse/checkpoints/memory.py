"""Positions for the life of a process: several streams of one program, and tests."""

from __future__ import annotations

from resilient_sse._client.locks import BRIEFLY
from resilient_sse._core.errors import moved
from resilient_sse._core.ports import Checkpoint

__all__ = ["MemoryCheckpoint"]


class MemoryCheckpoint:
    """
    A store in memory.

    It outlives streams but not the process, and it shows the contract of `CheckpointStore`: one position for
    each key, replaced only by who knows the present one.
    """

    def __init__(self) -> None:
        self._positions: dict[str, Checkpoint] = {}

    async def load(self, key: str) -> Checkpoint | None:
        """Return the position saved under *key*, or `None`."""
        return self._positions.get(key)

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position over *expected*.

        Raises:
            CheckpointError: Another consumer has saved in between.
        """
        with BRIEFLY:
            present = self._positions.get(key)
            if present != expected:
                raise moved(key)
            saved = Checkpoint(last_event_id, version=1 if present is None else present.version + 1)
            self._positions[key] = saved
            return saved

    def __repr__(self) -> str:
        """Show how many positions are held, not where they point."""
        return f"<MemoryCheckpoint of {len(self._positions)} positions>"
