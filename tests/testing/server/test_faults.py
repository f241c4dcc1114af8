"""What the server may do wrong, and what our client shows for it, over real sockets (P25)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import pytest

from resilient_sse import Gap, ResilientSSEError, ResilientStream, StateChange, StreamState, integers
from resilient_sse.testing import server
from resilient_sse.testing.server import (
    BadUtf8,
    Bom,
    Close,
    Drop,
    Duplicate,
    Fault,
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
    serving,
)
from tests.docs.pages import table, text_of
from tests.e2e.watching import QUICK

pytestmark = pytest.mark.e2e

EVENTS = 5
_LIMIT = 64 * 1024
_PATIENCE = 30.0
_COUNTERS = ("reconnects", "failed_attempts", "duplicates", "partial", "stalls", "gaps", "lost")

C, R, E = StreamState.CONNECTED, StreamState.RECONNECTING, StreamState.ERROR


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault, and what is expected of the client."""

    name: str
    """What happens, in words."""
    faults: Callable[[], Faults]
    """Makes the script of the server."""
    reasons: list[str] = field(default_factory=list)
    """Why the stream began to reconnect, each time."""
    states: list[StreamState] = field(default_factory=lambda: [C, StreamState.CLOSED])
    """The states entered, up to the completion, `WAITING` left out."""
    counters: dict[str, int] = field(default_factory=dict)
    """Those that are not zero."""
    ids: list[int | None] = field(default_factory=lambda: [1, 2, 3, 4, 5, 6])
    """The numbers delivered, `None` for an event without one."""
    error: str | None = None
    """The error out of the loop."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the client is given besides."""


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
    with serving(ReferenceServer(retry=None, start="first", faults=row.faults())) as running:
        for number in range(1, EVENTS + 1):
            running.publish(f"event {number} ä")
        running.complete()
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


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_each_fault_shows(row):
    """P25, R41, R37, P5, P6: for each fault the reasons, the states, the counters and the events are these."""
    assert await play(row) == {name: getattr(row, name) for name in SEEN}


def test_faults_that_no_client_should_notice_are_on_the_wire(start, listen):
    """P25: a byte order mark, single bytes and a giant line are sent, though a client may show nothing."""
    running = start(start="first", heartbeat=None, faults=Faults(Bom(), Trickle(), GiantLine(size=200_000)))
    for _ in range(2):
        running.publish("event")
    marked, trickling, giant = (listen(running.url) for _ in range(3))
    assert marked.blocks(1) == [b"\xef\xbb\xbfid: 1\ndata: event\n\n"]
    pieces = [trickling.response.read1(100) for _ in range(19)]
    assert (b"".join(pieces), {len(piece) for piece in pieces}) == (b"id: 1\ndata: event\n\n", {1})
    assert giant.blocks(2)[1] == b"data: " + b"x" * 200_000 + b"\n\n"


def test_a_truncated_chunk_is_truncated_however_large_its_event(start, listen):
    """P25: what is announced never comes in full, or the client would miss a chunk and not its end."""
    running = start(start="first", heartbeat=None, faults=Faults(TruncatedChunk(after=0)))
    running.publish("x" * 100_000)
    body = listen(running.url).response.fp
    announced, sent = int(body.readline(), 16), len(body.read())
    assert 50_000 < sent < announced


def test_every_fault_is_in_the_table():
    """P25: no fault is offered that is not tried."""
    tried = set()
    for row in TABLE:
        faults = row.faults()
        tried |= {type(fault) for fault in (faults.next(), faults.then) if fault is not None}
    offered = {
        value for value in vars(server).values() if isinstance(value, type) and issubclass(value, Fault)
    }
    assert tried == offered - {Fault}


def test_the_reference_shows_this_table():
    """P25: the page says of every fault what the tests have seen."""
    seen = {}
    for row in TABLE:
        faults = row.faults()
        fault = faults.next()
        key = f"{type(fault).__name__} {getattr(fault, 'status', '')}"
        ended = row.states if row.error or len(row.states) == 1 else row.states[:-1]
        seen.setdefault(key, ({*row.reasons}, [state.value for state in ended], row.error or ""))
    shown = {}
    for fault, reason, states, _, error in table(
        text_of("lab/reference-server.md"), "fault", "reason", "states", "counters", "error"
    ):
        name, status = re.match(r"`(\w+)\((\d*)", fault).groups()
        shown[f"{name} {status}"] = {*re.findall(r"`(\w+)`", reason)}, states.split(", "), error.strip("`")
    assert shown == {key: row for key, row in seen.items() if not key.startswith("NoneType")}


def test_the_same_seed_drops_the_same(start, listen):
    """P25: faults that are drawn can be drawn again; what was due once is sent when it is due again."""
    dropped = []
    for _ in range(2):
        drop = Drop(rate=0.5, seed=5)
        running = start(start="first", faults=Faults(then=drop))
        for number in range(40):
            running.publish(str(number))
        taken = listen(running.url).ids(10)
        dropped.append(drop.dropped[:5])
        again = listen(running.url).ids(taken[-1])
        assert again == list(range(1, taken[-1] + 1))
    assert dropped[0] == dropped[1]
    assert len(dropped[0]) == 5


def test_faults_follow_their_script(start, listen):
    """P25: one fault for each request, `None` for none, more can be added, and the record says which it was."""
    faults = Faults(Status(503, retry_after=7), None)
    running = start(faults=faults)
    answers = [listen(running.url) for _ in range(2)]
    faults.add(Status(500))
    answers.append(listen(running.url))
    assert [answer.status for answer in answers] == [503, 200, 500]
    assert answers[0].headers["Retry-After"] == "7"
    records = [(record.status, record.fault) for record in running.server.requests]
    assert records == [(503, "Status"), (200, ""), (500, "Status")]
    assert running.server.counters.faults == 2
