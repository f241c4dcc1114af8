"""What every store says when the position is not the one that the caller knows."""

from resilient_sse._core.errors import CheckpointError

__all__ = ["moved"]


def moved(key: str) -> CheckpointError:
    """Return the error for a save over a position that somebody else has moved."""
    return CheckpointError(
        "another consumer has moved this position; give each a checkpoint_key of its own", key=key
    )
