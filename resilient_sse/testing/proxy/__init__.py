"""A TCP proxy with faults: a network as bad as wanted between a client and a server, on asyncio and trio."""

from resilient_sse.testing.proxy.conditions import Counters
from resilient_sse.testing.proxy.link import Link, Shape, Way, shape
from resilient_sse.testing.proxy.profiles import PROFILES, Profile, profile
from resilient_sse.testing.proxy.proxy import FaultProxy
from resilient_sse.testing.proxy.timeline import Action, Timeline, Word, parse_action, parse_toxic
from resilient_sse.testing.proxy.toxics import (
    TOXICS,
    Bandwidth,
    BlackHole,
    Direction,
    Latency,
    LimitBytes,
    Refuse,
    Reset,
    SegmentLoss,
    Slicer,
    SlowClose,
    TLSFailure,
    Toxic,
)

__all__ = [
    "PROFILES",
    "TOXICS",
    "Action",
    "Bandwidth",
    "BlackHole",
    "Counters",
    "Direction",
    "FaultProxy",
    "Latency",
    "LimitBytes",
    "Link",
    "Profile",
    "Refuse",
    "Reset",
    "SegmentLoss",
    "Shape",
    "Slicer",
    "SlowClose",
    "TLSFailure",
    "Timeline",
    "Toxic",
    "Way",
    "Word",
    "parse_action",
    "parse_toxic",
    "profile",
    "shape",
]
