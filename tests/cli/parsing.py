"""What the command line makes of arguments, without anything being run."""

from collections.abc import Sequence
from types import SimpleNamespace

from resilient_sse.cli.commands import group


def parse(arguments: Sequence[str]) -> SimpleNamespace:
    """Return the values of a command's arguments by name, or raise what click raises."""
    name, *rest = arguments
    command = group.get_command(None, name)
    return SimpleNamespace(**command.make_context(name, rest).params)
