"""Typed payloads: what `decode` makes of events, and what becomes of data that it does not take (P18)."""

import asyncio
import json
from unittest.mock import Mock

import pytest

from resilient_sse import DecodeError, ServerSentEvent, integers
from resilient_sse.testing import Reply, comment, event
from tests.client.support import Store, drain, gives_up, hanging, make, numbered, take

BAD = 25
ALL = [*range(1, 51)]
LANES = {"batches": {}, "one by one": {"observers": [lambda _: None]}}


def orders():
    """Write fifty events, one of them malformed."""
    return [event("{" if n == BAD else json.dumps({"n": n}), id=str(n)) for n in ALL]


def number(data):
    """Decode an order."""
    return json.loads(data)["n"]


@pytest.fixture(params=LANES.values(), ids=LANES)
def options(request):
    """Give a store, and take either lane."""
    return {"checkpoint": Store(), "decode": number, **request.param}


async def test_raise_names_the_event_and_commits_nothing_of_it(script, options):
    """It is not lost: after a restart it comes again; asked for more, the stream goes on behind it."""
    words = r"JSONDecodeError for the event with the id '25'.*on_invalid"
    script.play(Reply(*orders()).hang(), Reply(*orders()[BAD - 1 :]).drop(), Reply(status=204))
    with pytest.raises(DecodeError, match=words) as caught:
        async with make(script, **options) as stream:
            await take(stream, 50)
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)
    assert (caught.value.event.data, stream.stats.invalid) == ("{", 1)
    assert options["checkpoint"].position == "24"

    async with make(script, **options) as stream:
        with pytest.raises(DecodeError):
            await anext(stream)
        assert await drain(stream) == ALL[BAD:]
    assert script.requests[1].last_event_id == "24"
    assert options["checkpoint"].position == "50"


@pytest.mark.parametrize(
    "policy", ["skip", lambda item, error: (item.id, item.data, type(error))], ids=range(2)
)
async def test_skip_leaves_it_out_and_a_function_makes_what_is_delivered(script, policy, options):
    """It counts, and the position goes on behind it."""
    script.play(Reply(*orders()).drop(), Reply(status=204))
    async with make(script, on_invalid=policy, **options) as stream:
        got = await drain(stream)
    made = [] if policy == "skip" else [("25", "{", json.JSONDecodeError)]
    assert got == [*ALL[: BAD - 1], *made, *ALL[BAD:]]
    assert (stream.stats.delivered, stream.stats.invalid) == (50, 1)
    assert options["checkpoint"].position == "50"


async def test_the_event_that_completes_the_stream_needs_no_payload(script):
    """A sentinel, or a summary, ends the loop; it is decoded if it can be, and counts as nothing invalid."""
    for last, got in (("[DONE]", [1, 2]), ('{"n": 3}', [1, 2, 3])):
        script.respond(event('{"n": 1}'), comment("x"), event('{"n": 2}'), event(last, event="done")).hang()
        async with make(script, decode=number, until="done") as stream:
            assert await drain(stream) == got
        assert stream.stats.invalid == 0


async def test_commit_without_an_event_is_about_the_last_one(script, store):
    """With `ack="manual"` the program sees payloads, and need not know their events (P21)."""
    script.respond(*orders()).hang()
    options = {"checkpoint": store, "ack": "manual", "decode": number}
    async with make(script, on_invalid="skip", **options) as stream:
        with pytest.raises(RuntimeError, match="before the first event"):
            await stream.commit()
        assert await take(stream, 25) == [n for n in range(1, 27) if n != BAD]
        assert store.position is None
        await stream.commit()
        assert stream.last_event_id == "26"
    assert store.position == "26"


async def test_filters_and_heartbeats_see_events(script):
    """What looks at events looks at them as they came, and so does `activity()`; only the loop gets payloads."""
    events = [event("x", event="heartbeat"), event("2", id="2", event="other"), event("3", id="3")]
    script.respond(*numbered(1), *events).hang()
    seen = []
    stream = make(script, decode=int, events=lambda item: seen.append(item.data) or item.event == "message")
    assert await take(stream, 1) == [1]
    async for item in stream.activity():
        if isinstance(item, ServerSentEvent):
            assert item.data == "3"
            break
    assert seen == ["1", "2", "3"]
    await stream.aclose()


async def test_numbers_and_invalid_data(script):
    """An event that is left out is no hole, and comes once (P18, P22)."""
    script.respond(event("1", id="1"), event("x", id="2"), event("x", id="2"), event("3", id="3")).drop()
    script.reject(204)
    stream = make(script, decode=int, on_invalid="skip", sequence=integers)
    assert await drain(stream) == [1, 3]
    assert (stream.stats.invalid, stream.stats.duplicates, stream.stats.gaps) == (1, 1, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
async def test_what_ends_programs_is_no_invalid_data(script, options, error):
    """It leaves the loop as it is, whatever the policy, and the event is not committed (P50)."""

    def interrupted(data):
        if data == "{":
            raise error
        return number(data)

    options["decode"] = interrupted
    script.respond(*orders()).hang()
    with pytest.raises(error):
        async with make(script, on_invalid="skip", **options) as stream:
            await take(stream, 50)
    assert stream.stats.invalid == 0
    assert options["checkpoint"].position == "24"


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
async def test_functions_that_end_loops_end_none(script, error):
    """`StopIteration` out of either function is an error like any other, not the end of the stream (3.4)."""
    ends = Mock(side_effect=error)
    script.play(hanging(1), hanging(1))
    async with make(script, decode=ends) as stream:
        assert error.__name__ in str(await gives_up(stream, DecodeError))
    async with make(script, decode=ends, on_invalid=ends) as stream:
        with pytest.raises(RuntimeError, match=f"on_invalid has raised {error.__name__}"):
            await anext(stream)
