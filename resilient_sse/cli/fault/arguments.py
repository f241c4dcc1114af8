"""What `fault` accepts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from resilient_sse.cli.numbers import digits, host_and_port, number

__all__ = ["FaultOptions", "Flap", "Handoff", "add_fault", "fault_options"]

_MAX_FLAPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flap:
    """The network goes and comes back, `len(downs)` times."""

    downs: tuple[float, ...]
    up: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """One network gives way to another."""

    before: str
    after: str
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    """What `fault` was asked for; names of profiles and toxics are not looked up yet."""

    target: tuple[str, int]
    listen: tuple[str, int] = ("127.0.0.1", 0)
    profile: str | None = None
    toxics: tuple[str, ...] = ()
    moments: tuple[tuple[float, str], ...] = ()
    flap: Flap | None = None
    handoff: Handoff | None = None
    after: float | None = None
    seed: int | None = None
    json: bool = False
    stdin: bool = False


def add_fault(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Stand between clients and a server as a network that is slow, lossy, absent or changing.  "
        "Runs until Ctrl-C, or with --stdin until its standard input ends."
    )
    parser.epilog = (
        "exit codes: 0 ended as asked, 2 wrong arguments or a port that cannot be used, "
        "130 interrupted by Ctrl-C"
    )
    parser.add_argument("--target", metavar="HOST:PORT", type=_target, required=True, help="the server")
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=_address,
        default=("127.0.0.1", 0),
        help="where clients connect; port 0, the default, takes a free one",
    )
    _add_faults(parser)
    _add_timeline(parser)
    process = parser.add_argument_group("as part of a script")
    process.add_argument(
        "--json", action="store_true", help="a JSON object when ready, with the port, and one at the end"
    )
    process.add_argument(
        "--stdin",
        action="store_true",
        help="take actions as lines of standard input, say which were done, and end with it",
    )


def fault_options(given: argparse.Namespace) -> FaultOptions:
    """Make options of what was parsed."""
    return FaultOptions(
        target=given.target,
        listen=given.listen,
        profile=given.profile,
        toxics=tuple(given.toxic),
        moments=tuple(given.at),
        flap=given.flap,
        handoff=given.handoff,
        after=given.after,
        seed=given.seed,
        json=given.json,
        stdin=given.stdin,
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    bad = parser.add_argument_group("what is wrong with the network")
    bad.add_argument(
        "--profile", metavar="NAME", help="the line, such as slow-3g, 4g or wifi; clean by default"
    )
    bad.add_argument(
        "--toxic",
        metavar="NAME[:KEY=VALUE,...]",
        action="append",
        default=[],
        help="a fault from the start on, such as latency:delay=0.2,jitter=0.1 or reset:after=500; repeatable",
    )
    bad.add_argument(
        "--seed", type=_seed, metavar="N", help="decides about all that is random; drawn by default"
    )


def _add_timeline(parser: argparse.ArgumentParser) -> None:
    time = parser.add_argument_group("what happens in time")
    time.add_argument(
        "--at",
        metavar="SECONDS=ACTION",
        type=_moment,
        action="append",
        default=[],
        help="an action, the name of a profile, or a toxic, at that time; repeatable",
    )
    turn = time.add_mutually_exclusive_group()
    turn.add_argument(
        "--flap",
        metavar="TIMES,DOWN,UP",
        type=_flap,
        help="the network goes for DOWN seconds (or 1/2/4, one for each time) and stays for UP",
    )
    turn.add_argument(
        "--handoff",
        metavar="FROM,TO,GAP",
        type=_handoff,
        help="from one profile to another, GAP seconds apart",
    )
    time.add_argument(
        "--after",
        metavar="SECONDS",
        type=_seconds,
        help="when --flap or --handoff begins; 5 by default",
    )


def _address(text: str) -> tuple[str, int]:
    address = host_and_port(text)
    if address is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return address


def _target(text: str) -> tuple[str, int]:
    host, port = _address(text)
    if port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} names no port; give the one that the server listens on")
    return host, port


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, such as 7") from None


def _seconds(text: str) -> float:
    seconds = number(text)
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _moment(text: str) -> tuple[float, str]:
    at, equals, action = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not SECONDS=ACTION, such as 5=black-hole or 41=flow")
    return _seconds(at), action


def _flap(text: str) -> Flap:
    parts = text.split(",")
    times = digits(parts[0])
    if len(parts) == 3 and times:  # noqa: PLR2004 - TIMES,DOWN,UP
        if times > _MAX_FLAPS:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {_MAX_FLAPS} times")
        downs = [_seconds(part) for part in parts[1].split("/")]
        downs = downs * times if len(downs) == 1 else downs
        if len(downs) == times:
            return Flap(downs=tuple(downs), up=_seconds(parts[2]))
    raise argparse.ArgumentTypeError(f"{text!r} is not TIMES,DOWN,UP, such as 3,2,5 or 3,1/2/4,5")


def _handoff(text: str) -> Handoff:
    parts = text.split(",")
    if len(parts) != 3:  # noqa: PLR2004 - FROM,TO,GAP
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM,TO,GAP, such as wifi,4g,0.5")
    return Handoff(before=parts[0], after=parts[1], gap=_seconds(parts[2]))
