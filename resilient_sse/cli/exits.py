"""How a command ends: its exit codes, the one line that says why, and how it is told: SIGTERM, standard input."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from enum import IntEnum
from threading import Semaphore, Thread

from resilient_sse.cli.output import one_line

_READ_BYTES = 4096  # what a loop can do without leaving others waiting


class Exit(IntEnum):
    """The exit codes.  Where another program has made a number known, it is that one."""

    ENDED = 0
    """The stream was complete, or enough was received; the demo kept its promises."""
    GAVE_UP = 1
    """Retries are spent; the demo did not keep its promises."""
    USAGE = 2
    """The arguments make no sense, or something optional is not installed.  As argparse does."""
    REFUSED = 3
    """The server's answer is no event stream: its status, or its content type."""
    OTHER = 4
    """The stream or the output failed in another way."""
    TIMEOUT = 124
    """`--timeout` has passed.  As timeout(1) does."""
    INTERRUPTED = 130
    """Ctrl-C.  As shells report it."""
    BROKEN_PIPE = 141
    """The reader of the output went away.  As shells report SIGPIPE."""
    TERMINATED = 143
    """SIGTERM, where it leaves something undone: servers and the relay are ended by it as they should be."""


def complain(text: str, who: str = "resilient-sse") -> None:
    """Say on standard error, in one line, what went wrong."""
    print(f"{who}: error: {one_line(text)}", file=sys.stderr, flush=True)


def at_sigterm(stop: Callable[[], object]) -> None:
    """Have *stop* called in the present event loop at SIGTERM; a second one ends the process as ever."""
    import asyncio

    loop = asyncio.get_running_loop()

    def stopped() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        stop()

    with suppress(NotImplementedError, RuntimeError):  # Windows; a thread, which gets no signals
        loop.add_signal_handler(signal.SIGTERM, stopped)


def open_more_files() -> None:
    """Have the system allow as many open files as it can: at the 1,024 of a shell, others wait without a word."""
    with suppress(ImportError, OSError, ValueError):  # Windows; a limit that cannot be had
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def stdin_chunks() -> AsyncIterator[bytes]:
    """
    Yield what comes on standard input until it ends, as it does, too, when whoever started this process has died.

    Nothing is read ahead: a writer that is faster than what is done with it waits.
    A thread of our own reads, for a loop waits for its workers at the end; and not by way of the buffered file,
    whose lock Python would find held at exit.
    """
    import asyncio

    loop, chunks, wanted = asyncio.get_running_loop(), asyncio.Queue[bytes](), Semaphore()

    def read() -> None:
        data = b"more"
        while data:
            wanted.acquire()
            try:
                # Without a standard input, its number may be that of any file that was opened since.
                data = b"" if sys.stdin is None else os.read(0, _READ_BYTES)
            except OSError:
                data = b""
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(chunks.put_nowait, data)

    Thread(target=read, daemon=True).start()
    while data := await chunks.get():
        yield data
        wanted.release()
