"""
The command `resilient-sse`: `tail` follows a stream, `demo` shows the library at work.

It is made with click, which the extra `cli` brings, as do `testing` and `demo`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.output import silence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with *argv*, or the arguments of the process, and return the exit code, one of `Exit`."""
    if sys.stderr is None:  # the shell's `2>&-`
        sys.stderr = io.StringIO()
    if sys.stdout is None:  # the shell's `>&-`
        complain("the output cannot be written: it is closed")
        return Exit.OTHER
    # A name may have letters that the terminal has not; a stand-in has them all.
    with suppress(AttributeError):
        cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        from resilient_sse.cli.commands import run

        return run(sys.argv[1:] if argv is None else [*argv])
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        complain("the command line needs click; install it with: pip install 'resilient-sse[cli]'")
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)
        return Exit.BROKEN_PIPE
    except OSError as error:
        silence(sys.stdout)
        complain(f"the output cannot be written: {error}")
        return Exit.OTHER
