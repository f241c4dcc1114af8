"""The command line: what is accepted, checked, and made into options."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import resilient_sse
from resilient_sse.cli.fault.arguments import FaultOptions, add_fault, fault_options
from resilient_sse.cli.load.arguments import LoadOptions, add_load, load_options
from resilient_sse.cli.numbers import count, digits, seconds_or_none
from resilient_sse.cli.report.arguments import ReportOptions, add_report, report_options
from resilient_sse.cli.rules.arguments import RulesOptions, add_rules, rules_options
from resilient_sse.cli.serve.arguments import ServeOptions, add_serve, serve_options
from resilient_sse.cli.top.arguments import TopOptions, add_top, top_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DemoOptions", "Options", "TailOptions", "parse"]

_EXIT_CODES = """\
exit codes:
  0    the stream is complete, or --count was reached
  1    gave up: retries are spent
  2    wrong arguments
  3    the answer is no event stream (status or content type)
  4    another failure of the stream or of the output
  124  --timeout has passed
  130  interrupted by Ctrl-C
  141  the reader of the output went away
"""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What `demo` was asked for."""

    seed: int | None = None
    plain: bool = False
    sabotage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What `tail` was asked for; the names are those of `ResilientStream` where it has them."""

    url: str
    method: str = "GET"
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    content: bytes | None = None
    auth: tuple[str, str] | None = None
    last_event_id: str | None = None
    resume_param: str | None = None
    form: str = "text"
    events: frozenset[str] | None = None
    until: str | None = None
    count: int | None = None
    timeout: float | None = None
    stall_timeout: float | None = 30.0
    max_retries: int | None = 5
    complete_on_eof: bool = False
    quiet: bool = False
    verbose: bool = False


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see '{self.prog} --help'\n")


Options: TypeAlias = (
    DemoOptions
    | TailOptions
    | TopOptions
    | RulesOptions
    | ServeOptions
    | FaultOptions
    | ReportOptions
    | LoadOptions
)


def parse(argv: Sequence[str] | None = None) -> Options:
    """
    Parse the arguments.

    Raises:
        SystemExit: Help was asked for (0), or the arguments make no sense (2).
    """
    parser = _Parser(
        prog="resilient-sse",
        description="Server-Sent Events that survive drops, stalls and restarts.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {resilient_sse.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made: dict[str, Callable[[argparse.Namespace], Options]] = {}
    named: dict[str, argparse.ArgumentParser] = {}
    for name, about, add, options in (
        ("demo", "watch a stream survive a bad network (about 20 s)", _add_demo, _demo_options),
        ("tail", "follow a stream and print its events", _add_tail, _tail_options),
        ("top", "watch the streams of a running program", add_top, top_options),
        ("rules", "write alert rules, monitors and a dashboard", add_rules, rules_options),
        ("serve", "run the reference server", add_serve, serve_options),
        ("fault", "put a bad network before a server", add_fault, fault_options),
        ("report", "play the production scenarios and report", add_report, report_options),
        ("load", "put many streams on a server and measure", add_load, load_options),
    ):
        named[name] = commands.add_parser(name, help=about, allow_abbrev=False)
        add(named[name])
        made[name] = options
    given = parser.parse_args(argv)
    try:
        return made[given.command](given)
    except (OSError, ValueError) as error:
        named[given.command].error(str(error))


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.description = (
        "Start a server on this machine, stream a reply of 50 messages from it over connections that break in "
        "four ways, and show that none is lost and none repeated.  Needs the extra resilient-sse[demo]."
    )
    demo.epilog = (
        "exit codes: 0 all promises kept, 1 not, 2 wrong arguments or something is not installed, "
        "130 interrupted by Ctrl-C"
    )
    demo.add_argument("--seed", type=int, metavar="N", help="decides where faults strike; random by default")
    demo.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    # For tests of the demo's own checks: a server that really does wrong must be found out.
    demo.add_argument("--sabotage", choices=["calm", "lose", "repeat"], help=argparse.SUPPRESS)


def _demo_options(given: argparse.Namespace) -> DemoOptions:
    return DemoOptions(seed=given.seed, plain=given.plain, sabotage=given.sabotage)


def _add_tail(tail: argparse.ArgumentParser) -> None:
    tail.formatter_class = argparse.RawDescriptionHelpFormatter
    tail.description = (
        "Follow an event stream, reconnecting and resuming as needed.\n"
        "Events go to standard output, everything else to standard error."
    )
    tail.epilog = _EXIT_CODES
    tail.add_argument("url", metavar="URL", help="http:// is assumed if it has no scheme")
    _add_request(tail)
    _add_stream(tail)
    output = tail.add_argument_group("output")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="a JSON object a line")
    form.add_argument("--raw", dest="form", action="store_const", const="raw", help="the data only")
    talk = output.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", "-s", "--silent", action="store_true", help="no states, only errors")
    talk.add_argument("-v", "--verbose", action="store_true", help="response headers and comments, too")
    output.add_argument("-N", "--no-buffer", action="store_true", help="ignored: nothing is ever buffered")


def _add_request(tail: argparse.ArgumentParser) -> None:
    request = tail.add_argument_group("request, as curl has it")
    request.add_argument("-X", "--request", metavar="METHOD", help="GET by default, POST with -d")
    request.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="repeatable",
    )
    request.add_argument(
        "-d",
        "--data",
        metavar="DATA",
        action="append",
        help="the body; @FILE reads it, @- from standard input",
    )
    request.add_argument(
        "-u", "--user", metavar="USER:PASSWORD", help="a password that is not given is asked for"
    )


def _add_stream(tail: argparse.ArgumentParser) -> None:
    stream = tail.add_argument_group("stream")
    stream.add_argument("--last-event-id", metavar="ID", help="resume after this id")
    stream.add_argument("--resume-param", metavar="NAME", help="a query parameter that carries the id too")
    stream.add_argument("--events", metavar="A,B", type=_types, help="only events of these types")
    stream.add_argument(
        "--stall-timeout",
        metavar="SECONDS",
        type=seconds_or_none,
        default=30.0,
        help="silence after which the connection is replaced, or none; 30 by default",
    )
    retries = stream.add_mutually_exclusive_group()
    retries.add_argument(
        "--max-retries",
        metavar="N",
        type=_retries,
        default=5,
        help="how many attempts may fail in a row after the first, or none for no limit; 5 by default",
    )
    retries.add_argument(
        "--no-reconnect", action="store_true", help="a single connection, whose clean end is the end"
    )
    end = tail.add_argument_group("end")
    end.add_argument("--until", metavar="TYPE", help="end after the first event of this type")
    end.add_argument("--count", metavar="N", type=count, help="end after so many events")
    end.add_argument(
        "--timeout", metavar="SECONDS", type=seconds_or_none, help="end after so long, with exit code 124"
    )
    end.add_argument("--complete-on-eof", action="store_true", help="a clean end of the response is the end")


def _tail_options(given: argparse.Namespace) -> TailOptions:
    headers: list[tuple[str, str]] = list(given.header)
    content = _body(given.data)
    if content is not None and "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    return TailOptions(
        url=given.url if "://" in given.url else f"http://{given.url}",
        method=given.request or ("GET" if content is None else "POST"),
        headers=headers,
        content=content,
        auth=_credentials(given.user),
        last_event_id=given.last_event_id,
        resume_param=given.resume_param,
        form=given.form or "text",
        events=given.events,
        until=given.until,
        count=given.count,
        timeout=given.timeout,
        stall_timeout=given.stall_timeout,
        max_retries=0 if given.no_reconnect else given.max_retries,
        complete_on_eof=given.complete_on_eof or given.no_reconnect,
        quiet=given.quiet,
        verbose=given.verbose,
    )


def _body(parts: list[str] | None) -> bytes | None:
    """Join the parts as curl does: with `&`, and files without their line ends."""
    if parts is None:
        return None
    return b"&".join(_read(part[1:]) if part.startswith("@") else os.fsencode(part) for part in parts)


def _read(name: str) -> bytes:
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    return data.translate(None, b"\r\n\0")


def _credentials(user: str | None) -> tuple[str, str] | None:
    if user is None:
        return None
    name, colon, password = user.partition(":")
    if colon:
        return name, password
    if not sys.stdin.isatty():
        raise ValueError("-u needs USER:PASSWORD where nobody can be asked for the password")
    return name, getpass.getpass(f"Password for {name!r}: ")


def _header(text: str) -> tuple[str, str]:
    if text.endswith(";") and ":" not in text:  # curl's way to send an empty value
        text = f"{text[:-1]}:"
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not 'Name: value'")
    value = value.strip(" \t")
    if any(c in value for c in "\r\n\0"):
        raise argparse.ArgumentTypeError(f"the value of {name} contains a line end")
    return name, value


def _types(text: str) -> frozenset[str]:
    types = frozenset(text.split(",")) - {""}
    if not types:
        raise argparse.ArgumentTypeError("no event type is named")
    return types


def _retries(text: str) -> int | None:
    if text == "none":
        return None
    retries = digits(text)
    if retries is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more, or none")
    return retries
