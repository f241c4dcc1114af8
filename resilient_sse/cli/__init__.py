"""
The command `resilient-sse`: `tail` follows a stream, `demo` shows the library at work.

Each command is imported when it is asked for, so that `--help` and `--version` need nothing that is optional.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from resilient_sse.cli.arguments import DemoOptions, parse
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.output import silence

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Args:
        argv: The arguments without the program's name; `None` takes those of the process.

    Returns:
        The exit code, one of `Exit`.
    """
    try:
        options = parse(argv)
        if isinstance(options, DemoOptions):
            from resilient_sse.cli.demo import run_demo  # noqa: PLC0415 - see the top

            return run_demo(options)
        from resilient_sse.cli.tail import run_tail  # noqa: PLC0415 - see the top

        return run_tail(options)
    except SystemExit as stop:  # argparse has said what there was to say
        return stop.code if isinstance(stop.code, int) else Exit.ENDED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)
        return Exit.BROKEN_PIPE
    except OSError as error:
        silence(sys.stdout)
        complain(f"the output cannot be written: {error}")
        return Exit.OTHER
