"""
A Server-Sent Events subscription that stays alive, loses nothing, repeats nothing, and says what it is doing.

```python
async for event in ResilientStream("https://host/stream"):
    handle(event.json())
```
"""

from resilient_sse._client.request import Resume, ResumeFunction
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.cursor import CursorFunction
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    CheckpointError,
    ConnectionLostError,
    HandshakeError,
    LimitExceededError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
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
from resilient_sse._core.health import StreamHealth
from resilient_sse._core.messages import DEFAULT_MESSAGES, compact_messages
from resilient_sse._core.options import CONSERVATIVE
from resilient_sse._core.ports import Instrument, Observer
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import Category, Reason, StateChange, StreamState, Verdict
from resilient_sse._core.stats import StreamStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resilient_sse._client.stream import ResilientStream

    __version__: str

__all__ = [
    "CONSERVATIVE",
    "DEFAULT_MESSAGES",
    "Activity",
    "Backoff",
    "BadContentTypeError",
    "BadStatusError",
    "Category",
    "CheckpointError",
    "Closed",
    "Comment",
    "ConnectionLostError",
    "CursorFunction",
    "Disconnected",
    "Gap",
    "HandshakeError",
    "Instrument",
    "LimitExceededError",
    "NotResumableError",
    "Observer",
    "Opened",
    "Reason",
    "Recovery",
    "ResilientSSEError",
    "ResilientStream",
    "Resume",
    "ResumeFunction",
    "RetriesExhaustedError",
    "ServerSentEvent",
    "StateChange",
    "StreamHealth",
    "StreamState",
    "StreamStats",
    "Verdict",
    "compact_messages",
    "integers",
]


if not TYPE_CHECKING:  # type checkers know both names from above, and a misspelt one must not pass

    def __getattr__(name: str) -> object:
        # On demand: pytest imports this package at the start of every run, for the plugin's sake, and the HTTP
        # client takes a fifth of a second; looking up metadata takes milliseconds.
        if name == "ResilientStream":
            from resilient_sse._client.stream import ResilientStream  # noqa: PLC0415 - see above

            globals()[name] = ResilientStream
            return ResilientStream
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - see above

            return version("resilient-sse")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
