"""
The test kit: a scripted server, virtual time and assertions, for tests of this package and of code that uses it.

Nothing is imported before it is asked for: pytest imports this package at the start of every run, because its
plugin lies inside, and whoever tests something else should not pay for an HTTP client.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resilient_sse.testing.clock import (
        AllTasksBlockedError,
        BackendName,
        VirtualClockLoop,
        run_in_virtual_time,
        virtual_backend,
    )
    from resilient_sse.testing.memory_server import ReplayServer
    from resilient_sse.testing.recorder import (
        Moment,
        Recorder,
        assert_delays_within,
        assert_in_order,
        assert_messages,
        assert_no_duplicates,
        assert_nothing_lost,
        assert_reconnected,
        assert_states,
    )
    from resilient_sse.testing.script import (
        ClientOptions,
        Ending,
        Handler,
        HeaderItems,
        RecordedRequest,
        Refusal,
        Reply,
        Script,
        ScriptTransport,
        Step,
        UnexpectedRequestError,
    )
    from resilient_sse.testing.wire import Pause, comment, event, gzipped, pause, sliced

__all__ = [
    "AllTasksBlockedError",
    "BackendName",
    "ClientOptions",
    "Ending",
    "Handler",
    "HeaderItems",
    "Moment",
    "Pause",
    "RecordedRequest",
    "Recorder",
    "Refusal",
    "ReplayServer",
    "Reply",
    "Script",
    "ScriptTransport",
    "Step",
    "UnexpectedRequestError",
    "VirtualClockLoop",
    "assert_delays_within",
    "assert_in_order",
    "assert_messages",
    "assert_no_duplicates",
    "assert_nothing_lost",
    "assert_reconnected",
    "assert_states",
    "comment",
    "event",
    "gzipped",
    "pause",
    "run_in_virtual_time",
    "sliced",
    "virtual_backend",
]

_HOMES = ("wire", "clock", "recorder", "script", "memory_server")
"""Where the names live; whoever needs little comes first."""

if not TYPE_CHECKING:  # type checkers know the names from above, and a misspelt one must not pass

    def __getattr__(name: str) -> object:
        for home in _HOMES if name in __all__ else ():
            value = getattr(import_module(f"{__name__}.{home}"), name, None)
            if value is not None:
                globals()[name] = value  # the next access does not come here
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
