"""What is done to packets, in the words of `nft` and `tc`, and checks of what was asked for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "TABLE",
    "Arrivals",
    "Direction",
    "check_direction",
    "check_links",
    "loss_share",
    "ruleset",
    "shaper",
]

Direction: TypeAlias = Literal["down", "up", "both"]
"""`"down"` is towards the client, as subscribers of a line say."""

TABLE = "fault"

_FINEST = 1_000_000
_MOST_KBPS = 10_000_000.0
_LEAST_KBPS = 1.0

# One full frame of 1,514 bytes must fit, or nothing passes at all.
_LEAST_BURST = 1_600

# Bytes that pass at once.  More would exceed the rate visibly, less would miss it on fast links.
_BURST_SECONDS = 0.01

# A queue of so long, then packets are dropped from its end, as routers do.
_QUEUE_MILLISECONDS = 500

# Each has a number in its addresses, below 255.
_MOST_LINKS = 200

_LINK = re.compile(r"[a-z0-9]{2,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """
    What happens to the packets that arrive over one link.

    Attributes:
        loss: The share that is dropped at random.
        cut: Whether all are.
        refuse: Whether new TCP connections are answered with a reset.
    """

    loss: Fraction = Fraction(0)
    cut: bool = False
    refuse: bool = False


def ruleset(arrivals: Mapping[str, Arrivals]) -> str:
    """
    Write what `nft` needs to know, to be applied at once; its counters go on from where they are.

    Packets are dropped where they arrive, before anything else sees them: a sender is told when its own output
    drops a packet, but a network tells nobody.

    Args:
        arrivals: What to do, by link.
    """
    counters = [f"counter {what}_{link} {{ }}" for link in arrivals for what in ("seen", "lost", "cut")]
    chains = (
        "chain arriving { type filter hook prerouting priority raw; policy accept; }",
        "chain opening { type filter hook input priority filter; policy accept; }",
    )
    flushes = (f"flush chain ip {TABLE} arriving", f"flush chain ip {TABLE} opening")
    lines = [f"table ip {TABLE} {{", *counters, *chains, "}", *flushes]
    for link, fault in arrivals.items():
        rule = f'add rule ip {TABLE} arriving iifname "{link}"'
        lines.append(f'{rule} counter name "seen_{link}"')
        if fault.cut:
            lines.append(f'{rule} counter name "cut_{link}" drop')
        elif fault.loss:
            odds = f"numgen random mod {fault.loss.denominator} < {fault.loss.numerator}"
            lines.append(f'{rule} {odds} counter name "lost_{link}" drop')
        if fault.refuse:
            new = "tcp flags & (syn | ack) == syn"
            lines.append(f'add rule ip {TABLE} opening iifname "{link}" {new} reject with tcp reset')
    return "\n".join([*lines, ""])


def shaper(kbps: float) -> tuple[str, ...]:
    """
    Write the token bucket that lets so much pass, for `tc qdisc replace`.

    Raises:
        ValueError: No link is as slow or as fast as that.
    """
    if not (math.isfinite(kbps) and _LEAST_KBPS <= kbps <= _MOST_KBPS):
        raise ValueError(f"a rate is between {_LEAST_KBPS:g} and {_MOST_KBPS:g} kbps, not {kbps!r}")
    burst = max(_LEAST_BURST, round(kbps * 1000 / 8 * _BURST_SECONDS))
    rate = f"{round(kbps * 1000)}bit"
    return ("tbf", "rate", rate, "burst", f"{burst}b", "latency", f"{_QUEUE_MILLISECONDS}ms")


def loss_share(share: float) -> Fraction:
    """
    Make a share an exact fraction, 0.1 becomes one of ten.

    Raises:
        ValueError: It is no share.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of packets is between 0 and 1, not {share!r}")
    exact = Fraction(share).limit_denominator(_FINEST)
    if share and not exact:
        raise ValueError(f"a share of packets is 0 or at least one of {_FINEST:,}, not {share!r}")
    return exact


def check_direction(direction: str) -> None:
    """
    Check a direction.

    Raises:
        ValueError: It is none.
    """
    if direction not in ("down", "up", "both"):
        raise ValueError(f"a direction is 'down' (to the client), 'up' or 'both', not {direction!r}")


def check_links(links: tuple[str, ...]) -> None:
    """
    Check the names of links.

    Raises:
        ValueError: There are none or too many, one is there twice, or one cannot be an interface's name.
    """
    if not 1 <= len(links) <= _MOST_LINKS or len(set(links)) < len(links):
        raise ValueError(f"a network has 1 to {_MOST_LINKS} links of different names, not {links!r}")
    for link in links:
        if not _LINK.fullmatch(link) or link == "lo":
            raise ValueError(f"a link is named with 2 to 12 of the characters a-z and 0-9, not {link!r}")
