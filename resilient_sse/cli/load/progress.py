"""How far a run has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient_sse.testing.load import Progress

__all__ = ["sentence", "showing"]

_MIB = 1024 * 1024
_PLAIN_SECONDS = 10.0


def sentence(progress: Progress) -> str:
    """Say how far it is."""
    of = "" if progress.expected is None else f"/{progress.expected}"
    parts = [
        f"{progress.open}/{progress.users} open",
        *([f"{progress.reconnecting} reconnecting"] if progress.reconnecting else []),
        *([f"{progress.ended} ended"] if progress.ended else []),
        f"{progress.received}{of} messages",
    ]
    if progress.cpu is not None:
        parts.append(f"CPU {progress.cpu:.0%}")
    if progress.resident is not None:
        parts.append(f"{progress.resident / _MIB:.0f} MiB")
    return ", ".join(parts)


@contextmanager
def showing(*, quiet: bool) -> Generator[Callable[[Progress], None] | None]:
    """
    Show progress on standard error for the time of the block.

    Yields:
        What is to be given the progress; `None` if nothing is to be shown.
    """
    if quiet:
        yield None
    elif sys.stderr.isatty() and find_spec("rich") is not None:
        with _bar() as told:
            yield told
    else:
        yield _lines()


def _lines() -> Callable[[Progress], None]:
    """Print a line every ten seconds."""
    due = 0.0

    def told(progress: Progress) -> None:
        nonlocal due
        if progress.seconds >= due:
            due = progress.seconds + _PLAIN_SECONDS
            print(f"{progress.seconds:6.0f} s  {sentence(progress)}", file=sys.stderr, flush=True)

    return told


@contextmanager
def _bar() -> Generator[Callable[[Progress], None]]:
    from rich.console import Console  # noqa: PLC0415 - it is optional
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (TimeElapsedColumn(), BarColumn(), TextColumn("{task.description}"))
    # Drawn with each report and not by a thread: the CPU that is measured is that of this process.
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def told(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.expected,
                completed=progress.received,
                description=sentence(progress),
                refresh=True,
            )

        yield told
