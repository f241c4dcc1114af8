"""What `load` accepts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from resilient_sse.cli.numbers import above_zero, count, number

__all__ = ["LoadOptions", "add_load", "load_options"]

_PRESETS = ("ci", "thousand", "soak", "ten-thousand")

_DESCRIPTION = """\
Run many streams in this process against the reference server, over networks that are slow and break, and
measure them: messages, reconnect times, CPU and memory.  Server and networks are processes of their own.
Needs the extra resilient-sse[testing].
"""

_EPILOG = """\
presets (what else is given replaces a part of them):
  ci            100 users, 50 messages each, on 4G, 360 resets a minute
  thousand      1,000 users for 2 minutes, 20 % on 3G and 80 % on 4G, 30 resets a minute
  soak          the same for 30 minutes; memory must not grow
  ten-thousand  10,000 users for 3 minutes, a message every 10 s each, without a network before the server

exit codes:
  0    every gate was passed
  1    a gate was not passed, or the server or the network died
  2    wrong arguments, not enough open files, or something is not installed
  130  interrupted by Ctrl-C
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What `load` was asked for; `None` leaves it to the preset, or else to the defaults of `LoadPlan`."""

    preset: str | None = None
    users: int | None = None
    messages: int | None = None
    duration: float | None = None
    rate: float | None = None
    profiles: str | None = None
    drops: float | None = None
    ramp: float | None = None
    seed: int | None = None
    deadline: float | None = None
    dedup_window: int | None = None
    proxy: bool = True
    target: str | None = None
    json: bool = False
    output: Path | None = None
    quiet: bool = False


def add_load(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("--preset", choices=_PRESETS, help="a run with a name; see below")
    load = parser.add_argument_group("load")
    load.add_argument("--users", type=count, metavar="N", help="streams, each of a user of its own; 100")
    length = load.add_mutually_exclusive_group()
    length.add_argument("--messages", type=count, metavar="N", help="messages for each user; 50")
    length.add_argument("--duration", type=above_zero, metavar="SECONDS", help="send messages for so long")
    load.add_argument("--rate", type=above_zero, metavar="R", help="messages a second for each user; 1")
    load.add_argument("--ramp", type=_seconds, metavar="SECONDS", help="open the streams over so long")
    load.add_argument(
        "--dedup-window", type=count, metavar="N", help="events that each stream remembers; 1000"
    )
    load.add_argument("--deadline", type=above_zero, metavar="SECONDS", help="end the run in any case")
    network = parser.add_argument_group("network")
    network.add_argument("--profiles", metavar="LIST", help="such as 4g, or 3g:20,4g:80 for shares; 4g")
    network.add_argument("--drops", type=_seconds, metavar="R", help="random resets a minute, in all; 0")
    network.add_argument("--seed", type=int, metavar="N", help="decides which; random by default")
    network.add_argument("--no-proxy", action="store_true", help="no network: straight to the server")
    network.add_argument(
        "--target",
        metavar="URL",
        help="a server of your own instead of the reference server, with --no-proxy; {user} becomes a number",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    output.add_argument("--output", type=Path, metavar="FILE", help="write the result to a file, as JSON")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress")


def load_options(given: argparse.Namespace) -> LoadOptions:
    """
    Make options of what was parsed.

    Raises:
        ValueError: They contradict each other.
    """
    if given.target is not None:
        if not given.target.startswith(("http://", "https://")):
            raise ValueError(f"--target must be an http or https URL, not {given.target!r}")
        if not given.no_proxy:
            raise ValueError("--target is measured as it is, without a network: say --no-proxy, too")
    if given.no_proxy and (given.profiles is not None or given.drops):
        raise ValueError("--profiles and --drops are about the network that --no-proxy leaves out")
    if given.output is not None and not given.output.absolute().parent.is_dir():
        raise ValueError(f"--output: there is no directory {given.output.parent}")
    if given.output is not None and given.output.is_dir():
        raise ValueError(f"--output: {given.output} is a directory; name a file in it")
    return LoadOptions(
        preset=given.preset,
        users=given.users,
        messages=given.messages,
        duration=given.duration,
        rate=given.rate,
        profiles=given.profiles,
        drops=given.drops,
        ramp=given.ramp,
        seed=given.seed,
        deadline=given.deadline,
        dedup_window=given.dedup_window,
        proxy=not given.no_proxy,
        target=given.target,
        json=given.json,
        output=given.output,
        quiet=given.quiet,
    )


def _seconds(text: str) -> float:
    value = number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return value
