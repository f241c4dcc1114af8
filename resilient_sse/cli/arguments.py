"""What commands share: how an option is declared, what its value may be, and how a wrong one is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import click

_MAX_PORT = 65_535
_MOST = 2**63 - 1
_EXIT_CODES = {2: "wrong arguments, or something is not installed", 130: "interrupted by Ctrl-C"}

SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
}
"""Those of every context."""
DEBUG = "resilient_sse.debug"
"""Where a context notes whether tracebacks are wanted."""

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # generic only from click 8.4 on

Decorator: TypeAlias = "Callable[[Callable[..., Any]], Callable[..., Any]]"


class _Option(click.Option):
    """An option that stands under a title of its own in the help, and does not go with some others."""

    def __init__(
        self, *args: Any, section: str = "Options", without: Sequence[str] = (), **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.section = section
        self.without = without

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Take the value; refuse it if one of the others was given, too."""
        both = [name for name in self.without if name in opts and self.name in opts]
        if both:
            ctx.fail(f"{_written(ctx, str(self.name))} does not go with {_written(ctx, both[0])}.")
        return super().handle_parse_result(ctx, opts, args)


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


def option(*names: str, **settings: Any) -> Decorator:
    """Declare an option as `click.option` does, in a *section* of the help; it goes *without* some others."""
    return click.option(*names, cls=_Option, **settings)


def command(
    summary: str, about: str, *, examples: str, exits: Mapping[int, str] | None = None
) -> Callable[[Callable[..., int]], Command]:
    """Make a command of a function that returns an exit code; *exits* says what those of its own mean."""
    codes = sorted({**_EXIT_CODES, **(exits or {})}.items())
    listed = "\n".join(f"  {code:<4} {meaning}" for code, meaning in codes)
    shown = "\n".join(f"  {line}" for line in examples.strip().splitlines())

    def make(function: Callable[..., int]) -> Command:
        made = click.command(
            function.__name__,
            cls=Command,
            help=about,
            short_help=summary,
            epilog=f"\b\nExamples:\n{shown}\n\n\b\nExit codes:\n{listed}",
            context_settings=SETTINGS,
        )(function)
        shows = "Show the traceback of an error."
        debug = _Option(["--debug"], is_flag=True, expose_value=False, callback=_note_debug, help=shows)
        made.params.append(debug)
        return made

    return make


def _note_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


json_option: Decorator = option("--json", "as_json", is_flag=True, help="Print JSON.")
plain_option: Decorator = option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
quiet_option: Decorator = option("-q", "--quiet", is_flag=True, help="Only errors and the result.")
seed_option: Decorator = option(
    "--seed", type=int, metavar="N", help="Decides about all that is random; drawn by default."
)
stdin_option: Decorator = option("--stdin", is_flag=True, help="End when standard input ends.")


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
    """A value of a *kind*, or the word `none` that switches a limit off; the help has the *name*."""

    def __init__(self, kind: Kind, name: str) -> None:
        self.name = name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or `None`."""
        if value == "none":
            return None
        try:
            return self._kind.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.removesuffix('.')}, or none.", param, ctx)


def host_and_port(text: str) -> tuple[str, int]:
    """Return the two of `HOST:PORT`, the host without the brackets of IPv6."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]"), int(port)


COUNT = Whole(min=1)
ABOVE_ZERO = Number(min=0, min_open=True)
NOT_NEGATIVE = Number(min=0)
COUNT_OR_NONE = OrNone(Whole(min=0), "number")
SECONDS_OR_NONE = OrNone(ABOVE_ZERO, "seconds")


def refuse(reason: str) -> NoReturn:
    """Refuse the arguments of the running command, with the way to its help."""
    click.get_current_context().fail(reason)


@contextmanager
def checked() -> Generator[None]:
    """Refuse what the code within refuses; it begins with the name of an argument, an option's takes its place."""
    context = click.get_current_context()
    try:
        yield
    except (TypeError, ValueError) as error:
        name, rest = re.split(r"(?=\W|$)", str(error), maxsplit=1)
        raise click.UsageError(f"{_written(context, name)}{rest}", context) from error


def _written(context: click.Context, name: str) -> str:
    """Return how the option that fills an argument is written."""
    for parameter in context.command.params:
        if parameter.name == name and isinstance(parameter, click.Option):
            return max(parameter.opts, key=lambda written: written.startswith("--"))
    return name
