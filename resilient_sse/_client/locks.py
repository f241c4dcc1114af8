"""Locks that nobody holds during a fork: in the child they would be held for ever."""

from __future__ import annotations

import os
import threading
from typing import Final


def free_in_forks() -> threading.RLock:
    """Return a lock that a fork waits for; one that is held while another is asked for must be made behind it."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


BRIEFLY: Final = free_in_forks()
"""For a few lines that wait for nothing; a stream that is collected in the midst of them may ask for it again."""
