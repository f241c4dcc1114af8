"""What is given to a stream: copied, however it comes, and refused where it cannot be meant."""

import collections.abc
import functools
import inspect
import re
import typing
from types import SimpleNamespace

import anyio
import httpx
import httpx2
import pytest

import resilient_sse
from resilient_sse import Backoff, CircuitBreaker, HandshakeError, ResilientStream, resume
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import Reply, event
from tests.client.support import END, URL, Record, drain, make, numbered, one_loop, read


@pytest.mark.parametrize("given", [lambda values: values, iter], ids=["lists", "iterators"])
async def test_what_is_given_is_copied(script, given):
    """Later changes change nothing, and iterators are not used up: the second request is the first again (P53)."""
    script.play(
        *[Reply(event("-", event="beat"), event("1", event="other"), event("2", event="tick", id="7")).drop()]
        * 2,
        Reply(END),
    )
    record, observed = Record(), []
    lists = {
        "headers": [("X-A", "first"), ("X-B", "first")],
        "params": [("topic", "a"), ("topic", "b")],
        "events": ["tick", "end"],
        "heartbeat_events": ["beat"],
        "observers": [observed.append],
    }
    json, messages, id_of = {"list": [1]}, {"lost": "first"}, {"id": given([1, 2]), "set": {3}, "word": "ab"}
    options = {"method": "POST", "json": json, "messages": messages, "until": "end", "dedup": "off"}
    stream = make(script, **options, **{name: given(values) for name, values in lists.items()})
    json["list"].append(2)
    messages["lost"] = "later"
    for values in lists.values():
        values.clear()
    async with stream:
        stream.on_state_change(record)
        assert [item.event for item in await drain(stream)] == ["tick", "tick", "end"]
    for request in script.requests:
        assert (request.headers["x-a"], request.headers["x-b"]) == ("first", "first")
        assert (request.url, request.content) == (f"{URL}?topic=a&topic=b", b'{"list":[1]}')
    assert "first" in record.messages
    assert stream.stats.heartbeats == 2
    assert observed
    script.respond(*numbered(1))
    await read(script, 1, params=id_of)
    assert script.requests[-1].url == f"{URL}?id=1&id=2&set=3&word=ab"


async def asynchronous(*_):
    """Answer later."""


async def asynchronous_series():
    """Give delays later."""
    yield 1.0


class Asynchronous:
    """A function in the form of an object."""

    async def __call__(self, *_):
        """Answer later."""


FORMS = [asynchronous, Asynchronous(), functools.partial(asynchronous, 1), asynchronous_series]
DECIDING = ["until", "events", "total", "sequence", "classify", "messages", "backoff", "auth", "decode"]


@pytest.mark.parametrize("name", [*DECIDING, "on_invalid", "observers"])
def test_functions_that_answer_at_once_must_not_be_async(name):
    """In whatever form it comes, an async function is refused where its answer would count as true (P53)."""
    others = {"total": {"until": "end"}, "on_invalid": {"decode": int}}.get(name, {})
    for function in FORMS:
        given = [function] if name == "observers" else function
        with pytest.raises(TypeError, match=f"^{name} must be"):
            ResilientStream(URL, **others, **{name: given})
        with pytest.raises(TypeError, match=r"^Backoff: random must be"):
            Backoff(random=function)


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


def of_two(_fact, _other):
    """Take two arguments."""


def attaching(observer):
    """Return an instrument whose observer is as given."""
    return SimpleNamespace(attach=lambda _stats, _url: observer)


STORE = MemoryCheckpoint()
ABOUT_A_STORE = 'checkpoint with ack="auto"'
OF_EVENTS = "must be a collection of event types"
WRONG_TYPES = [
    ({"headers": {"Authorization": None}}, "the value of 'Authorization' must be a string, not NoneType"),
    ({"headers": {"X-Count": 1}}, "the value of 'X-Count' must be a string, not int"),
    ({"params": {"q": b"bytes"}}, "a value must be a string, a number or several of them, not bytes"),
    ({"params": {"q": {"a": 1}}}, "not dict"),
    ({"events": 1}, f"events {OF_EVENTS}"),
    ({"heartbeat_events": "heartbeat"}, f"heartbeat_events {OF_EVENTS}"),
    ({"decode": "json"}, "decode must be a function of an event's data, not 'json'"),
    ({"cursor": 7}, "cursor must be a function of the event"),
    ({"resume": "since"}, "resume must be a function of the position and the last answer, not 'since'"),
    ({"resume_param": "since", **resume.query("since")}, "resume_param"),  # two ways to say the same
    ({"breaker": CircuitBreaker}, "breaker must be a CircuitBreaker or None"),
    # What hears: an observer as it is, or made by an instrument; callbacks may be async.
    *(
        ({"observers": [wrap(observer)]}, f"^observers {words}")
        for wrap in (lambda observer: observer, attaching)
        for observer, words in (
            (3, "must be functions of the fact, not 3"),
            (asynchronous, "must be functions of the fact, and not async"),
            (of_two, r"must take one argument, not \(_fact, _other\)"),
        )
    ),
    *(({"observers": one}, "a sequence of observers, not one observer") for one in (print, attaching(print))),
    *(
        ({name: wrong}, f"^{name} must {words}")
        for name in ("on_state_change", "on_gap")
        for wrong, words in ((3, "be callable, not 3"), (of_two, r"take one argument, not \(_fact, _other\)"))
    ),
    # The store: P55.
    *(({"checkpoint": wrong}, "checkpoint") for wrong in (MemoryCheckpoint, object(), "position.db")),
    *(({"checkpoint": STORE, "checkpoint_key": key}, "checkpoint_key") for key in (7, b"mailer")),
    *(
        ({"checkpoint": STORE, "commit_every": wrong}, "commit_every must be an integer")
        for wrong in (1.5, None)
    ),
    # What is no client, or not of its library: P25, P58.
    *(({"client": wrong}, "AsyncClient of httpx or httpx2") for wrong in (httpx.Client, object(), httpx2)),
    (
        {"client": httpx.AsyncClient(transport=httpx.MockTransport(print)), "auth": httpx2.Auth()},
        r"auth must be an httpx\.Auth",
    ),
    (
        {"client": httpx2.AsyncClient(transport=httpx2.MockTransport(print)), "auth": httpx.Auth()},
        r"auth must be an httpx2\.Auth",
    ),
    ({"uds": 1}, "uds must be the path"),
    # A word is true, whatever it says, and a number is no sequence.
    ({"compression": "no"}, "compression must be True or False"),
    ({"observers": 5}, "observers must be a sequence"),
    # Who has used another library is told what the argument is called here: issue 11, kind 13.
    ({"timeout": 1}, "use stall_timeout for silence, or connect_timeout"),
    ({"read_timeout": 1}, "use stall_timeout"),
    ({"retries": 1}, "use max_retries"),
    ({"cookies": 1}, r"use client=httpx\.AsyncClient"),
    ({"on_error": 1}, "use on_state_change"),
    ({"initial_retry_delay": 1}, "use backoff"),
    ({"reconnect_interval": 1}, "use backoff"),
    ({"error_strategy": 1}, "use classify"),
    ({"last_event_ids": 1}, "use last_event_id$"),
    ({"nonsense": 1}, "no argument 'nonsense'$"),
]
URLS = ["", "host/stream", "ftp://host/", "https://", "https://a b/", "https://host:0/"]
WRONG_VALUES = [
    *(({"url": url}, "url must be an absolute") for url in URLS),
    (
        {"client": httpx.AsyncClient(transport=httpx.MockTransport(print)), "uds": "/s"},
        "uds is for streams without client=",
    ),
    ({"decode": int, "on_invalid": "ignore"}, "on_invalid must be 'raise', 'skip' or a function"),
    ({"on_invalid": "skip"}, "give decode="),
    ({"ack": "manual"}, "ack"),
    ({"start": "live"}, "start"),
    ({"checkpoint_key": "mailer"}, "checkpoint_key"),
    *(({"checkpoint": STORE, "ack": word}, "ack must be one of") for word in ("sometimes", None)),
    ({"checkpoint": STORE, "start": "now"}, "start must be one of"),
    ({"checkpoint": STORE, "checkpoint_key": ""}, "checkpoint_key"),
    ({"checkpoint": STORE, "commit_every": 0}, "commit_every must be 1 or more"),
    ({"checkpoint": STORE, "commit_interval": 0}, "commit_interval must be more than 0 seconds"),
    ({"checkpoint": STORE, "commit_every": 2, "ack": "manual"}, ABOUT_A_STORE),
    ({"commit_every": 2}, ABOUT_A_STORE),
]
REFUSED = [*((TypeError, *row) for row in WRONG_TYPES), *((ValueError, *row) for row in WRONG_VALUES)]


@pytest.mark.parametrize("kind, options, complaint", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_meant(kind, options, complaint):
    """It is refused at construction, and the complaint names the argument and the place in it (P53, P55)."""
    with pytest.raises(kind, match=complaint):
        ResilientStream(**{"url": URL} | options)


def test_what_may_be_meant():
    """Async callbacks are welcome, and so are functions that do not tell their arguments."""
    for function in (asynchronous, dict):
        ResilientStream(URL, on_state_change=function, on_gap=function)


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
