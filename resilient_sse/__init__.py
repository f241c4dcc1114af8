"""
A Server-Sent Events subscription that stays alive, loses nothing, repeats nothing, and says what it is doing.

```python
async for event in ResilientStream("https://host/stream"):
    handle(event.json())
```
"""

from resilient_sse._core.backoff import Backoff, Delays
from resilient_sse._core.cursor import CursorFunction
from resilient_sse._core.dedup import Dedup
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    CheckpointError,
    ConnectionLostError,
    DecodeError,
    HandshakeError,
    LimitExceededError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
    StreamError,
)
from resilient_sse._core.events import (
    Activity,
    Closed,
    Comment,
    Disconnected,
    Gap,
    Opened,
    ServerSentEvent,
)
from resilient_sse._core.messages import DEFAULT_MESSAGES, Messages, compact_messages
from resilient_sse._core.options import (
    CONSERVATIVE,
    Classify,
    EventFilter,
    LivenessSettings,
    OnEof,
    StallOn,
    Total,
    Until,
)
from resilient_sse._core.ports import Checkpoint, CheckpointStore, Fact, Instrument, Observer
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import Numbering, integers
from resilient_sse._core.states import Category, Reason, StateChange, StreamState, Verdict
from resilient_sse._core.stats import StreamHealth, StreamStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resilient_sse._client.breaker import CircuitBreaker, CircuitState
    from resilient_sse._client.callbacks import GapCallback, StateCallback
    from resilient_sse._client.checkpointing import Ack, Start
    from resilient_sse._client.payloads import OnInvalid
    from resilient_sse._client.request import Content, HeaderValues, ParamValues, Resume, ResumeFunction
    from resilient_sse._client.stream import ResilientStream
    from resilient_sse._client.transport import Auth, Client

    __version__: str

__all__ = [
    "CONSERVATIVE",
    "DEFAULT_MESSAGES",
    "Ack",
    "Activity",
    "Auth",
    "Backoff",
    "BadContentTypeError",
    "BadStatusError",
    "Category",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "CircuitBreaker",
    "CircuitState",
    "Classify",
    "Client",
    "Closed",
    "Comment",
    "ConnectionLostError",
    "Content",
    "CursorFunction",
    "DecodeError",
    "Dedup",
    "Delays",
    "Disconnected",
    "EventFilter",
    "Fact",
    "Gap",
    "GapCallback",
    "HandshakeError",
    "HeaderValues",
    "Instrument",
    "LimitExceededError",
    "LivenessSettings",
    "Messages",
    "NotResumableError",
    "Numbering",
    "Observer",
    "OnEof",
    "OnInvalid",
    "Opened",
    "ParamValues",
    "Reason",
    "Recovery",
    "ResilientSSEError",
    "ResilientStream",
    "Resume",
    "ResumeFunction",
    "RetriesExhaustedError",
    "ServerSentEvent",
    "StallOn",
    "Start",
    "StateCallback",
    "StateChange",
    "StreamError",
    "StreamHealth",
    "StreamState",
    "StreamStats",
    "Total",
    "Until",
    "Verdict",
    "compact_messages",
    "integers",
]


_ON_DEMAND = {
    *("Ack", "Auth", "CircuitBreaker", "CircuitState", "Client", "Content", "GapCallback", "HeaderValues"),
    *("OnInvalid", "ParamValues", "ResilientStream", "Resume", "ResumeFunction", "Start", "StateCallback"),
}

if not TYPE_CHECKING:  # type checkers know both names from above, and a misspelt one must not pass

    def __getattr__(name: str) -> object:
        # On demand: pytest imports this package at the start of every run, for the plugin's sake, and the HTTP
        # client takes a fifth of a second; looking up metadata takes milliseconds.
        if name in _ON_DEMAND:
            from resilient_sse._client import breaker, request, stream, transport  # noqa: PLC0415 - see above

            place = next(
                module for module in (breaker, transport, request, stream) if name in module.__dict__
            )
            globals()[name] = found = place.__dict__[name]
            return found
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - see above

            return version("resilient-sse")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
