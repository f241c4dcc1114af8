"""
Toxics: what can be wrong with a connection, each a value that a proxy is given and that can be taken away.

*times* is how many connections a toxic befalls; `None` is every one.

A figure that is out of its range raises `ValueError`, one that is no number `TypeError`; both name it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from resilient_sse.testing.checks import check, check_seconds, check_share, check_whole
from resilient_sse.testing.proxy.profiles import check_kbps

Direction: TypeAlias = Literal["down", "up", "both"]
"""`down` is from the server to the client."""


def _check_direction(name: str, direction: object) -> None:
    check(name, direction, str, "'down', 'up' or 'both'", lambda way: way in get_args(Direction))


def _check_times(name: str, times: object) -> None:
    if times is not None:
        check_whole(name, times, least=1)


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "delay": partial(check_seconds, zero=True),
    "jitter": check_share,
    "share": check_share,
    "kbps": check_kbps,
    "direction": _check_direction,
    "size": partial(check_whole, least=1),
    "after": check_whole,
    "times": _check_times,
}


class _Checked:
    """Refuses values that are out of their range."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, check_value in _CHECKS.items():
            if hasattr(self, name):
                check_value(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(_Checked):
    """Each segment is late by *delay* seconds +- the share *jitter* of it, on top of the profile's latency."""

    delay: float
    jitter: float = 0.0
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(_Checked):
    """At most *kbps* x 1,000 bits a second pass; the smallest of several limits counts."""

    kbps: float
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole(_Checked):
    """Nothing passes and nothing ends.  What was held back passes once the toxic is removed, as under TCP."""

    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLoss(_Checked):
    """A *share* of the segments is lost once and comes *delay* seconds late; those behind wait, as under TCP."""

    share: float
    delay: float = 0.2  # the least time-out for a retransmission on Linux
    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(_Checked):
    """What comes is cut into pieces of *size* bytes at most, which leave *delay* seconds apart."""

    size: int
    delay: float = 0.0
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(_Checked):
    """A connection is reset (RST) once *after* bytes have reached the client; with 0, before the first."""

    after: int = 0
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBytes(_Checked):
    """A connection is closed in good form (FIN) once *after* bytes have reached the client."""

    after: int
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose(_Checked):
    """The end of a direction is passed on *delay* seconds late."""

    delay: float
    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(_Checked):
    """A new connection is reset at its first word, or after a second; `FaultProxy.refuse` closes the port."""

    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFailure(_Checked):
    """The first words of a client are answered in plain text, as by a captive portal, and it is closed."""

    times: int | None = None


Toxic: TypeAlias = (
    Latency
    | Bandwidth
    | BlackHole
    | SegmentLoss
    | Slicer
    | Reset
    | LimitBytes
    | SlowClose
    | Refuse
    | TLSFailure
)

TOXICS: Mapping[str, type[Toxic]] = MappingProxyType(
    {
        "latency": Latency,
        "bandwidth": Bandwidth,
        "black-hole": BlackHole,
        "loss": SegmentLoss,
        "slicer": Slicer,
        "reset": Reset,
        "limit-bytes": LimitBytes,
        "slow-close": SlowClose,
        "refuse": Refuse,
        "tls-failure": TLSFailure,
    }
)
"""The kinds by the names they have on the command line."""
