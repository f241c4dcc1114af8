"""Resuming over connections: the header, the parameter, and what a server repeats."""

from unittest.mock import Mock

import httpx
import pytest

from resilient_sse.testing import ReplayServer, Reply, comment, event
from tests.client.support import URL, at_once, drain, dropped, hanging, make, numbered, one_loop, read, take


@pytest.mark.parametrize(
    "given, expected",
    [
        ("?user_id=a%20b&last_event_id=-1&z=1", "?user_id=a%20b&last_event_id=19&z=1"),
        ("?last_event_id=-1&x=%20&last_event_id=-1", "?last_event_id=19&x=%20"),
    ],
)
async def test_the_id_is_sent_in_both_forms(script, given, expected):
    """The parameter occurs once, in its place, however often it was given; the header agrees (R47, R48, R146)."""
    events = [(number, f"data {number}") for number in range(40)]
    script.play(ReplayServer(events, drop_after=20))
    script.always(ReplayServer(events, overlap=5))
    async with make(script, URL + given, resume_param="last_event_id") as stream:
        assert [item.id for item in await take(stream, 40)] == [str(number) for number in range(40)]
        assert stream.stats.duplicates == 5
    assert [request.url for request in script.requests] == [URL + given, URL + expected]
    assert script.requests[1].last_event_id == "19"


@pytest.mark.parametrize("given", ["é", "日本", "a b", "\U0001f600", "-1", 'x"; y=1'])
@one_loop
async def test_ids_travel_as_utf_8(script, given):
    """Ids go into the header as UTF-8 bytes and into the parameter percent-encoded (P7, R148)."""
    script.play(Reply(event("a", id=given)).drop(), Reply(event("b", id="n")).hang())
    await read(script, 2, resume_param="after")
    assert script.requests[1].last_event_id == given
    assert httpx.URL(script.requests[1].url).params["after"] == given


POISON = [b" 2", b"2\x01", b"2\t", b"2\x7f", b"x" * 5000]
POSITIONS = [
    ([event("a")], None, 0),  # P7
    ([*numbered(1), event("a", id="")], None, 0),  # P8, R175
    ([b"id: 7\n\n"], "7", 0),  # P9
    ([*numbered(1), event("x", id="2", event="noise")], "2", 0),  # P17
    ([*numbered(1), b"id: 2\0\ndata: a\n\n"], "1", 0),  # P7, R175
    *(([*numbered(1), b"id: " + poison + b"\ndata: a\n\n"], "1", 1) for poison in POISON),
]


@pytest.mark.parametrize("parts, position, unusable", POSITIONS, ids=range(len(POSITIONS)))
@one_loop
async def test_ids_that_no_header_can_carry(script, parts, position, unusable):
    """No id, an empty one, one alone, one of a filtered event; what cannot be sent leaves the last good one."""
    script.play(Reply(*parts).drop(), Reply(event("end", event="end")).hang())
    async with make(script, events={"message"}, until="end", resume_param="after") as stream:
        seen = [item.data for item in await drain(stream)]
        assert stream.stats.unusable_ids == unusable
    assert seen[-1] == "end"
    assert script.requests[1].last_event_id == position
    assert httpx.URL(script.requests[1].url).params.get("after") == position


async def test_what_is_a_duplicate(script):
    """An id of its own with the same type and data; `event: message` and no type are one (R14, R150, P8)."""
    blocks = [("1", "a", None), ("1", "b", None), ("1", "b", None), ("1", "a", "add"), ("1", "a", "message")]
    blocks += [("", "a", None)] * 3
    body = b"".join(event(data, id=own, event=kind) for own, data, kind in blocks) + event("a") * 3
    script.respond(body, event("", event="end")).hang()
    async with make(script, dedup="always", until="end") as stream:
        assert [item.data for item in await drain(stream)] == [*"aba", *"a" * 6, ""]
        assert (stream.stats.id_conflicts, stream.stats.duplicates) == (2, 2)


@pytest.mark.parametrize(
    "options, seen, figures",
    [
        ({}, "12", (3, 2, 0)),
        ({"heartbeat_events": ()}, "1525", (5, 0, 0)),
        ({"heartbeat_events": {"message"}}, "525", (4, 1, 0)),
        ({"events": ["add"]}, "2", (2, 2, 1)),
        ({"events": ("message",)}, "1", (2, 2, 1)),
        ({"events": lambda item: item.event}, "12", (3, 2, 0)),
        ({"events": {"heartbeat"}}, "55", (3, 0, 2)),
    ],
    ids=range(7),
)
@one_loop
async def test_filters(script, options, seen, figures):
    """Types, or a function of the event, choose; heartbeats are none of it, nor ever repeats (P17, R138, X13)."""
    beat = event("{}", event="heartbeat", id="5")
    script.respond(*numbered(1), beat, event("x", event="add", id="2"), beat, event("", event="end")).hang()
    async with make(script, dedup="off", until="end", **options) as stream:
        assert "".join(item.id or "" for item in await drain(stream)) == seen
        assert (stream.stats.delivered, stream.stats.heartbeats, stream.stats.filtered) == figures


ANSWERS = {"events": True, "until": False, "error_events": False, "sequence": 1, "total": 0}


@pytest.mark.parametrize("name, answer", ANSWERS.items(), ids=ANSWERS)
async def test_a_function_that_raises_loses_nothing(script, name, answer):
    """The event stays at the head, uncounted, and comes when the consumer asks again (P18)."""
    script.respond(comment("before") + at_once(1)).hang()
    moody = Mock(side_effect=[ZeroDivisionError, *[answer] * 9])
    async with make(script, **{name: moody}, **({"until": "message"} if name == "total" else {})) as stream:
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
        assert (stream.stats.received, stream.last_event_id) == (0, None)
        assert (await anext(stream)).id == "1"
        assert stream.stats.duplicates == 0


async def test_an_inherited_id_drops_nothing(script):
    """Only an id written in the block itself counts: `7 a / b / c / 8 d` are four events (section 3.2)."""
    body = event("a", id="7") + event("b") + event("b") + event("d", id="8")
    script.play(Reply(body).drop(), Reply(body, *numbered(9)).hang())
    items = await read(script, 7)
    assert [item.data for item in items] == ["a", "b", "b", "d", "b", "b", "9"]
    assert [item.last_event_id for item in items[:4]] == ["7", "7", "7", "8"]
    assert [item.connection for item in items] == [1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("mode, expected", [("always", 2), ("replay", 3), ("off", 4)])
@one_loop
async def test_dedup_modes(script, mode, expected):
    """Repeats are dropped always, only when resumed, or never (section 3.2)."""
    script.play(dropped(1, 1), hanging(1, 2))
    async with make(script, dedup=mode) as stream:
        count = 0
        while (await anext(stream)).id != "2":
            count += 1
    assert count + 1 == expected


async def test_the_given_id_is_known_even_if_older_events_come_first(script):
    """A given id is in the window from the start: a server that overlaps by two does not repeat it (3.2)."""
    script.respond(*numbered(18, 19, 20, 21)).hang()
    assert [item.id for item in await read(script, 3, last_event_id="20")] == ["18", "19", "21"]
