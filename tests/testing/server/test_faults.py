"""What the server may do wrong, and what our client shows for it, over real sockets (P25)."""

import re

import pytest

from resilient_sse.testing import server
from resilient_sse.testing.server import Bom, Drop, Fault, Faults, GiantLine, Status, Trickle
from tests.docs.pages import table, text_of
from tests.testing.server.fault_table import SEEN, TABLE, play

pytestmark = pytest.mark.e2e


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
    """P25: faults that are drawn can be drawn again."""
    dropped = []
    for _ in range(2):
        drop = Drop(rate=0.5, seed=5)
        running = start(faults=Faults(then=drop))
        for number in range(40):
            running.publish(str(number))
        heard = listen(running.url, last_event_id=0)
        heard.ids(40 - 30)
        dropped.append(drop.dropped[:5])
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
    assert [(record.status, record.fault) for record in running.server.requests] == [
        (503, "Status"),
        (200, ""),
        (500, "Status"),
    ]
    assert running.server.counters.faults == 2
