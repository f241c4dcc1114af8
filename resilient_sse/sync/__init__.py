"""The same stream for programs with threads: `for event in stream`, no event loop to run."""

from resilient_sse.sync.stream import ResilientStream

__all__ = ["ResilientStream"]
