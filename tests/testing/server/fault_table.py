"""
What a client shows for each fault of the server, as data.

Each fault strikes the first request, the rest is served; five events are published, then the completion event.
The client checks numbers, has small limits, and begins before the first event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from resilient_sse import Gap, ResilientSSEError, ResilientStream, StateChange, StreamState, integers
from resilient_sse.testing.server import (
    BadUtf8,
    Bom,
    Close,
    Drop,
    Duplicate,
    Faults,
    GiantLine,
    GzipGarbage,
    HalfEvent,
    RedirectLoop,
    ReferenceServer,
    Reorder,
    Reset,
    Silence,
    Status,
    Trickle,
    TruncatedChunk,
    WrongType,
    open_server,
)
from tests.e2e.watching import QUICK

EVENTS = 5
_LIMIT = 64 * 1024
_PATIENCE = 30.0
_COUNTERS = ("reconnects", "failed_attempts", "duplicates", "partial", "stalls", "gaps", "lost")

C, R, E = StreamState.CONNECTED, StreamState.RECONNECTING, StreamState.ERROR


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One fault, and what is expected of the client.

    Attributes:
        name: What happens, in words.
        faults: Makes the script of the server.
        reasons: Why the stream began to reconnect, each time.
        states: The states entered, up to the completion, `WAITING` left out.
        counters: Those that are not zero.
        ids: The numbers delivered, if not all; `None` for an event without one.
        error: The error out of the loop.
        options: What the client is given besides.
    """

    name: str
    faults: Callable[[], Faults]
    reasons: list[str] = field(default_factory=list)
    states: list[StreamState] = field(default_factory=lambda: [C, StreamState.CLOSED])
    counters: dict[str, int] = field(default_factory=dict)
    ids: list[int | None] = field(default_factory=lambda: [1, 2, 3, 4, 5, 6])
    error: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


SEEN = ("reasons", "states", "counters", "ids", "error")
"""What of a row is seen of the client."""


def once(*faults: Any) -> Callable[[], Faults]:
    """Make a script of faults, each played once."""
    return partial(Faults, *faults)


AGAIN = [C, R, C, StreamState.CLOSED]
REFUSED: dict[str, Any] = {"states": [E], "counters": {"failed_attempts": 1}, "ids": []}


def lost(reason: str, **counters: int) -> dict[str, Any]:
    """Say what a connection shows that was lost once."""
    return {"reasons": [reason], "states": AGAIN, "counters": {"reconnects": 1, **counters}}


TABLE = [
    Row(name="no fault", faults=once()),
    Row(
        name="503, 503, then fine",
        faults=once(Status(503), Status(503)),
        reasons=["server", "server"],
        states=[R, R, C, StreamState.CLOSED],
        counters={"failed_attempts": 2},
    ),
    Row(
        name="429 with Retry-After: 1",
        faults=once(Status(429, retry_after=1)),
        reasons=["status"],
        states=[R, C, StreamState.CLOSED],
        counters={"failed_attempts": 1},
    ),
    Row(name="403", faults=once(Status(403)), error="BadStatusError", **REFUSED),
    Row(name="204", faults=once(Status(204)), states=[StreamState.CLOSED], ids=[]),
    Row(name="another content type", faults=once(WrongType()), error="BadContentTypeError", **REFUSED),
    Row(name="redirect loop", faults=once(RedirectLoop()), error="HandshakeError", **REFUSED),
    Row(name="clean end", faults=once(Close(after=2)), **lost("eof")),
    Row(name="half an event, then a clean end", faults=once(HalfEvent(after=2)), **lost("eof", partial=1)),
    Row(name="truncated chunk", faults=once(TruncatedChunk(after=2)), **lost("reset", partial=1)),
    Row(name="reset in an event", faults=once(Reset(after=2)), **lost("reset", partial=1)),
    Row(name="200, then nothing", faults=once(Silence()), **lost("stall", stalls=1)),
    Row(name="silence after two events", faults=once(Silence(after=2)), **lost("stall", stalls=1)),
    Row(name="each event twice", faults=once(Duplicate()), counters={"duplicates": 5}),
    Row(
        name="an event dropped, sent at replay",
        faults=lambda: Faults(then=Drop(rate=0.2, seed=30)),  # it drops the third, whenever that is due
        **lost("gap"),
    ),
    Row(name="two events in the wrong order", faults=once(Reorder()), **lost("gap")),
    Row(
        name="a line without end",
        faults=once(GiantLine(after=2, size=2 * _LIMIT)),
        states=[C, E],
        ids=[1, 2],
        error="LimitExceededError",
    ),
    Row(name="bytes that are no UTF-8", faults=once(BadUtf8(after=2)), ids=[1, 2, None, 3, 4, 5, 6]),
    Row(
        name="garbage for gzip",
        faults=once(GzipGarbage()),
        options={"compression": True},
        **lost("protocol"),
    ),
    Row(name="one byte at a time", faults=once(Trickle())),
    Row(name="byte order mark", faults=once(Bom())),
]


async def play(row: Row) -> dict[str, Any]:
    """Play a row over real sockets, and return what was seen."""
    changes: list[StateChange] = []
    gaps: list[Gap] = []
    ids: list[int | None] = []
    error: str | None = None
    async with open_server(ReferenceServer(retry=None, start="first", faults=row.faults())) as running:
        for number in range(1, EVENTS + 1):
            await running.publish(f"event {number} ä")
        await running.complete()
        stream = ResilientStream(
            running.url,
            last_event_id="0",
            sequence=integers,
            backoff=QUICK,
            max_event_bytes=_LIMIT,
            until="done",
            on_state_change=changes.append,
            on_gap=gaps.append,
            **{"stall_timeout": 1.0, **row.options},
        )
        with anyio.fail_after(_PATIENCE):
            try:
                async with stream:
                    async for event in stream:
                        ids.append(int(event.id) if event.id else None)  # noqa: PERF401 - kept when it raises
            except ResilientSSEError as raised:
                error = type(raised).__name__
    figures = stream.stats.to_dict()
    if row.reasons == ["gap"]:  # what was held comes up before the replay repeats it, or not: as reads fall
        figures["duplicates"] = 0
    return {
        "reasons": [change.reason.value for change in changes if change.new is R],
        "states": [
            change.new
            for change in changes
            if StreamState.WAITING not in (change.new, change.old)
            or change.new not in (StreamState.WAITING, C)
        ],
        "counters": {name: int(figures[name] or 0) for name in _COUNTERS if figures[name]},
        "ids": ids,
        "error": error,
    }
