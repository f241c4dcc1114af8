"""What `top` accepts."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TypeAlias

from resilient_sse.cli.numbers import digits, host_and_port, number

__all__ = ["SORTS", "Address", "TopOptions", "add_top", "top_options"]

Address: TypeAlias = int | str | tuple[str, int]
"""A process, the path of a socket, or a host and a port."""

SORTS = ("trouble", "name", "rate", "age", "lag", "lost", "reconnects")
"""What streams can be sorted by; the worst comes first."""

_SHORTEST = 0.1
_LONGEST = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOptions:
    """What `top` was asked for; without an address, what there is to be asked."""

    address: Address | None = None
    interval: float = 1.0
    sort: str = "trouble"
    once: bool = False
    json: bool = False
    plain: bool = False


def add_top(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Watch the streams of a running program, which must have opened a console:\n"
        "  console = Console(); ResilientStream(url, observers=[console]); async with console: ...\n"
        "Keys: q ends it, s sorts by something else."
    )
    parser.epilog = (
        "exit codes: 0 ended as asked, or the program has ended; 2 wrong arguments; "
        "4 nobody answers, or not as a console does; 130 interrupted by Ctrl-C"
    )
    parser.usage = "%(prog)s [-h] [options] [PID|PATH|HOST:PORT]"
    parser.add_argument(
        "addresses",
        metavar="PID|PATH|HOST:PORT",
        type=_address,
        nargs="*",  # one at most; argparse would send those who give two to the help of another command
        help="one process, or where its console listens; without it, the programs with a console are listed",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=1.0,
        help="between two looks; 1 by default.  Rates are those in between",
    )
    parser.add_argument(
        "--sort", choices=SORTS, default="trouble", help="what comes first; trouble by default"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--once", action="store_true", help="look twice, an interval apart, print, and end")
    output.add_argument("--json", action="store_true", help="a JSON object a look; with --once, a single one")
    output.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")


def top_options(given: argparse.Namespace) -> TopOptions:
    """
    Make options of what was parsed.

    Raises:
        ValueError: There are several addresses.
    """
    if len(given.addresses) > 1:
        raise ValueError("top watches one program at a time; run it again for each other one")
    return TopOptions(
        address=given.addresses[0] if given.addresses else None,
        interval=given.interval,
        sort=given.sort,
        once=given.once,
        json=given.json,
        plain=given.plain,
    )


def _address(text: str) -> Address:
    if process := digits(text):
        return process
    if os.sep in text or text.endswith(".sock"):
        return text
    if (address := host_and_port(text)) is not None:
        return address
    raise argparse.ArgumentTypeError(
        f"{text!r} is not the number of a process, a path such as ./app.sock, or HOST:PORT"
    )


def _interval(text: str) -> float:
    seconds = number(text)
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {_SHORTEST:g} to {_LONGEST:g}"
        )
    return seconds
