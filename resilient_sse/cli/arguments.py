"""What commands share: how an option is declared, what its value may be, and how a wrong one is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

__all__ = [
    "ABOVE_ZERO",
    "COUNT",
    "COUNT_OR_ZERO",
    "DEBUG",
    "NOT_NEGATIVE",
    "Command",
    "Number",
    "OrNone",
    "Parsed",
    "Whole",
    "checked",
    "command",
    "host_and_port",
    "json_option",
    "option",
    "plain_option",
    "quiet_option",
    "refuse",
    "refuse_both",
    "seed_option",
    "stdin_option",
]

_MAX_PORT = 65_535
_MOST = 2**63 - 1
_EXIT_CODES = {2: "wrong arguments, or something is not installed", 130: "interrupted by Ctrl-C"}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
_DEBUG_HELP = "Show the traceback of an error."

DEBUG = "resilient_sse.debug"
"""Where a context notes whether tracebacks are wanted."""

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # generic only from click 8.4 on

Function = TypeVar("Function", bound=Callable[..., Any])


class _Option(click.Option):
    """An option that stands under a title of its own in the help."""

    def __init__(self, *args: Any, section: str = "Options", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.section = section


class Command(click.Command):
    """A command whose help lists options by section, and whose complaints name it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option that lacks its value would not say whose it is."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(*names: str, section: str = "Options", **settings: Any) -> Callable[[Function], Function]:
    """Declare an option as `click.option` does, under the title *section*."""
    return click.option(*names, cls=_Option, section=section, **settings)


def command(
    about: str, *, examples: str, exits: Mapping[int, str] | None = None
) -> Callable[[Callable[..., int]], Command]:
    """
    Make a command of a function that returns an exit code.

    Args:
        about: What it does.
        examples: Lines for a shell.
        exits: What exit codes mean here; those that all commands have are added.
    """
    codes = sorted({**_EXIT_CODES, **(exits or {})}.items())
    listed = "\n".join(f"  {code:<4} {meaning}" for code, meaning in codes)
    shown = "\n".join(f"  {line}" for line in examples.strip().splitlines())

    def make(function: Callable[..., int]) -> Command:
        made = click.command(
            function.__name__,
            cls=Command,
            help=about,
            epilog=f"\b\nExamples:\n{shown}\n\n\b\nExit codes:\n{listed}",
            context_settings={
                "help_option_names": ["-h", "--help"],
                "max_content_width": 100,
                "show_default": True,
            },
        )(function)
        made.params.append(
            _Option(["--debug"], is_flag=True, expose_value=False, callback=_note_debug, help=_DEBUG_HELP)
        )
        return made

    return make


def _note_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


json_option = option("--json", "as_json", is_flag=True, help="Print JSON.")
plain_option = option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
quiet_option = option("-q", "--quiet", is_flag=True, help="Only errors and the result.")
seed_option = option(
    "--seed", type=int, metavar="N", help="Decides about all that is random; drawn by default."
)
stdin_option = option("--stdin", is_flag=True, help="End when standard input ends.")


class Whole(click.IntRange):
    """A whole number within limits, that fits into 64 bits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        number = int(super().convert(value, param, ctx))
        if number > _MOST:
            self.fail(f"{number} is too large.", param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number within limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class OrNone(Kind):
    """
    A value, or the word `none` that switches a limit off.

    Args:
        kind: What the value is.
    """

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or `None`."""
        if value == "none":
            return None
        try:
            return self._kind.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.removesuffix('.')}, or none.", param, ctx)


class Parsed(Kind):
    """
    What a function makes of the text.

    Args:
        parse: Raises `ValueError` with the reason why not.
    """

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.name = parse.__name__.strip("_")
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what was made of it; a default is one already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def host_and_port(text: str) -> tuple[str, int]:
    """
    Return the two of `HOST:PORT`, the host without the brackets of IPv6.

    Raises:
        ValueError: It is something else.
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit()) or int(port[:6]) > _MAX_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]"), int(port[:6])


COUNT = Whole(min=1)
COUNT_OR_ZERO = Whole(min=0)
ABOVE_ZERO = Number(min=0, min_open=True)
NOT_NEGATIVE = Number(min=0)


def refuse(reason: str) -> NoReturn:
    """Refuse the arguments of the running command, with the way to its help."""
    click.get_current_context().fail(reason)


def refuse_both(*names: str) -> None:
    """Refuse two options that exclude each other."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if len(given) > 1:
        refuse(" and ".join(_option_of(name) for name in given) + " exclude each other.")


@contextmanager
def checked() -> Generator[None]:
    """
    Refuse the arguments where what is made of them does.

    Who refuses begins with the name of an argument; the name of the option takes its place.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        name, space, rest = str(error).partition(" ")
        raise click.UsageError(f"{_option_of(name)}{space}{rest}", click.get_current_context()) from error


def _option_of(name: str) -> str:
    """Return how the option that fills an argument is written."""
    for parameter in click.get_current_context().command.params:
        if parameter.name == name and isinstance(parameter, click.Option):
            return max(parameter.opts, key=lambda written: written.startswith("--"))
    return name
