"""
Network profiles: what a line carries, and how late.

Rates are in kbps, as network people write them: 1 kbps is 1,000 bits, that is 125 bytes, a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from resilient_sse.testing.checks import check_kbps, check_seconds, check_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    What one connection gets from the network; `ValueError` if a figure is out of its range.

    Latency is paid once per segment, on the way down: from the server to the client.  So a request and its answer
    together are late by *latency*, which is what a browser's developer tools mean by the word, too.
    """

    name: str  #: What it is called, in reports and on the command line.
    down_kbps: float | None = None  #: The rate from the server to the client.  `None`: no limit.
    up_kbps: float | None = None  #: The rate from the client to the server.  `None`: no limit.
    latency: float = 0.0  #: By how many seconds each segment is late.
    jitter: float = 0.0  #: By which share of *latency* each delay may differ from it, either way.
    loss: float = 0.0  #: The share of the segments, either way, that are lost once and sent again.
    loss_delay: float = 0.2  #: How many seconds later a lost segment arrives; those behind it wait.

    def __post_init__(self) -> None:
        check_kbps("down_kbps", self.down_kbps)
        check_kbps("up_kbps", self.up_kbps)
        check_seconds("latency", self.latency, zero=True)
        check_share("jitter", self.jitter)
        check_share("loss", self.loss)
        check_seconds("loss_delay", self.loss_delay, zero=True)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        made.name: made
        for made in (
            Profile(name="slow-3g", down_kbps=100, up_kbps=100, latency=0.15, jitter=0.2),
            Profile(name="3g", down_kbps=1_500, up_kbps=750, latency=0.1, jitter=0.1),
            Profile(name="4g", down_kbps=10_000, up_kbps=10_000, latency=0.05),
            Profile(name="mobile-4g", down_kbps=10_000, up_kbps=5_000, latency=0.05),
            Profile(name="5g", down_kbps=100_000, up_kbps=50_000, latency=0.01),
            Profile(name="wifi", down_kbps=50_000, up_kbps=50_000, latency=0.01),
            Profile(name="clean"),
        )
    }
)
"""The known profiles by name."""


def profile(name: str | Profile) -> Profile:
    """Return the profile of that name; one is returned as it is.  `ValueError` names those there are."""
    if isinstance(name, Profile):
        return name
    try:
        return PROFILES[name]
    except (KeyError, TypeError):
        known = ", ".join(PROFILES)
        raise ValueError(f"unknown profile {name!r}; choose one of {known}, or make a Profile") from None
