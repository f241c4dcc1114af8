"""The replaying server resumes where it is asked to, with the faults it is told to have."""

import re

import anyio
import httpx
import pytest

from resilient_sse.testing import ReplayServer

URL = "https://host/stream"
EVENTS = [(1, "a"), (2, "b"), (5, "c"), (6, "d")]


async def connect(script, url=URL, last_event_id=None):
    """Return the ids that one connection gives, and how it ended."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    ids = []
    ending = "end"
    async with script.client() as client, client.stream("GET", url, headers=headers) as response:
        try:
            async for line in response.aiter_lines():
                ids += [int(number) for number in re.findall(r"^id: (.+)", line)]
        except httpx.ReadTimeout:
            ending = "silence"
        except httpx.ReadError:
            ending = "drop"
    return ids, ending


@pytest.mark.parametrize(
    "options,cursor,expected",
    [
        pytest.param({}, None, ([1, 2, 5, 6], "silence"), id="all"),
        pytest.param({}, "", ([1, 2, 5, 6], "silence"), id="empty-cursor"),
        pytest.param({}, "2", ([5, 6], "silence"), id="resume"),
        pytest.param({}, "3", ([5, 6], "silence"), id="resume-in-a-hole"),
        pytest.param({}, "6", ([], "silence"), id="nothing-new"),
        pytest.param({"live": False}, "5", ([6], "end"), id="clean-end"),
        pytest.param({"overlap": 2}, "5", ([2, 5, 6], "silence"), id="overlap"),
        pytest.param({"overlap": 9}, "2", ([1, 2, 5, 6], "silence"), id="overlap-beyond-the-start"),
        pytest.param({"overlap": 2}, None, ([1, 2, 5, 6], "silence"), id="overlap-only-at-a-resume"),
        pytest.param({"drop_after": 3}, None, ([1, 2, 5], "drop"), id="drop"),
        pytest.param({"drop_after": 3}, "2", ([5, 6], "silence"), id="drop-not-reached"),
        pytest.param({"drop_after": 2, "live": False}, "2", ([5, 6], "drop"), id="drop-at-the-last"),
        pytest.param({"drop_after": 0}, None, ([], "drop"), id="drop-at-once"),
    ],
)
async def test_what_one_connection_gives(script, options, cursor, expected):
    """Each option changes what it says it does."""
    script.always(ReplayServer(EVENTS, **options))
    assert await connect(script, last_event_id=cursor) == expected


async def test_resuming_by_query(script):
    """The id may come as a query parameter; the header wins."""
    script.always(ReplayServer(EVENTS, param="since"))
    assert await connect(script, URL + "?since=2") == ([5, 6], "silence")
    assert await connect(script, URL + "?since=2", "5") == ([6], "silence")


async def test_repeated_drops_lose_nothing(script):
    """A client that resumes by the last id gets every event once, whatever the number per connection."""
    script.always(ReplayServer([(number, "x") for number in range(1, 8)], drop_after=2))
    seen = []
    for _ in range(4):
        ids, _ = await connect(script, last_event_id=str(seen[-1]) if seen else None)
        seen += ids
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_events_at_intervals(script):
    """The time between two events passes between them, not before the first or after the last."""
    script.always(ReplayServer(EVENTS, every=2, live=False))
    await connect(script)
    assert anyio.current_time() == 6


async def test_foreign_ids_are_refused(script):
    """A last event id that this server never sent is a client's fault."""
    script.always(ReplayServer(EVENTS))
    async with script.client() as client:
        assert (await client.get(URL, headers={"Last-Event-ID": "abc"})).status_code == 400


@pytest.mark.parametrize(
    "events,options,word",
    [
        ([(1, "a"), (1, "b")], {}, "rising"),
        ([(2, "a"), (1, "b")], {}, "rising"),
        ([], {"overlap": -1}, "overlap"),
        ([], {"drop_after": -1}, "drop_after"),
        ([], {"every": -1}, "seconds"),
    ],
)
def test_impossible_servers_are_refused(events, options, word):
    """Wrong arguments are named."""
    with pytest.raises(ValueError, match=word):
        ReplayServer(events, **options)
