"""The command with its commands; what they need is imported when they run, so help and completion are quick."""

from __future__ import annotations

import os
import traceback
from typing import Final, cast

import click
from click.shell_completion import shell_complete

from resilient_sse._core.errors import (
    BadStatusError,
    HandshakeError,
    ResilientSSEError,
    RetriesExhaustedError,
)
from resilient_sse.cli.arguments import DEBUG, SETTINGS
from resilient_sse.cli.demo import demo
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.fault import fault
from resilient_sse.cli.load import load
from resilient_sse.cli.probe import probe
from resilient_sse.cli.relay import relay
from resilient_sse.cli.report import report
from resilient_sse.cli.rules import rules
from resilient_sse.cli.serve import serve
from resilient_sse.cli.tail import tail
from resilient_sse.cli.top import top
from resilient_sse.testing.wire import counted

_EXCERPT_CHARACTERS: Final = 200
_PROGRAM: Final = "resilient-sse"
_COMPLETE: Final = "_RESILIENT_SSE_COMPLETE"  # click's name for the variable by which a shell asks


class _Commands(click.Group):
    """Commands in an order of our own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """Return the names."""
        return [*self.commands]


@click.group(
    _PROGRAM,
    cls=_Commands,
    commands=[demo, tail, probe, relay, top, rules, serve, fault, report, load],
    no_args_is_help=False,
    context_settings=SETTINGS,
    help="Server-Sent Events that survive drops, stalls and restarts.",
    epilog="\b\nExample:\n  resilient-sse tail https://host/stream --until done",
)
@click.version_option(package_name="resilient-sse", message="%(prog)s %(version)s")
def group() -> None:
    """Run one of the commands."""


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name, and return its exit code."""
    asked = os.environ.get(_COMPLETE)
    if asked:
        return shell_complete(group, {}, _PROGRAM, _COMPLETE, asked)
    context: click.Context | None = None
    try:
        # click's own `main` answers for broken pipes and Ctrl-C in its own way.
        context = group.make_context(_PROGRAM, arguments)
        code: int = group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except Exception as error:
        if context is not None and context.meta.get(DEBUG):
            traceback.print_exc()
        while isinstance(error, ExceptionGroup):  # of a task group: the first is what it is about
            error = cast("ExceptionGroup[Exception]", error).exceptions[0]
        if isinstance(error, OSError):
            raise error from None
        return _explain(error)
    return code


def _explain(error: Exception) -> int:
    """Say in one line what is wrong, and return the exit code."""
    match error:
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else _PROGRAM
            complain(f"{error.format_message().rstrip('.')}; see '{path} --help'", path)
            return Exit.USAGE
        case ModuleNotFoundError():
            own = "install" in str(error)  # ours names the extra
            complain(str(error) if own else f"{error}; install it with: pip install 'resilient-sse[cli]'")
            return Exit.USAGE
        case RetriesExhaustedError():
            failed = counted(error.attempts, "failed attempt")
            complain(f"gave up after {failed} in {error.elapsed:.1f} s: {error.__cause__}")
            return Exit.GAVE_UP
        case HandshakeError():
            complain(f"{error}{_excerpt(error)}")
            return Exit.REFUSED
        case ResilientSSEError():
            complain(str(error))
        case _:
            complain(f"{type(error).__name__}: {error}; this is a fault of the program, --debug shows where")
    return Exit.OTHER


def _excerpt(error: HandshakeError) -> str:
    """Quote the start of an error's body: an API tells there what it missed.  A web page tells nothing."""
    is_page = "html" in error.headers.get("content-type", "").lower()
    if not isinstance(error, BadStatusError) or is_page or not error.body_excerpt.strip():
        return ""
    return f": {error.body_excerpt.strip()[:_EXCERPT_CHARACTERS]}"
