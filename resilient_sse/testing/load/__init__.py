"""Many streams at once against a real server over bad networks, and what it costs the client."""

from resilient_sse.testing.children import ChildError
from resilient_sse.testing.extra import MissingExtraError
from resilient_sse.testing.load.figures import Spread
from resilient_sse.testing.load.plan import PRESETS, Limits, LoadPlan, Share, parse_profiles
from resilient_sse.testing.load.result import (
    Connections,
    Delivery,
    Gate,
    LoadResult,
    Machine,
    Process,
    Setup,
    Streams,
    Times,
)
from resilient_sse.testing.load.run import run_load
from resilient_sse.testing.load.sampling import Progress
from resilient_sse.testing.load.site import check
from resilient_sse.testing.load.usage import OpenFilesError

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
    "Setup",
    "Share",
    "Spread",
    "Streams",
    "Times",
    "check",
    "parse_profiles",
    "run_load",
]
