"""Resuming over connections: the header, the parameter, and what a server repeats."""

import httpx
import pytest

from resilient_sse.testing import ReplayServer, event
from tests.client.support import URL, make, numbered, one_loop, read, take

IDS = [str(number) for number in range(50)]


async def test_the_id_is_sent_in_both_forms(script):
    """After 20 events the parameter occurs once, in its place, and the header agrees (R47, R48, R146)."""
    events = [(number, "x") for number in range(40)]
    script.play(ReplayServer(events, drop_after=20))
    script.always(ReplayServer(events))
    url = "https://host/stream?user_id=a%20b&last_event_id=-1&z=1"
    async with make(script, url, resume_param="last_event_id") as stream:
        assert [item.id for item in await take(stream, 40)] == IDS[:40]
    assert script.requests[0].url == url
    assert script.requests[1].url == "https://host/stream?user_id=a%20b&last_event_id=19&z=1"
    assert script.requests[1].last_event_id == "19"


@pytest.mark.parametrize("given", ["é", "日本", "a b", "\U0001f600", "-1", 'x"; y=1'])
@one_loop
async def test_ids_travel_as_utf_8(script, given):
    """Ids go into the header as UTF-8 bytes and into the parameter percent-encoded (P7, R148)."""
    script.respond(event("a", id=given)).drop()
    script.respond(event("b", id="n")).hang()
    await read(script, 2, resume_param="after")
    assert script.requests[1].last_event_id == given
    assert httpx.URL(script.requests[1].url).params["after"] == given


async def test_no_id_is_sent_before_there_is_one(script):
    """Events without ids give nothing to resume from (P7)."""
    script.respond(event("a")).drop()
    script.respond(event("b")).hang()
    async with make(script, resume_param="after") as stream:
        await take(stream, 2)
        assert stream.last_event_id is None
    assert script.requests[1].last_event_id is None
    assert "after" not in script.requests[1].url


async def test_an_empty_id_clears(script):
    """After `id:` with nothing behind it no id is sent any more (P8, R175)."""
    script.respond(*numbered(1), event("a", id="")).drop()
    script.respond(event("b")).hang()
    await read(script, 3)
    assert script.requests[1].last_event_id is None


@pytest.mark.parametrize("poison", [b" 2", b"2\x00", b"2\x01", b"2\t", b"2\x7f", b"x" * 5000], ids=range(6))
@one_loop
async def test_ids_that_no_header_can_carry(script, poison):
    """Such an id is delivered, or ignored as the standard says; the last good one resumes (P7, R175)."""
    script.respond(*numbered(1), b"id: " + poison + b"\ndata: a\n\n").drop()
    script.respond(*numbered(3)).hang()
    async with make(script) as stream:
        assert len(await take(stream, 3)) == 3
        assert stream.stats.unusable_ids == (0 if b"\0" in poison else 1)
    assert script.requests[1].last_event_id == "1"


async def test_a_block_with_nothing_but_an_id(script):
    """It delivers nothing and moves the position (P9)."""
    script.respond(b"id: 7\n\n").drop()
    script.respond(event("a")).hang()
    async with make(script) as stream:
        assert (await anext(stream)).last_event_id == "7"
    assert script.requests[1].last_event_id == "7"


async def test_filtered_events_move_the_position(script):
    """The last event seen resumes, not the last delivered (P17)."""
    script.respond(*numbered(1), event("x", id="2", event="noise")).drop()
    script.respond(*numbered(3)).hang()
    async with make(script, events={"message"}) as stream:
        assert [item.id for item in await take(stream, 2)] == ["1", "3"]
        assert stream.stats.filtered == 1
    assert script.requests[1].last_event_id == "2"


async def test_overlap_thrice(script):
    """Five events repeated at each of three resumes: 15 dropped, none lost or repeated (R63, R150)."""
    events = [(number, f"data {number}") for number in range(50)]
    for drop_after in (15, 20, 20):
        script.play(ReplayServer(events, overlap=5, drop_after=drop_after))
    script.always(ReplayServer(events, overlap=5))
    async with make(script) as stream:
        assert [item.id for item in await take(stream, 50)] == IDS
        figures = stream.stats
    assert (figures.duplicates, figures.delivered, figures.reconnects) == (15, 50, 3)
    assert script.max_live == 1


async def test_an_inherited_id_drops_nothing(script):
    """Only an id written in the block itself counts: `7 a / b / c / 8 d` are four events (section 3.2)."""
    body = event("a", id="7") + event("b") + event("b") + event("d", id="8")
    script.respond(body).drop()
    script.respond(body, *numbered(9)).hang()
    items = await read(script, 7)
    assert [item.data for item in items] == ["a", "b", "b", "d", "b", "b", "9"]
    assert [item.last_event_id for item in items[:4]] == ["7", "7", "7", "8"]
    assert [item.connection for item in items] == [1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("mode, expected", [("always", 2), ("replay", 3), ("off", 4)])
@one_loop
async def test_dedup_modes(script, mode, expected):
    """Repeats are dropped always, only when resumed, or never (section 3.2)."""
    script.respond(*numbered(1, 1)).drop()
    script.respond(*numbered(1, 2)).hang()
    async with make(script, dedup=mode) as stream:
        count = 0
        while (await anext(stream)).id != "2":
            count += 1
    assert count + 1 == expected


async def test_a_parameter_that_occurs_twice_is_sent_once(script):
    """However often the URL has the resume parameter, the request names one position (R47)."""
    script.respond(*numbered(5)).drop()
    script.respond(*numbered(6)).hang()
    async with make(script, URL + "?after=1&x=%20&after=2", resume_param="after") as stream:
        await take(stream, 2)
    assert script.requests[1].url == URL + "?after=5&x=%20"


async def test_the_given_id_is_known_even_if_older_events_come_first(script):
    """A given id is in the window from the start: a server that overlaps by two does not repeat it (3.2)."""
    script.respond(*numbered(18, 19, 20, 21)).hang()
    assert [item.id for item in await read(script, 3, last_event_id="20")] == ["18", "19", "21"]
