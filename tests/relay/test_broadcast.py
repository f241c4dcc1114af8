"""One stream handed on to many browsers (issue 14)."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import anyio
import pytest

from resilient_sse import RetriesExhaustedError, ServerSentEvent
from resilient_sse._core.parser import Block, Parser, RetryHint
from resilient_sse.relay import Broadcast
from resilient_sse.testing import event, virtual_backend
from tests.client.support import make, numbered, one_loop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on both backends, in virtual time: there is no Redis in here."""
    return virtual_backend(request.param)


class Browser:
    """What a page sees of a response: types, ids and data, `lastEventId` as the standard keeps it."""

    def __init__(self, broadcast, last_event_id=None):
        self.body = broadcast.subscribe(last_event_id)
        self.last_event_id = last_event_id
        self.seen = []
        self.retry = None
        self._parser = Parser()

    async def read(self):
        """Take one chunk; return false at the end of the response."""
        chunk = await anext(self.body, None)
        for item in self._parser.feed(chunk or b""):
            if isinstance(item, Block):
                self.last_event_id = item.id if item.id is not None else self.last_event_id
                if item.data is not None:
                    self.seen.append((item.event or "message", item.data))
            elif isinstance(item, RetryHint):
                self.retry = item.milliseconds
        return chunk is not None

    async def until(self, count, kind="message"):
        """Read until so many events of a type have come, and return all of that type."""
        with anyio.fail_after(3600):
            while len(self.data(kind)) < count and await self.read():
                pass
        return self.data(kind)

    async def to_the_end(self):
        """Read to the end of the response, which has been closed."""
        with anyio.fail_after(3600):
            while await self.read():
                pass
        return self.data()

    def data(self, kind="message"):
        """Return the data of the events of a type."""
        return [data for each, data in self.seen if each == kind]

    def told(self, kind):
        """Return what stands in the JSON of the events of a type."""
        return [json.loads(data) for data in self.data(kind)]


def sent(number, **fields):
    """Make an event whose data is its id."""
    return ServerSentEvent(**({"id": str(number), "data": str(number)} | fields))


def publish(broadcast, *numbers):
    """Publish events whose data are their ids."""
    return [broadcast.publish(sent(number)) for number in numbers]


async def test_a_stream_reaches_every_browser(script):
    """A hundred browsers get each event once, in order, with the texts of an outage in their places (R64-R74)."""
    script.respond(*numbered(1, 2)).drop()
    script.refuse()
    script.respond(*numbered(3), event("", id="4", event="done")).hang()
    broadcast = Broadcast()
    browsers = [Browser(broadcast) for _ in range(100)]
    for browser in browsers:
        await browser.read()
    async with make(script, until="done") as stream, anyio.create_task_group() as tasks:
        for browser in browsers:
            tasks.start_soon(browser.to_the_end)
        await broadcast.run(stream)
        broadcast.close()
    assert {tuple(browser.seen) for browser in browsers} == {tuple(browsers[0].seen)}
    texts = [
        json.loads(data)["message"] if kind == "stream_state" else data for kind, data in browsers[0].seen
    ]
    assert texts == [
        "Connected",
        "1",
        "2",
        "Connection lost - attempting to reconnect...",
        "Reconnecting (attempt 2)...",
        "Connection restored - resuming stream...",
        "3",
        "",
        "Response complete",
    ]


async def test_a_stream_that_decodes_is_handed_on_as_it_came(script):
    """Browsers get events, not what the service would make of them (P18)."""
    script.respond(*numbered(7), event("", event="done")).hang()
    broadcast = Broadcast()
    browser = Browser(broadcast)
    await browser.read()
    async with make(script, until="done", decode=int) as stream:
        await broadcast.run(stream)
        broadcast.close()
    await browser.to_the_end()
    assert ("message", "7") in browser.seen


async def test_a_browser_is_told_when_the_upstream_gives_up(script):
    """The state is an error with its text, for those who are there and for those who come; then it may go on."""
    script.refuse(times=3)
    script.respond(*numbered(1), event("", event="done")).hang()
    broadcast = Broadcast(heartbeat=None)
    early = Browser(broadcast)
    await early.read()
    async with make(script, until="done", max_retries=2) as stream:
        with pytest.raises(RetriesExhaustedError):
            await broadcast.run(stream)
        states = [json.loads(data) for data in await early.until(3, "stream_state")]
        assert [state["attempt"] for state in states] == [1, 2, 2]
        assert states[0] == {
            "state": "reconnecting",
            "reason": "connect",
            "attempt": 1,
            "max_retries": 2,
            "delay": 1.0,
            "message": "Reconnecting (attempt 1)...",
        }
        assert (states[2]["state"], states[2]["message"]) == ("error", "Failed to connect. Please refresh.")
        late = Browser(broadcast)
        assert [json.loads(data)["state"] for data in await late.until(1, "stream_state")] == ["error"]
        await broadcast.run(stream)
    assert await early.until(1) == await late.until(1) == ["1"]
    assert [state["message"] for state in late.told("stream_state")] == [
        "Failed to connect. Please refresh.",
        "Connection restored - resuming stream...",
        "Response complete",
    ]


async def test_what_the_stream_has_lost_is_told(script):
    """A gap stands once among the events, however often a stream was run, and who resumes later gets it too."""
    script.refuse(times=2)
    script.respond(*numbered(1, 4)).hang()
    script.respond(*numbered(4), event("", event="done")).hang()
    broadcast = Broadcast(start="first")
    async with make(script, until="done", sequence=int, max_retries=1) as stream:
        with pytest.raises(RetriesExhaustedError):
            await broadcast.run(stream)
        await broadcast.run(stream)
    broadcast.close()
    for browser in (Browser(broadcast), Browser(broadcast, "1")):
        await browser.to_the_end()
        gap = {"kind": "hole", "after_id": "1", "before_id": "4", "missing": 2}
        assert browser.told("stream_gap") == [gap]
        kinds = [kind for kind, data in browser.seen if data != "1"]
        assert kinds[:2] == ["stream_gap", "message"]


@pytest.mark.parametrize("last", range(1, 10))
async def test_a_browser_resumes_behind_any_id(last):
    """It gets what follows the id that it names, and the newest state only."""
    broadcast = Broadcast()
    publish(broadcast, *range(1, 10))
    broadcast.close()
    browser = Browser(broadcast, str(last))
    assert await browser.to_the_end() == [str(number) for number in range(last + 1, 10)]
    assert browser.told("stream_gap") == []


@pytest.mark.parametrize("ids", [[None, None, None], ["7", None, None], ["7", "7", "7"], ["", "7", ""]])
async def test_events_that_share_an_id_or_have_none(ids):
    """Each event is sent with an id of its own, so a browser resumes behind any of them."""
    broadcast = Broadcast()
    made = [broadcast.publish(ServerSentEvent(id=own, data=str(at))) for at, own in enumerate(ids)]
    assert len(set(made)) == 3
    assert made.count("7") == ("7" in ids)
    broadcast.close()
    for at, last in enumerate(made):
        assert await Browser(broadcast, last).to_the_end() == ["0", "1", "2"][at + 1 :]


@pytest.mark.parametrize(
    "own", ["é", "日本", " 7 ", "a\x1b[2J", "a\tb", "1\ndata: forged", "x" * 5000], ids=range(7)
)
async def test_ids_that_a_header_does_not_bring_back(own):
    """A browser could not name them: servers trim headers, read them as Latin-1, or answer 400, which is final."""
    broadcast = Broadcast()
    made = broadcast.publish(ServerSentEvent(id=own, data="a"))
    broadcast.publish(sent(1))
    broadcast.close()
    assert not made.startswith(own)
    assert made.isascii()
    assert made.isprintable()
    browser = Browser(broadcast, made.encode().decode("latin-1").strip())
    assert await browser.to_the_end() == ["1"]
    assert browser.told("stream_gap") == []


async def test_ids_of_another_process_are_not_mistaken():
    """What another broadcast has numbered is unknown here, although it has as many events."""
    old, new = Broadcast(), Broadcast()
    for broadcast in (old, new):
        broadcast.publish(ServerSentEvent(data="a"))
        broadcast.close()
    left = Browser(old, "nothing")
    await left.to_the_end()
    browser = Browser(new, left.last_event_id)
    assert await browser.to_the_end() == ["a"]
    assert browser.told("stream_gap")[0]["kind"] == "unresumable"


LOSS = ServerSentEvent(event="stream_gap", data='{"missing": 7}')


@pytest.mark.parametrize(
    "published, last, kind, missing",
    [
        (range(10), "2", "hole", 4),
        (range(2000), "997", "hole", 999),
        (range(2000), "990", "unresumable", None),  # given out too long ago
        (range(2000), "another's", "unresumable", None),
        (
            [1, LOSS, *range(9, 13)],
            "1",
            "hole",
            None,
        ),  # where the upstream has lost some, nobody knows how many
        ([1, LOSS, *range(9, 13)], "9", None, None),
    ],
    ids=["10", "997", "990", "another's", "behind a loss", "after it"],
)
async def test_what_is_not_kept_any_more(published, last, kind, missing):
    """The browser is told how many it has missed, or that nobody knows, and gets what is kept."""
    broadcast = Broadcast(history=3)
    for each in published:
        broadcast.publish(each if each is LOSS else sent(each))
    broadcast.close()
    browser = Browser(broadcast, last)
    kept = [str(number) for number in published[-3:]]
    assert await browser.to_the_end() == kept
    before = kept[0] if kind == "hole" else None
    gap = {"kind": kind, "after_id": last, "before_id": before, "missing": missing}
    assert browser.told("stream_gap") == ([gap] if kind else [])


async def test_a_new_browser_begins_live_or_at_the_first():
    """It gets what comes from now on, or all that is kept, and is told if that is not the beginning."""
    for start, expected, gaps in (("live", ["9"], []), ("first", ["6", "7", "8", "9"], [6])):
        broadcast = Broadcast(start=start, history=3)
        publish(broadcast, *range(9))
        browser = Browser(broadcast)
        await browser.read()
        publish(broadcast, 9)
        broadcast.close()
        assert await browser.to_the_end() == expected
        assert [gap["missing"] for gap in browser.told("stream_gap")] == gaps


async def test_a_slow_browser_is_told_what_it_has_missed():
    """It holds up nobody, learns how many events are gone, and goes on with what is kept."""
    broadcast = Broadcast(history=5)
    slow, quick = Browser(broadcast), Browser(broadcast)
    await slow.read()
    await quick.read()
    for number in range(20):
        publish(broadcast, number)
        await quick.read()
        if number == 2:
            await slow.read()
    broadcast.close()
    assert await quick.to_the_end() == [str(number) for number in range(20)]
    assert await slow.to_the_end() == ["0", "1", "2", "15", "16", "17", "18", "19"]
    gap = {"kind": "hole", "after_id": "2", "before_id": "15", "missing": 12}
    assert slow.told("stream_gap") == [gap]
    assert quick.told("stream_gap") == []


async def test_what_is_kept_is_bounded_in_bytes_too():
    """Large events push out more; the newest stays, however large; ids are forgotten some time later."""
    broadcast = Broadcast(history_bytes=1000, start="first")
    for number in range(50):
        broadcast.publish(sent(number, data="x" * 300))
    assert len(broadcast._ring) == 3
    assert broadcast._bytes <= 1000
    broadcast.publish(sent(50, data="y" * 5000))
    assert len(broadcast._ring) == 1
    broadcast.close()
    assert await Browser(broadcast).to_the_end() == ["y" * 5000]
    publish(broadcast, *range(51, 3000))
    assert len(broadcast._numbers) == 2000


async def test_a_long_history_costs_no_time():
    """The next event is found at once, however many are kept before it: measured side by side."""
    spent = {}
    for history in (10, 30_000):
        broadcast = Broadcast(history=history)
        publish(broadcast, *range(history))
        body, took = broadcast.subscribe(), []
        for number in range(history, history + 50):
            began = time.process_time()
            publish(broadcast, number)
            await anext(body)
            took.append(time.process_time() - began)
        spent[history] = min(took)
    assert spent[30_000] < 5 * spent[10]


async def test_states_do_not_push_out_events(script):
    """An upstream that is down for hours costs no history, and who lags hears the newest states."""
    script.respond(*numbered(1)).drop()
    script.refuse(times=500)
    broadcast = Broadcast(history=5)
    slow = Browser(broadcast)
    await slow.read()
    async with make(script, max_retries=499) as stream:
        with pytest.raises(RetriesExhaustedError):
            await broadcast.run(stream)
    broadcast.close()
    browser = Browser(broadcast, "1")
    assert await browser.to_the_end() == []
    assert [state["state"] for state in browser.told("stream_state")] == ["error"]
    assert await slow.to_the_end() == ["1"]
    assert slow.told("stream_gap") == []
    assert [state["attempt"] for state in slow.told("stream_state")][-3:] == [498, 499, 499]


async def test_a_long_replay_comes_in_few_pieces():
    """A thousand events are joined, and no piece is much larger than 16 KiB."""
    broadcast = Broadcast(start="first")
    publish(broadcast, *range(1000))
    broadcast.close()
    pieces = [piece async for piece in broadcast.subscribe()]
    assert len(pieces) < 10
    assert max(map(len, pieces)) < 17_000


async def test_heartbeats_fill_silence_only():
    """One comes whenever nothing else has for so long; it changes no id."""
    broadcast = Broadcast(heartbeat=10.0)
    browser = Browser(broadcast)
    await browser.read()

    async def publish_later():
        await anyio.sleep(25)
        publish(broadcast, 1)
        await anyio.sleep(9)
        publish(broadcast, 2)
        broadcast.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish_later)
        await browser.to_the_end()
    assert [kind for kind, _ in browser.seen] == ["heartbeat", "heartbeat", "message", "message"]
    assert browser.last_event_id == "2"


async def test_browsers_do_not_come_back_all_at_once():
    """Each is given a time of its own, within 20 % of the one that was asked for."""
    broadcast = Broadcast(retry=10_000)
    broadcast.close()
    browsers = [Browser(broadcast) for _ in range(50)]
    for browser in browsers:
        await browser.to_the_end()
    assert all(8_000 <= browser.retry <= 12_000 for browser in browsers)
    assert len({browser.retry for browser in browsers}) > 25
    silent = Broadcast(retry=None)
    silent.close()
    assert [piece async for piece in silent.subscribe()] == [b":\n\n"]


@pytest.mark.parametrize("seed", range(30))
@one_loop
async def test_any_order_of_reading_losing_and_coming_back(seed):
    """Whatever browsers do, what one sees rises, and a step over some is told before, with their number."""
    draw = random.Random(seed)
    broadcast = Broadcast(history=draw.randint(1, 20), history_bytes=draw.choice([400, 10**6]), heartbeat=0.1)
    browsers, published = [Browser(broadcast) for _ in range(4)], 0
    for _ in range(200):
        at, action = draw.randrange(4), draw.random()
        if action < 0.6:
            for _ in range(draw.choice([1, 1, 5, 30])):
                published += 1
                event_id = draw.choice([str(published), None, "the same"])
                broadcast.publish(ServerSentEvent(id=event_id, data=str(published)))
        elif action < 0.9:
            await browsers[at].read()
        else:  # it loses the connection, and comes back
            old, browsers[at] = browsers[at], Browser(broadcast, browsers[at].last_event_id)
            browsers[at].seen = old.seen
    broadcast.close()
    for browser in browsers:
        await browser.to_the_end()
        last, due = None, set()
        for kind, data in browser.seen:
            if kind == "stream_gap":
                missing = json.loads(data)["missing"]
                due = None if missing is None or due is None else {missing}
            elif kind == "message":
                if last is not None and due is not None:
                    assert int(data) - last - 1 in (due or {0})
                last, due = int(data), set()
        assert last is None or last == published


@pytest.mark.parametrize(
    "options",
    [{"history": 0}, {"history_bytes": 0}, {"start": "now"}, {"heartbeat": 0}, {"retry": -1}],
    ids=str,
)
def test_wrong_values_name_the_argument(options):
    """A value that makes no sense is refused at once."""
    with pytest.raises(ValueError, match=next(iter(options))):
        Broadcast(**options)


def test_an_event_that_cannot_be_written_is_refused():
    """A line end in a type would be another field: nothing of it is sent or kept."""
    broadcast = Broadcast()
    with pytest.raises(ValueError, match="single line"):
        broadcast.publish(ServerSentEvent(event="a\r\nid: 9"))
    assert not broadcast._ring
