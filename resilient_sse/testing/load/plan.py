"""What a load run is to do, and what it has to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

_MAX_USERS = 60_000  # more connections from one address than there are ports
_START_SECONDS = 60.0
_DRAIN_SECONDS = 30.0
_RAMP_RATE = 200.0  # new connections a second: a server on one core answers about twice as many

_LEAST = {
    "messages": 1,
    "duration": 0.1,
    "rate": 0.001,
    "drops": 0,
    "ramp": 0,
    "deadline": 1,
    "heartbeat": 0.1,
    "dedup_window": 1,
}


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the users, on a network *profile*; of weights 20 and 80, one in five and four in five."""

    profile: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What has to be reached; `None` asks for nothing.  All but the first four are upper limits, not to be met."""

    completion: float | None = 0.995  # at least this share of what was sent is received
    availability: float | None = None  # at least this share of the streams' time is connected
    reconnects: int | None = None  # so many must have been measured, or percentiles mean nothing
    connections: float | None = None  # the server sees the number of users, give or take this share
    p95: float | None = 4.2  # seconds from a loss to the first new event, for 95 % of the reconnects
    p99: float | None = 4.8
    longest: float | None = 5.0
    handling: float | None = None  # seconds from the arrival of bytes to their event, for 99 % of them
    cpu: float | None = 0.7  # of one core
    resident: int | None = 2 * 1024**3  # bytes
    growth: float | None = 1.0  # per cent of resident memory each ten minutes after the warm-up
    seconds: float | None = None  # for the whole run


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A load run; `ValueError` if it cannot be done, with the name of the argument to change."""

    users: int = 100  # how many streams, each of a user of its own
    messages: int | None = None  # for each user; `None` makes it *duration* times *rate*
    duration: float | None = None  # for how many seconds they are sent; `None` makes it *messages* / *rate*
    rate: float = 1.0  # messages a second for each user
    profiles: tuple[Share, ...] = (Share("4g"),)
    drops: float = 0.0  # connections reset at random, each minute, over all users
    ramp: float | None = None  # seconds over which the streams are opened; `None` opens 200 a second
    seed: int | None = None  # decides which connections are reset; `None` draws one
    proxy: bool = True  # whether there is a network at all; without it there are no profiles and no drops
    target: str | None = None  # a server of the user's own; `{user}` in it becomes the number of the user
    deadline: float | None = None  # seconds after which it is ended; `None` allows a minute and a half more
    dedup_window: int = 1000  # how many events each stream remembers
    heartbeat: float | None = 10.0  # seconds between those of the reference server, or `None` for none
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 1 <= self.users <= _MAX_USERS:
            raise ValueError(f"users must be from 1 to {_MAX_USERS}, not {self.users}")
        for name, least in _LEAST.items():
            value: float | None = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"{name} must be a number of {least:g} or more, not {value}")
        if self.messages is not None and self.duration is not None:
            raise ValueError("give messages or duration, not both: one follows from the other by rate")
        if self.drops and not self.proxy:
            raise ValueError("drops need the network: leave proxy=False out, or drops")
        if self.target is not None and self.proxy:
            raise ValueError("target is measured as it is, without a network: say proxy=False, too")
        if self.target is None and self.ramping >= self.sending:
            raise ValueError(
                f"opening the streams takes {self.ramping:g} s, and messages are sent for {self.sending:g} s, "
                "so never are all of them open: send for longer, or give a shorter ramp"
            )
        if not self.profiles or any(not 0 < part.weight < math.inf for part in self.profiles):
            raise ValueError("profiles needs at least one profile, and weights above 0")

    @property
    def messages_each(self) -> int:
        """How many messages each user is sent."""
        if self.messages is not None:
            return self.messages
        return max(round(self.sending * self.rate), 1)

    @property
    def sending(self) -> float:
        """For how long messages are sent, in seconds."""
        if self.duration is not None:
            return self.duration
        return (50 if self.messages is None else self.messages) / self.rate

    @property
    def ramping(self) -> float:
        """Over how many seconds the streams are opened."""
        return self.users / _RAMP_RATE if self.ramp is None else self.ramp

    @property
    def limit(self) -> float:
        """Seconds after which the run is ended whatever it does."""
        if self.deadline is not None:
            return self.deadline
        return _START_SECONDS + self.ramping + self.sending + _DRAIN_SECONDS

    @property
    def warming(self) -> float:
        """Seconds after which memory is watched for growth: when the windows for duplicates are full, and more."""
        return self.ramping + self.dedup_window / self.rate + 30.0

    def assignment(self) -> list[str]:
        """Return the profile of each user; every prefix has the same mix, as well as whole numbers allow."""
        total = math.fsum(share.weight for share in self.profiles)
        given = [0] * len(self.profiles)
        names: list[str] = []
        for user in range(1, self.users + 1):
            due = [
                share.weight / total * user - taken for share, taken in zip(self.profiles, given, strict=True)
            ]
            chosen = due.index(max(due))
            given[chosen] += 1
            names.append(self.profiles[chosen].profile)
        return names


def parse_profiles(text: str) -> tuple[Share, ...]:
    """Read `4g`, or `3g:20,4g:80`; `ValueError` if it cannot be read."""
    shares: dict[str, Share] = {}
    for part in text.split(","):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        try:
            share = Share(name, float(weight) if colon else 1.0)
        except ValueError:
            share = Share("")
        if not share.profile or not 0 < share.weight < math.inf:
            raise ValueError(f"{part!r} is not PROFILE or PROFILE:SHARE, with a share above 0")
        if name in shares:
            raise ValueError(f"the profile {name!r} is named twice")
        shares[name] = share
    return tuple(shares.values())


_SLOW_AND_FAST = (Share("3g", 20), Share("4g", 80))
_BIG = Limits(availability=0.999, connections=0.01)

PRESETS: Mapping[str, LoadPlan] = MappingProxyType(
    {
        # A reset costs a stream some 1.1 s, most of it the first delay.  360 a minute make the 200 reconnects that
        # percentiles need in 50 s, whatever the seed; the figure of availability belongs to the presets below.
        "ci": LoadPlan(
            users=100,
            messages=50,
            drops=360,
            limits=Limits(reconnects=200, handling=0.005, seconds=120),
            deadline=115,
        ),
        # 99.9 % of 120,000 stream-seconds leave 120 s for outages: 109 resets.  This has 60.
        "thousand": LoadPlan(users=1000, duration=120, profiles=_SLOW_AND_FAST, drops=30, limits=_BIG),
        "soak": LoadPlan(
            users=1000,
            duration=1800,
            profiles=_SLOW_AND_FAST,
            drops=30,
            limits=replace(_BIG, reconnects=200),
        ),
        # Opening 10,000 streams takes the client half a minute of CPU, and the proxy would need a core of its own.
        # A message every 10 s shows life as well as a heartbeat would.
        "ten-thousand": LoadPlan(
            users=10_000, duration=180, rate=0.1, proxy=False, heartbeat=None, limits=_BIG
        ),
    }
)
"""Runs with a name: `ci`, `thousand`, `soak` and `ten-thousand`."""
