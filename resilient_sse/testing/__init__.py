"""The test kit: a scripted server and virtual time, for tests of this package and of code that uses it."""

from resilient_sse.testing.clock import (
    AllTasksBlockedError,
    BackendName,
    VirtualClockLoop,
    run_in_virtual_time,
    virtual_backend,
)
from resilient_sse.testing.connection import ClientOptions, ScriptTransport
from resilient_sse.testing.replay import ReplayServer
from resilient_sse.testing.script import Script, UnexpectedRequestError
from resilient_sse.testing.steps import Ending, Handler, HeaderItems, RecordedRequest, Refusal, Reply, Step
from resilient_sse.testing.wire import Pause, comment, event, gzipped, pause, sliced

__all__ = [
    "AllTasksBlockedError",
    "BackendName",
    "ClientOptions",
    "Ending",
    "Handler",
    "HeaderItems",
    "Pause",
    "RecordedRequest",
    "Refusal",
    "ReplayServer",
    "Reply",
    "Script",
    "ScriptTransport",
    "Step",
    "UnexpectedRequestError",
    "VirtualClockLoop",
    "comment",
    "event",
    "gzipped",
    "pause",
    "run_in_virtual_time",
    "sliced",
    "virtual_backend",
]
