"""
The command `resilient-sse`: `tail` follows a stream, `demo` shows the library at work.

Each command is imported when it is asked for, so that `--help` and `--version` need nothing that is optional.
"""

from __future__ import annotations

import sys
from io import UnsupportedOperation
from typing import TYPE_CHECKING

from resilient_sse.cli.arguments import DemoOptions, Options, TailOptions, parse
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.fault.arguments import FaultOptions
from resilient_sse.cli.load.arguments import LoadOptions
from resilient_sse.cli.output import closed, nowhere, silence
from resilient_sse.cli.report.arguments import ReportOptions
from resilient_sse.cli.rules.arguments import RulesOptions
from resilient_sse.cli.serve.arguments import ServeOptions
from resilient_sse.cli.top.arguments import TopOptions

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
    if sys.stderr is None:  # the shell's `2>&-`
        sys.stderr = nowhere()
    if sys.stdout is None:  # the shell's `>&-`
        sys.stdout = closed()
    try:
        return _run(_parsed(argv))
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


def _parsed(argv: Sequence[str] | None) -> Options:
    try:
        return parse(argv)
    except (
        UnsupportedOperation
    ):  # help that nobody can read is no fault; argparse says so from Python 3.11.4 on
        raise SystemExit(Exit.ENDED) from None


def _run(options: Options) -> int:
    match options:
        case DemoOptions():
            from resilient_sse.cli.demo import run_demo  # noqa: PLC0415 - see the top

            return run_demo(options)
        case TailOptions():
            from resilient_sse.cli.tail import run_tail  # noqa: PLC0415

            return run_tail(options)
        case TopOptions():
            from resilient_sse.cli.top.command import run_top  # noqa: PLC0415

            return run_top(options)
        case RulesOptions():
            from resilient_sse.cli.rules.command import run_rules  # noqa: PLC0415

            return run_rules(options)
        case ServeOptions():
            from resilient_sse.cli.serve.command import run_serve  # noqa: PLC0415

            return run_serve(options)
        case FaultOptions():
            from resilient_sse.cli.fault.command import run_fault  # noqa: PLC0415

            return run_fault(options)
        case ReportOptions():
            from resilient_sse.cli.report.command import run_report  # noqa: PLC0415

            return run_report(options)
        case LoadOptions():
            from resilient_sse.cli.load.command import run_load  # noqa: PLC0415

            return run_load(options)
