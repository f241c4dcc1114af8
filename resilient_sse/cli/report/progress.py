"""How far a report is: one line on standard error that changes, or plain lines where nobody watches."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Progress"]

_EVERY = 0.2
_BAR = 24


class Progress:
    """
    Shows how many runs are over, and that time passes.

    Args:
        total: How many runs there are.
        plain: Print a line for each run, also on a terminal.
    """

    def __init__(self, total: int, *, plain: bool) -> None:
        self._total = total
        self._moving = sys.stderr.isatty() and not plain
        self._finished: list[str] = []
        self._begun = time.monotonic()
        self._over = threading.Event()
        # A thread: virtual time leaves the loop no real moment in which it could draw.
        self._thread = threading.Thread(target=self._draw_on, daemon=True)

    def done(self, run: str) -> None:
        """Take note that *run* is over."""
        self._finished.append(run)
        if not self._moving:
            print(f"{self._seconds:5.1f} s  {run}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._moving:
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, and take the line away."""
        self._over.set()
        if self._moving:
            self._thread.join()
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _draw_on(self) -> None:
        while not self._over.wait(_EVERY):
            share = len(self._finished) / self._total
            bar = "#" * round(share * _BAR)
            line = f"[{bar:<{_BAR}}] {len(self._finished)} of {self._total} runs, {self._seconds:.0f} s"
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
