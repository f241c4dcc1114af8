from __future__ import annotations

import pytest

from resilient_sse._core.batches import Batches
from resilient_sse._core.delivery import Delivery
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Columns, Parser, RetryHint, usual_blocks
from resilient_sse._core.stats import StreamStats


def batches(**options) -> Batches:
    """Make an intake for whole reads with its first connection open."""
    made = Batches(StreamOptions(**options), StreamStats(), retry=lambda _: None)
    made.connected(1, resumed=False)
    made.tells_comments = True
    return made


def judged(source: Batches, *streams: bytes) -> list[bool]:
    """Judge so many reads of one connection."""
    parser = Parser()
    return [source.judge(parser.feed_fast(stream)) for stream in streams]


def events(start: int, count: int) -> bytes:
    """Write events that count."""
    return b"".join(b"id: %d\ndata: text\n\n" % number for number in range(start, start + count))


@pytest.mark.parametrize("count", [1, 2, 200])
@pytest.mark.parametrize("last", [b"", b"\n", b": c\n\n", b"id: 1\n\n", b"data: x\nfoo\n\n"])
def test_a_read_tells_whether_it_brought_an_event(count, last):
    """The watch over silence asks, whatever form the read had."""
    assert judged(batches(), b"\n", b": c\n\n", b"id: 1\n\n", events(5, count) + last) == [
        False,
        False,
        False,
        True,
    ]


def test_forms():
    """Long runs of one shape come as columns, others as rows, and what is not usual in neither way."""
    columns = usual_blocks(events(1, 100).decode())
    assert isinstance(columns, Columns)
    assert (columns.event, [*columns.ids], [*columns.data]) == (
        "",
        [*map(str, range(1, 101))],
        ["text"] * 100,
    )
    columns = usual_blocks("event: a\ndata: text\n\n" * 100)
    assert isinstance(columns, Columns)
    assert (columns.event, columns.ids, columns.data) == ("a", (), ["text"] * 100)
    assert isinstance(usual_blocks(events(1, 2).decode()), list)
    assert isinstance(usual_blocks("data: a\n\n: said\n\ndata: a\ndata: b\n\n" * 100), list)
    assert usual_blocks("data: a\n\nretry: 1\ndata: a\n\n" * 100) is None


LONG = 3000 * "x"


@pytest.mark.parametrize(
    "head",
    ["", "id: 7\n", "id: 7 \n", "id:  7\n", "id:7\n", "id: é\n", "id: a\tb\n", "id\n", "event: a\nid: 7\n",
     "id: 7\nevent: a\n", "id: 7\nevent: a\nid: 8\n", "event: \n", "x: y\n", ": said\n", "data: first\n",
     "retry: 5\n", "data\n", "id: 7\n\n", "\n"],
    ids=ascii,
)  # fmt: skip
def test_long_blocks_are_cut_as_the_standard_says(head):
    """They take a way of their own, at their line ends, and come out alike whatever stands in them (3.1)."""
    stream = f"data: {LONG}\n\n{head}data: {LONG}\n\n{head}data:{LONG}\n\n".encode()
    whole, single = batches(dedup="off"), Delivery(StreamOptions(dedup="off"), StreamStats())
    judged(whole, b"\n", stream)
    single.connected(1, resumed=False)
    for item in Parser().feed(stream):
        if not isinstance(item, RetryHint):
            single.put(item)
    assert [*iter(whole.take, None)] == [*iter(single.take, None)]
    assert (whole.cursor, whole.last_event_id) == (single.cursor, single.last_event_id)


@pytest.mark.parametrize(
    "ids",
    [
        [str(n) for n in range(95, 140)],
        [str(n) for n in range(0, 400, 7)],
        [str(10**18 + n) for n in range(40)],
        [f"{n:03}" for n in range(40)],
        ["10", "100", "11", "12", *map(str, range(13, 50))],
        [str(n) for n in range(40, 0, -1)],
        ["1" * 30] * 40,
        [*map(str, range(40)), "7"],
    ],
    ids=range(8),
)
def test_runs_of_any_ids_are_judged_like_single_events(ids):
    """Whatever the ids of a run are, the window knows the same afterwards."""
    stream = [f"id: {event_id}\ndata: {'x' * 40}\n\n".encode() for event_id in ids]
    whole, single = batches(dedup="always"), batches(dedup="always")
    judged(whole, b"\n", b"".join(stream))
    judged(single, b"\n", *stream)
    assert whole._stats == single._stats
    assert whole.cursor == single.cursor
    again = [(event_id, "message", "x" * 40) for event_id in [*ids, "0", "41", "999"]]
    assert [whole._window.look(*event) for event in again] == [single._window.look(*event) for event in again]
