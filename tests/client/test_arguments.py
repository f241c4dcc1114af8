"""What is given to a stream: copied, however it comes, and refused where it cannot be meant."""

import collections.abc
import functools
import inspect
import re
import typing

import anyio
import pytest

import resilient_sse
from resilient_sse import Backoff, HandshakeError, ResilientStream
from resilient_sse.testing import event
from tests.client.support import URL, Record, drain, make, one_loop


async def test_what_changes_later_changes_nothing(script):
    """Mappings, lists and `json` are copied at construction: the second request is the first again (P53)."""
    headers, body = {"X-Kind": "first"}, {"list": [1]}
    params = [("topic", "a")]
    texts, kinds, heartbeats = {"lost": "first"}, ["tick", "end"], ["beat"]
    for _ in range(2):
        script.respond(
            event("-", event="beat"), event("1", event="other"), event("2", event="tick"), id_of(1)
        ).drop()
    script.respond(event("3", event="end")).end()
    record, observed = Record(), []
    observers = [observed.append]
    async with make(
        script,
        headers=headers,
        params=params,
        json=body,
        method="POST",
        messages=texts,
        events=kinds,
        until="end",
        heartbeat_events=heartbeats,
        on_state_change=record,
        observers=observers,
    ) as stream:
        headers["X-Kind"], texts["lost"] = "later", "later"
        params.clear()
        body["list"].append(2)
        kinds.append("other")
        heartbeats.clear()
        observers.clear()
        assert [item.event for item in await drain(stream)] == ["tick", "tick", "end"]
    for request in script.requests:
        assert request.headers["x-kind"] == "first"
        assert request.url == f"{URL}?topic=a"
        assert request.content == b'{"list":[1]}'
    assert "first" in record.texts
    assert stream.stats.heartbeats == 2
    assert observed


def id_of(number):
    """Write a block that only sets the id."""
    return f"id: {number}\n\n".encode()


async def test_iterators_are_not_used_up(script):
    """A generator serves as well as a list, for every request (P53)."""
    script.respond().drop()
    script.respond(event("", event="beat"), event("x", event="end"))
    async with make(
        script,
        headers=((name, "1") for name in ["X-A", "X-B"]),
        params={"id": (number for number in [1, 2]), "set": {3}, "word": "ab"},
        events=(kind for kind in ["end"]),
        heartbeat_events=iter(["beat"]),
        until="end",
    ) as stream:
        await drain(stream)
    for request in script.requests:
        assert (request.headers["x-a"], request.headers["x-b"]) == ("1", "1")
        assert request.url == f"{URL}?id=1&id=2&set=3&word=ab"


async def asynchronous(*_):
    """Answer later."""


async def asynchronous_series():
    """Give delays later."""
    yield 1.0


class Asynchronous:
    """A function in the form of an object."""

    async def __call__(self, *_):
        """Answer later."""


DECIDING = ["until", "events", "total", "sequence", "classify", "messages", "backoff", "auth"]
FORMS = [asynchronous, Asynchronous(), functools.partial(asynchronous, 1), asynchronous_series]


@pytest.mark.parametrize("name", DECIDING)
def test_functions_that_answer_at_once_must_not_be_async(name):
    """In whatever form it comes, an async function is refused where its answer would count as true (P53)."""
    for function in FORMS:
        others = {"until": "end"} if name == "total" else {}
        with pytest.raises(TypeError, match=f"^{name} must be"):
            ResilientStream(URL, **others, **{name: function})


def test_decoders_and_observers_must_not_be_async():
    """Neither must what looks at values, at facts, and at chance (P53)."""
    for function in FORMS:
        with pytest.raises(TypeError, match=r"^observers must be"):
            ResilientStream(URL, observers=[function])
        with pytest.raises(TypeError, match=r"^Backoff: random must be"):
            Backoff(random=function)
        with pytest.raises(TypeError, match=r"^decode must be"):
            ResilientStream(URL, decode=function)
        with pytest.raises(TypeError, match=r"^on_invalid must be"):
            ResilientStream(URL, decode=int, on_invalid=function)


@pytest.mark.parametrize("name", ["until", "events", "classify", "decode"])
@one_loop
async def test_a_hidden_async_function_is_found_at_its_first_answer(script, name):
    """A lambda around an async function cannot be seen; a coroutine that would count as true can (P53)."""
    script.respond(event("1")).drop()
    async with make(script, **{name: lambda *_: asynchronous()}) as stream:
        with pytest.raises(TypeError, match=f"^{name} must not be async"):
            await drain(stream)


@pytest.mark.parametrize(
    "headers, complaint",
    [
        ({"X Space": "a"}, "'X Space' is no name"),
        ({"": "a"}, "'' is no name"),
        ({"X-Ü": "a"}, "'X-Ü' is no name"),
        ({"X:Y": "a"}, "'X:Y' is no name"),
        ([("X\r\nInjected", "a")], "is no name"),
        ({"Authorization": "Bearer secret\n"}, "the value of 'Authorization' has a line end"),
        ({"X-A": " secret"}, "the value of 'X-A'"),
        ({b"X-A": b"secret\x00"}, "the value of b'X-A'"),
    ],
)
@one_loop
async def test_headers_that_cannot_be_sent(script, headers, complaint):
    """They are found at construction, or at the attempt whose function returns them; no value is shown (P53)."""
    with pytest.raises(ValueError, match=r"^headers: ") as at_once:
        ResilientStream(URL, headers=headers)
    with pytest.raises(HandshakeError, match=r"^the request cannot be sent: headers: ") as later:
        await drain(make(script, headers=lambda: headers))
    for caught in (at_once, later):
        assert complaint in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "argument, complaint",
    [
        ({"headers": {"Authorization": None}}, "the value of 'Authorization' must be a string, not NoneType"),
        ({"headers": {"X-Count": 1}}, "the value of 'X-Count' must be a string, not int"),
        ({"params": {"q": b"bytes"}}, "a value must be a string, a number or several of them, not bytes"),
        ({"params": {"q": {"a": 1}}}, "not dict"),
        ({"events": 1}, "events must be a collection"),
        ({"heartbeat_events": "heartbeat"}, "heartbeat_events must be a collection"),
    ],
)
def test_values_of_the_wrong_type(argument, complaint):
    """The complaint names the argument and the place in it (P53)."""
    with pytest.raises(TypeError, match=complaint):
        ResilientStream(URL, **argument)


@pytest.mark.parametrize(
    "options",
    [
        {"events": ["heartbeat", "end"]},
        {"events": ["heartbeat", "end"], "heartbeat_events": ["heartbeat", "other"]},
        {"until": "heartbeat"},
        {"until": "heartbeat", "events": ["end"]},
        {"events": ("heartbeat", "end"), "until": lambda item: item.event == "heartbeat"},
        {"events": {"heartbeat"}, "sequence": resilient_sse.integers, "until": lambda item: item.data == "1"},
    ],
)
@one_loop
async def test_what_is_asked_for_by_name_is_delivered(script, options):
    """A type that `events` or `until` names is no heartbeat, whatever `heartbeat_events` says (section 3.3)."""
    script.respond(event("0", event="other", id="1"), event("1", event="heartbeat", id="2")).hang()
    async with make(script, **options) as stream:
        with anyio.move_on_after(5):
            async for item in stream:
                if item.event == "heartbeat":
                    break
        assert item.event == "heartbeat"


def test_types_of_signatures_can_be_imported():
    """Whatever stands in a public signature is a name of the root package, for wrappers that annotate (P53)."""
    functions = [member for _, member in inspect.getmembers_static(ResilientStream)]
    words = set()
    for function in filter(inspect.isfunction, functions):
        if not function.__name__.startswith("_") or function.__name__ == "__init__":
            words |= set(re.findall(r"\b[A-Z]\w+", " ".join(map(str, function.__annotations__.values()))))
    words -= {"None", "Item_co", "StateCallbackT", "GapCallbackT", *dir(typing), *dir(collections.abc)}
    assert words <= set(resilient_sse.__all__)
    assert all(getattr(resilient_sse, name) is not None for name in words)
