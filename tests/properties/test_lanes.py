"""Judging whole reads and judging one event at a time come to the same, whatever comes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_sse import ConnectionLostError, LimitExceededError, Reason, StreamStats
from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.session import Session, Step
from tests.properties.sse_grammar import PROFILE, chunked_streams, cut

WALL = datetime(2026, 1, 1, tzinfo=UTC)

# They are of the moment when an event is judged.
TIMES = ("last_event_at", "time_to_first_event", "last_recovery")

EVENTS = [b"id: %d\ndata: n%d\n\n" % (at, at) for at in range(10, 50)]

modes = st.sampled_from(["auto", "always", "replay", "off"])


def play(
    connections: list[list[bytes]],
    *,
    in_batches: bool,
    limit: int | None = None,
    given_id: str | None = None,
    **given_options,
) -> tuple[list[str], StreamStats, str, str | None]:
    """Play so many connections, each with its chunks; return what the consumer gets, and where it stands then."""
    options = StreamOptions(last_event_id=given_id, max_event_bytes=limit, **given_options)
    session = Session(options, random=lambda: 0.5, in_batches=in_batches)
    if session.batches is not None:
        session.batches.keeps_comments = True
    session.start(0.0)
    taken: list[str] = []

    def take() -> None:
        while (item := session.take(0.0)) is not None or session.next_step() is Step.GO_ON:
            if item is None:
                session.go_on(0.0)
            else:
                taken.append(repr(item))
                assert isinstance(item, Closed | Comment | Disconnected | Gap | Opened | ServerSentEvent)

    for chunks in connections:
        session.opened(200, {}, cursor=session.delivery.cursor, now=0.0)
        take()
        for chunk in chunks:
            session.receive(chunk, raw_size=len(chunk), waited=0.0, now=0.0)
            take()
            if isinstance(session.next_step(), LimitExceededError):
                break
        session.lost(ConnectionLostError(Reason.RESET), now=0.0, wall=WALL)
        take()
        if session.error is not None:
            break
    figures = session.figures()
    for name in TIMES:
        setattr(figures, name, None)
    return taken, figures, session.delivery.last_event_id, session.delivery.cursor


def check(connections: list[list[bytes]], **options) -> None:
    """Assert that both lanes come to the same."""
    assert play(connections, in_batches=True, **options) == play(connections, in_batches=False, **options)


@pytest.mark.slow
@PROFILE
@given(st.lists(chunked_streams(), min_size=1, max_size=3), modes, st.one_of(st.none(), st.integers(12, 60)))
@example([[b"data: \n:", b"99999\n\n"]], "auto", 12)
def test_whatever_comes(connections, mode, limit):
    """Streams of the grammar, cut anywhere, with and without a limit (3.1, 3.2)."""
    check(connections, dedup=mode, limit=limit)


_ids = st.one_of(
    st.integers(0, 12).map(str),
    st.integers(0, 12).map(str),
    st.sampled_from(["", "a", "b", "007", "7 ", "é", "9" * 19, str(2**63 - 1), str(2**63), "1" * 30]),
)


@st.composite
def _event(draw: st.DrawFn) -> bytes:
    event_id, data = (
        draw(st.one_of(st.none(), _ids, _ids)),
        draw(st.sampled_from(["x", "y", "", 700 * "long"])),
    )
    kind = draw(st.sampled_from(["", "", "event: add\n", "event: heartbeat\n"]))
    before = draw(st.sampled_from(["", "", "", ": said\n", ": said\n\n", "\n", "retry: 7\n\n", "id: 3\n\n"]))
    more = draw(st.sampled_from(["", "", "", "data: z\n", "x: z\n"]))
    written = "" if event_id is None else f"id: {event_id}\n"
    fields = draw(st.sampled_from([written + kind, kind + written]))
    return f"{before}{fields}data: {data}\n{more}\n".encode()


@st.composite
def _run(draw: st.DrawFn) -> bytes:
    """Draw events that are alike, so many that columns are made of them, and perhaps one that is not."""
    start, step = draw(st.integers(0, 1200)), draw(st.sampled_from([1, 1, 2, 10, -1]))
    template = draw(
        st.sampled_from(
            [
                "id: {0}\nevent: add\ndata: {1}\n\n",
                "event: add\nid: {0}\ndata: {1}\n\n",
                "id: {0}\ndata: {1}\n\n",
                "event: add\ndata: {1}\n\n",
                "data: {1}\n\n",
                "id: {0:04}\nevent: add\ndata: {1}\n\n",
                "id: {0}-0\ndata: {1}\ndata:\n\n",
                ": said\nid: [{0}, 0]\nevent: add\ndata: {1}\n\n",
                "event: heartbeat\nid: {0}\ndata: {1}\n\n",
            ]
        )
    )
    filling = draw(st.sampled_from(["", "\u2028", "é"]))
    count = draw(st.integers(1, 120))
    long = draw(st.sampled_from([1, 1, 1, 800])) if count < 20 else 1
    events = [
        template.format(max(start + step * at, 0), long * f"n{at}{filling}").encode() for at in range(count)
    ]
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, count)), draw(_event()))
    return b"".join(events)


@st.composite
def _connection(draw: st.DrawFn) -> list[bytes]:
    stream = b"".join(draw(st.lists(st.one_of(_event(), _event(), _run()), max_size=12)))
    return cut(stream, draw(st.lists(st.integers(0, len(stream)), max_size=4)))


@pytest.mark.slow
@PROFILE
@given(
    st.lists(_connection(), min_size=1, max_size=4),
    modes,
    st.sampled_from([1, 3, 20, 1000]),
    st.one_of(st.none(), _ids.filter(lambda text: text == text.strip())),
)
@example([[b"".join(EVENTS[:20])], [b"".join(EVENTS[9:30])], [b"".join(EVENTS)]], "auto", 1000, None)
@example([[b"id: 7 \ndata: x\n\nid: 9\n\n"], [b"".join(EVENTS[:20])]], "auto", 3, "11")
def test_ids_that_rise_repeat_and_fall_back(connections, mode, window, given_id):
    """Runs with and without ids, over several connections, with every setting of what is dropped (3.2)."""
    check(connections, dedup=mode, dedup_window=window, given_id=given_id)


_lines = st.sampled_from(
    ["\n", "\n", "\n", "a\n", "x: y\n", ":\n", ": said\n", "retry: 5\n", "retry: x\n", "retry:7\n", "id: 1\n",
     "id:a\n", "id\n", "id: b\0\n", "id:  é \n", "idx\n", "event: add\n", "event: heartbeat\n", "event\n",
     "data:\n", "data: x\n", "data\n", "data:  y\n", "datax\n"]
)  # fmt: skip
_floods = st.lists(_lines, min_size=1, max_size=5).map("".join)


@pytest.mark.slow
@PROFILE
@given(st.lists(st.tuples(_floods, st.integers(1, 60)), min_size=1, max_size=5), st.integers(1, 900), modes)
@example([("a\n:\nretry: 5\ndata: x\nid: 1\n", 20), ("\n", 1)], 900, "auto")
@example([(": said\n", 60), ("data:\n\n", 1)], 300, "auto")
@example([("data:x\n\n", 20), ("data: y\n\n", 5)], 900, "auto")
@example([("data: x\ndata: y\n\n", 20), ("data: x\ndata:y\n\n", 5)], 900, "auto")
def test_floods_of_lines(floods, size, mode):
    """Many lines of one block, and many blocks without data, are judged together and come to the same (3.1)."""
    stream = "".join(flood * count for flood, count in floods).encode()
    check([cut(stream, [*range(size, len(stream), size)])], dedup=mode)


_LONG = [f"event: odd\nevent: add\nid: {at}\ndata: {at * 10 * 'long '}\n\n" for at in range(20, 40)]


@pytest.mark.parametrize(
    "odd",
    [
        "", "\n", "retry: 7\n\n", "data: x\n\n", "x: y\n: said\ndata: y\n\n",
        "event: odd\nevent: add\ndata: x\n\n",
        "event: odd\nevent: other\nid: 5\ndata: x\n\n", "event: odd\nevent: add\nid: 5\0\ndata: x\n\n",
        "event: odd\nevent: add\nid:5\ndata: x\n\n", "event: odd\nevent: add\nid: 5\ndata:x\n\n",
        "event: odd\nevent: add\nid: \ndata: x\n\n", "event: odd\nevent: add\nid: \N{SNOWMAN}\ndata: x\n\n",
        "event: odd\nevent: add\nid: 5\ndata: \udcff\n\n", "event: odd\nevent: add\nid: 5\ndata: x\n: said\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [1, 10, 20])
def test_long_events_and_an_odd_one(odd, at):
    """Events that are long and alike are cut at their line ends, unless one among them is not (3.1)."""
    stream = "".join([*_LONG[:at], odd, *_LONG[at:]]).encode(errors="surrogateescape")
    check([[stream]])
