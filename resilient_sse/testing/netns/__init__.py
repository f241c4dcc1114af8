"""
Real networks for tests: two kernel namespaces, and between them links that lose, limit, stall and change.

Linux only, and as root; `available` tells what is missing.  Nothing outside the namespaces is touched.
"""

from resilient_sse.testing.netns.client import client_in
from resilient_sse.testing.netns.faults import Direction
from resilient_sse.testing.netns.namespace import Namespace
from resilient_sse.testing.netns.naming import sweep
from resilient_sse.testing.netns.network import SERVER, Network, open_network
from resilient_sse.testing.netns.probe import available
from resilient_sse.testing.netns.program import Program, Record
from resilient_sse.testing.netns.tools import (
    NetnsCommandError,
    NetnsError,
    NetnsProgramError,
    NetnsUnavailableError,
)

__all__ = [
    "SERVER",
    "Direction",
    "Namespace",
    "NetnsCommandError",
    "NetnsError",
    "NetnsProgramError",
    "NetnsUnavailableError",
    "Network",
    "Program",
    "Record",
    "available",
    "client_in",
    "open_network",
    "sweep",
]
