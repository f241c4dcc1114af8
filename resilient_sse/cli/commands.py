"""The commands, each imported when it is asked for, so that help and completion need nothing heavy."""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem, shell_complete

from resilient_sse.cli.arguments import DEBUG, SETTINGS
from resilient_sse.cli.exits import Exit, complain

__all__ = ["group", "run"]

_PROGRAM: Final = "resilient-sse"
_COMPLETE: Final = "_RESILIENT_SSE_COMPLETE"  # click's name for the variable by which a shell asks
_ABOUT: Final = {
    "demo": "Watch a stream survive a bad network (about 20 s).",
    "tail": "Follow a stream and print its events.",
    "relay": "Copy streams into Redis Streams.",
    "top": "Watch the streams of a running program.",
    "rules": "Write alert rules, monitors and a dashboard.",
    "serve": "Run the reference server.",
    "fault": "Put a bad network before a server.",
    "report": "Play the production scenarios and report.",
    "load": "Put many streams on a server and measure.",
}


class _Commands(click.Group):
    """The command, which knows of its commands only their names and what they are about."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """Return the names."""
        return [*_ABOUT]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in _ABOUT:
            return None
        module = import_module(f"resilient_sse.cli.{cmd_name}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([*_ABOUT.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, or an option."""
        names = [name for name in _ABOUT if name.startswith(incomplete)]
        items = [CompletionItem(name, help=_ABOUT[name]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    _PROGRAM,
    cls=_Commands,
    no_args_is_help=False,
    context_settings=SETTINGS,
    help="Server-Sent Events that survive drops, stalls and restarts.",
    epilog="\b\nExample:\n  resilient-sse tail https://host/stream --until done",
)
@click.version_option(package_name="resilient-sse", message="%(prog)s %(version)s")
def group() -> None:
    """Run one of the commands."""


def run(arguments: list[str]) -> int:
    """
    Run the command that the arguments name, and return its exit code.

    Raises:
        OSError: The output cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
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
        if isinstance(error, OSError):
            raise
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
        case _:
            complain(f"{type(error).__name__}: {error}; this is a fault of the program, --debug shows where")
            return Exit.OTHER
