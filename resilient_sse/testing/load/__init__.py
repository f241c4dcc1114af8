"""Many streams at once against a real server over bad networks, and what it costs the client."""

from resilient_sse.testing.extra import MissingExtraError
from resilient_sse.testing.load.children import ChildError
from resilient_sse.testing.load.plan import PRESETS, Limits, LoadPlan, Share, parse_profiles
from resilient_sse.testing.load.result import (
    Connections,
    Delivery,
    Gate,
    LoadResult,
    Machine,
    Process,
    Spread,
    Streams,
    Times,
)
from resilient_sse.testing.load.run import OpenFilesError, Progress, check, run_load

__all__ = [
    "PRESETS",
    "ChildError",
    "Connections",
    "Delivery",
    "Gate",
    "Limits",
    "LoadPlan",
    "LoadResult",
    "Machine",
    "MissingExtraError",
    "OpenFilesError",
    "Process",
    "Progress",
    "Share",
    "Spread",
    "Streams",
    "Times",
    "check",
    "parse_profiles",
    "run_load",
]
