"""Where a command writes: text made harmless for terminals, and a standard output that may be a pipe."""

from __future__ import annotations

import json
import os
import re
import select
import stat
import sys
from typing import TYPE_CHECKING, Final, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

# Nobody else may move the cursor, set the title, answer for the user or turn a line around: C0 but for tab and
# line feed, DEL, C1, which some terminals obey too, marks of direction; and surrogates, which have no encoding.
_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    r"""Write what a terminal would obey, or what turns a line around, as `\x1b`; tabs and line feeds stay."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_json(value: object) -> str:
    """Return *value* as JSON that is harmless for terminals, and has other letters as they are."""
    text = json.dumps(value, ensure_ascii=False)
    return _HARMFUL.sub(lambda found: json.dumps(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Write *text* as `escape` does, and on one line."""
    return " ".join(escape(text).split())


def show(*drawn: RenderableType, width: int = 80, plain: bool = False) -> None:
    """Print what rich draws, *plain* without colours; *width* is that of a pipe or a file."""
    from rich.console import Console

    colours: Literal["auto"] | None = None if plain else "auto"
    console = Console(highlight=False, color_system=colours, width=None if sys.stdout.isatty() else width)
    with console.capture() as capture:  # rich itself ends the process where nobody reads it
        console.print(*drawn, sep="\n")
    print(*(line.rstrip() for line in capture.get().rstrip("\n").split("\n")), sep="\n", flush=True)


def silence(stream: TextIO) -> None:
    """Point *stream* nowhere, or the interpreter would complain at its end about what could not be written."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, stream.fileno())
    except (OSError, ValueError):  # it has no descriptor of its own
        pass
    finally:
        os.close(devnull)


class Output:
    """
    Where events go, flushed at each write.

    Nothing is queued: a slow reader slows the stream down.  Where it is a pipe, waiting for its reader leaves the
    event loop free, so that Ctrl-C and `--timeout` still work.
    """

    def __init__(self, stream: TextIO) -> None:
        self.terminal: bool = stream.isatty()
        self._stream = stream
        self._pipe = _pipe(stream)

    async def write(self, text: str) -> None:
        """Write *text* as UTF-8; to a terminal, in the terminal's encoding."""
        if self.terminal:
            import click

            encoding = self._stream.encoding
            # click translates colours where a terminal needs it.
            click.echo(text.encode(encoding, "backslashreplace").decode(encoding), self._stream, nl=False)
            return
        data = text.encode("utf-8", "backslashreplace")
        if self._pipe is None:
            self._stream.buffer.write(data)
            self._stream.buffer.flush()
            return
        from anyio import wait_writable

        rest = memoryview(data)
        while rest:
            await wait_writable(self._pipe)
            # A pipe that is ready takes this much without blocking.
            rest = rest[os.write(self._pipe, rest[: select.PIPE_BUF]) :]

    async def watch(self) -> None:
        """Raise `BrokenPipeError` as soon as nobody reads the pipe; on a quiet stream no write would find out."""
        if self._pipe is None:
            return
        from anyio import wait_readable

        try:
            await wait_readable(self._pipe)
        except (NotImplementedError, OSError):
            return  # then the next write finds out
        poll = select.poll()
        poll.register(self._pipe, 0)  # errors are reported whether asked for or not
        if poll.poll(0):
            raise BrokenPipeError


def _pipe(stream: TextIO) -> int | None:
    """Return the descriptor of *stream* if it is a pipe that can be waited for."""
    try:
        descriptor = stream.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        return None
    return descriptor if is_pipe and hasattr(select, "poll") else None
