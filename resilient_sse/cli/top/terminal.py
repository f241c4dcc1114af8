"""A terminal that is drawn over again, and its keys."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

if sys.platform != "win32":
    import termios
    import tty

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from resilient_sse.cli.top.table import Line

__all__ = ["Terminal"]

_FOREVER = 3600.0


class Terminal:
    """
    The screen and the keyboard, between `with` and its end.

    The screen is rich's alternate one: what was on the terminal before is there again afterwards.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._stack = ExitStack()
        self._keys = False

    @property
    def width(self) -> int:
        """In cells."""
        return self._console.width

    @property
    def height(self) -> int:
        """In lines."""
        return self._console.height

    def __enter__(self) -> Self:
        """Take the screen, and the keys as they are pressed."""
        self._keys = self._stack.enter_context(_single_keys())
        self._stack.enter_context(self._live)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give both back."""
        self._stack.close()

    def draw(self, lines: list[Line]) -> None:
        """Draw *lines*, each of which fits."""
        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            for piece, style in line:
                text.append(piece, style or None)
        self._live.update(text, refresh=True)

    def key(self, seconds: float) -> str:
        """Wait for a key, at most so long; return it, or nothing."""
        deadline = time.monotonic() + min(seconds, _FOREVER)
        if not self._keys:
            time.sleep(max(deadline - time.monotonic(), 0))
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return ""
        pressed = os.read(sys.stdin.fileno(), 64)
        if not pressed:  # the keyboard has gone; without this, waiting would take no time any more
            self._keys = False
        return pressed[:1].decode(errors="replace")


@contextmanager
def _single_keys() -> Generator[bool]:
    """Have keys told at once and not shown; give whether that is so."""
    if sys.platform == "win32" or not sys.stdin.isatty():  # there, Ctrl-C ends the command
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
