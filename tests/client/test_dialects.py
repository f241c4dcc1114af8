"""Dialects of resuming (DESIGN 3.11): one conformance test over all of them, and what each does if it cannot."""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import pytest

from resilient_sse import Gap, HandshakeError, NotResumableError, Opened, Resume, ServerSentEvent, resume
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import RecordedRequest, Refusal, Reply, Script, event
from tests.client.support import URL, at_once, dropped, hanging, make, numbered, read, take

WORDS = ("Once", "upon", "the", "the", "upon", "time")
"""What is sent; words come twice, for a content alone names no event."""

BODY = {"prompt": "Tell me a story"}


def query_of(request: RecordedRequest) -> httpx.QueryParams:
    """Return the query parameters of a request."""
    return httpx.URL(request.url).params


def behind(value: str | None) -> int:
    """Return the index behind a number on the wire, or the start."""
    return 0 if value is None else int(value) + 1


@dataclass
class Server:
    """A server of one dialect: what it sends for each word, and with which word a request wants to begin."""

    blocks: list[list[bytes]]
    start: Callable[[RecordedRequest], int]
    arguments: Mapping[str, Any]
    answer: Callable[[RecordedRequest, int], dict[str, str]] = lambda _request, _index: {}
    url: str = URL
    anew: int = field(default=0, init=False)
    cuts: list[int] = field(default_factory=list, init=False)

    def __call__(self, request: RecordedRequest) -> Reply:
        index = self.start(request)
        self.anew += request.method == "POST" and index == 0
        wire = b"".join(b"".join(blocks) for blocks in self.blocks[index:])
        headers = self.answer(request, index)
        if not self.cuts:
            return Reply(wire, headers=headers).hang()
        cut = self.cuts.pop(0)
        return Reply(wire[:cut], headers=headers).cut()


POST: Mapping[str, Any] = {"method": "POST", "json": BODY}
WITH_IDS = [[event(word, id=str(number))] for number, word in enumerate(WORDS)]
WITH_NUMBERS = [
    [event(json.dumps({"sequence_number": number, "delta": word}))] for number, word in enumerate(WORDS)
]


def by_control_events(every: int) -> Server:
    """D3: a control event behind each so many words; offsets are opaque."""
    blocks = [[event(word, event="data")] for word in WORDS]
    for number in range(every, len(WORDS) + 1, every):
        offset = json.dumps({"streamNextOffset": f"0_{number:06}"})
        blocks[number - 1].append(event(offset, event="control"))
    return Server(
        blocks,
        lambda request: int(query_of(request)["offset"].removeprefix("0_").replace("-1", "0")),
        {**resume.control_event(), "heartbeat_events": {"control"}, "last_event_id": "-1"},
        url=URL + "?live=sse",
    )


def by_response() -> Server:
    """D4: a POST, then GETs of the response by its id and a number."""
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}

    def start(request: RecordedRequest) -> int:
        if request.method == "POST":
            assert json.loads(request.content) == BODY
            return 0
        url = httpx.URL(request.url)
        assert (url.path, url.params["stream"], request.content) == ("/v1/responses/resp_1", "true", b"")
        return behind(url.params["starting_after"])

    blocks = [[event(json.dumps(created))], *WITH_NUMBERS[1:]]
    return Server(blocks, start, {**resume.response(), **POST}, url="https://host/v1/responses")


def by_location() -> Server:
    """D6: a POST whose answer has a `Location`, then GETs of that with the header."""

    def start(request: RecordedRequest) -> int:
        assert httpx.URL(request.url).path == ("/stream" if request.method == "POST" else "/runs/1")
        return behind(request.last_event_id)

    def answer(request: RecordedRequest, _index: int) -> dict[str, str]:
        return {"Location": "runs/1"} if request.method == "POST" else {}

    return Server(WITH_IDS, start, {**resume.location(), **POST}, answer)


def by_json_ids() -> Server:
    """Wikimedia: ids are arrays of one timestamp for each partition, and a resume begins at them, not behind."""
    places = [("east", 1), ("west", 1), ("east", 2), ("east", 2), ("west", 4), ("west", 4)]
    latest: dict[str, Any] = {}
    blocks: list[list[bytes]] = []
    for number, (topic, timestamp) in enumerate(places):
        latest[topic] = {"topic": topic, "partition": 0, "timestamp": timestamp}
        other = {"topic": "north", "partition": 0, "offset": -1}
        identifier = json.dumps([latest[topic], other] if number % 2 else [*latest.values(), other])
        # Records have an id of their own, as Wikimedia's have.
        blocks.append([event(json.dumps({"meta": {"id": number}, "delta": WORDS[number]}), id=identifier)])

    def start(request: RecordedRequest) -> int:
        asked = {
            place["topic"]: place.get("timestamp", 0) for place in json.loads(request.last_event_id or "[]")
        }
        return [time >= asked.get(topic, 0) for topic, time in places].index(True)

    return Server(blocks, start, resume.json_ids())


def by_mercure() -> Server:
    """Mercure: opaque ids; who names none hears what comes; the answer names the id before its first event."""
    ids = ["urn:uuid:f", "urn:uuid:b", "urn:uuid:9", "urn:uuid:a", "urn:uuid:0", "urn:uuid:c", "urn:uuid:d"]
    live = iter((0, len(WORDS)))

    def start(request: RecordedRequest) -> int:
        asked = query_of(request).get("last_event_id")
        assert asked == request.last_event_id
        return next(live) if asked is None else ids.index(asked)

    blocks = [[event(word, id=name)] for name, word in zip(ids[1:], WORDS, strict=True)]
    return Server(blocks, start, resume.mercure(), lambda _, index: {"Mercure-Last-Event-ID": ids[index]})


DIALECTS: Mapping[str, Callable[[], Server]] = {
    # D1 and D2: ids in blocks; the header, or a query parameter alone.
    "header": lambda: Server(WITH_IDS, lambda request: behind(request.last_event_id), {}),
    "query": lambda: Server(
        WITH_IDS,
        lambda request: behind(query_of(request).get("since")),
        resume.query("since", header=False),
    ),
    "control-event": lambda: by_control_events(1),
    "control-event-for-two": lambda: by_control_events(2),
    # D5: a number in the JSON of each event, and a GET with a query parameter.
    "json-field": lambda: Server(
        WITH_NUMBERS,
        lambda request: behind(query_of(request).get("starting_after")),
        resume.json_field("sequence_number", "starting_after"),
    ),
    "response": by_response,
    "location": by_location,
    # D8: the same POST with the position in its JSON body.
    "json-body": lambda: Server(
        WITH_IDS,
        lambda request: behind(json.loads(request.content).get("since")),
        {**resume.json_body("since", BODY), **POST},
    ),
    "json-ids": by_json_ids,
    "mercure": by_mercure,
}


def cuts_of(server: Server) -> list[int]:
    """Return the lengths after which the wire is cut: at each boundary of blocks, and inside each block."""
    ends = [0, *accumulate(len(block) for blocks in server.blocks for block in blocks)]
    return sorted({*ends, *((start + end) // 2 for start, end in pairwise(ends))})


def word_of(item: ServerSentEvent) -> str:
    """Return what was sent, whatever the dialect wraps around it."""
    body = item.json() if item.data.startswith("{") else item.data
    return body if isinstance(body, str) else body.get("delta", WORDS[0])


async def play(dialect: str, *cuts: int) -> tuple[list[str], Server, list[Gap], bool]:
    """Read all words over connections that are cut; return what came, and whether the stream refused to go on."""
    server, script, gaps = DIALECTS[dialect](), Script(), []
    server.cuts = list(cuts)
    script.always(server)
    words: list[str] = []
    refused = False
    async with make(script, server.url, on_gap=gaps.append, **server.arguments) as stream:
        try:
            with anyio.move_on_after(20):  # there is nothing to come after the last word
                async for item in stream:
                    words.append(word_of(item))  # noqa: PERF401 - what came before an error counts
        except NotResumableError:
            refused = True
    script.verify()
    script.closed_all()
    return words, server, gaps, refused


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_server_that_is_cut_anywhere(dialect):
    """P57: cut twice at and inside every event: nothing is lost or doubled, and no POST is repeated."""
    for cut in cuts_of(DIALECTS[dialect]()):
        words, server, gaps, refused = await play(dialect, cut, cut)
        if refused:  # nothing has come, so nothing is known that could be asked for
            assert dialect in ("response", "json-body")
            assert words == []
        else:
            assert words == list(WORDS), cut
        assert gaps == []
        assert server.anew <= 1


def test_a_preset_is_short():
    """P57: each has at most 25 lines, its docstring left out: two functions are all that a dialect takes."""
    module = ast.parse(Path(resume.__file__).read_text(encoding="utf-8"))
    for function in module.body:
        if isinstance(function, ast.FunctionDef):
            first, *rest = function.body
            lines = range(function.lineno, (function.end_lineno or 0) + 1)
            told = range(first.lineno, rest[0].lineno) if ast.get_docstring(function) else ()
            assert len(lines) - len(told) <= 25, function.name


@pytest.mark.parametrize(
    "odd",
    ["42", "[1]", '[{"topic":"a"}]', "[" * 2000, '[{"topic":"a","partition":0,"timestamp":null}]'],
    ids=range(5),
)
async def test_an_id_that_is_no_array_of_positions(script, odd):
    """P57: it moves the position nowhere, and its event is delivered."""
    known = '[{"topic":"a","partition":0,"timestamp":7}]'
    script.respond(event("x", id=known), event("y", id=odd)).drop()
    script.respond(event("z", id=odd)).hang()
    assert [item.data for item in await read(script, 3, **resume.json_ids())] == ["x", "y", "z"]
    assert script.requests[1].last_event_id == known


@pytest.mark.parametrize("odd", [None, {"x": 1}, [1], True])
async def test_a_position_that_is_no_text_and_no_number(script, odd):
    """P57: the last one that was stays."""
    script.respond(event(json.dumps({"n": 7})), event(json.dumps({"n": odd}))).drop()
    script.respond(event("x")).hang()
    await read(script, 3, **resume.json_field("n", "after"))
    assert query_of(script.requests[1])["after"] == "7"


async def test_a_body_is_copied(script):
    """P57: what the program changes in it later is not asked for."""
    body = {"messages": ["first"]}
    script.play(dropped(1), hanging(2))
    async with make(script, method="POST", json=body, **resume.json_body("since", body)) as stream:
        await anext(stream)
        body["messages"].append("second")
        await anext(stream)
    assert [json.loads(request.content)["messages"] for request in script.requests] == [["first"]] * 2


# --- Listen again and refetch


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_listen_again_and_refetch(method):
    """P57: where nothing can be resumed, each outage is one `Gap` and one snapshot, taken behind the listening."""
    script, log = Script(), []
    first, last = (Reply(*(event(word, id="1") for word in words)) for words in (WORDS[:2], WORDS[4:]))
    script.play(first.cut(), *[Refusal()] * 2, last.hang())  # two words were published in between

    async def snapshot() -> None:
        log.append(f"snapshot at {script.live} connection")

    def tell(change: Any) -> None:
        log.append(change.new.value)

    options: dict[str, Any] = {**resume.listen_again(), "method": method, "on_state_change": tell}
    async with make(script, on_gap=resume.refetch(snapshot, spread=4.0), **options) as stream:
        log += [item.data for item in await take(stream, 2)]
        began = anyio.current_time()
        log += [item.data for item in await take(stream, 2)]
        assert stream.stats.gaps == 1
        assert 6 < anyio.current_time() - began < 11  # three attempts in 7 s, and up to 4 s of jitter
    outage = [*["reconnecting"] * 3, "connected", "snapshot at 1 connection"]
    assert log == ["connected", "Once", "upon", *outage, "upon", "time", "closed"]
    assert [request.last_event_id for request in script.requests] == [None] * 4
    assert script.max_live == 1


# --- cursor=


def by_number(item: ServerSentEvent) -> str | None:
    """Return the number in the data of an event."""
    return item.data if item.data.isdigit() else None


async def test_the_position_is_what_the_function_returns(script):
    """P57: it resumes in the header and is `last_event_id`; the id of an event stays the one on the wire."""
    script.respond(event("7", id="x"), event("y"), event("8", id="")).drop()
    script.respond(event("9")).hang()
    async with make(script, cursor=by_number) as stream:
        taken = await take(stream, 4)
        assert stream.last_event_id == "9"
    expected = [("x", "7"), (None, "7"), ("", "8"), (None, "9")]
    assert [(item.id, item.last_event_id) for item in taken] == expected
    assert script.requests[1].last_event_id == "8"


@pytest.mark.parametrize("dialect", sorted(DIALECTS.keys() - {"location"}))
async def test_a_program_that_dies_at_any_event(dialect):
    """P57: a restart goes on at the stored position: nothing is lost, and little comes again."""
    for handled in range(2, len(WORDS)):
        store, server, script = MemoryCheckpoint(), DIALECTS[dialect](), Script()
        script.always(server)
        stream = make(script, server.url, checkpoint=store, **server.arguments)
        came = [word_of(item) for item in await take(stream, handled)]
        await stream.aclose()  # without the block whose clean end would commit the last
        async with make(script, server.url, checkpoint=store, **server.arguments) as stream:
            came += [word_of(item) for item in await take(stream, len(WORDS) - handled + 1)]
            with anyio.move_on_after(20):
                while True:
                    came.append(word_of(await anext(stream)))
        again = len(came) - len(WORDS)
        assert came == [*WORDS[:handled], *WORDS[handled - again :]]
        # A position behind its words is stored with the next of them; one that is begun at is repeated whole.
        assert 1 <= again <= {"control-event": 2, "control-event-for-two": 3, "json-ids": 3}.get(dialect, 1)
        assert server.anew <= 1


async def test_a_replay_from_before_the_position_is_dropped(script):
    """P57: a server that overlaps repeats nothing and moves no position back, heartbeats included (R63)."""
    words = [event(str(number)) for number in range(5)]
    beat = event("1", event="heartbeat")
    script.play(Reply(*words[:4]).drop(), Reply(*words[1:3], beat).drop())
    script.respond(*words[3:], event("5")).hang()
    async with make(script, cursor=by_number) as stream:
        assert [item.data for item in await take(stream, 6)] == ["0", "1", "2", "3", "4", "5"]
        assert (stream.stats.duplicates, stream.stats.gaps) == (3, 0)
    assert [request.last_event_id for request in script.requests] == [None, "3", "3"]


async def test_what_is_not_replayed_is_not_taken_for_a_replay(script):
    """P57: behind a resume only what comes in its old order is a repetition; after a difference nothing is."""
    script.respond(event("1"), event("a"), event("b"), event("c")).drop()
    script.respond(event("a"), event("c"), event("b"), event("c")).drop()  # it has lost `b`
    script.respond(event("a"), event("c"), event("2")).hang()
    async with make(script, cursor=by_number) as stream:
        taken = [item.data for item in await take(stream, 8)]
    assert taken == ["1", "a", "b", "c", "c", "b", "c", "2"]


@pytest.mark.parametrize("wrong", [7, ValueError("no position"), KeyboardInterrupt("no position")])
async def test_a_function_that_fails_loses_nothing(script, wrong):
    """P52: what it raises is raised before its event, which comes again when the stream is asked again."""
    cursor = Mock(side_effect=[None, wrong, "2", "3"])
    script.respond(at_once(1, 2, 3)).hang()
    async with make(script, cursor=cursor) as stream:
        assert (await anext(stream)).data == "1"
        with pytest.raises(type(wrong) if isinstance(wrong, BaseException) else TypeError):
            await anext(stream)
        assert [item.last_event_id for item in await take(stream, 2)] == ["2", "3"]


# --- resume=


def elsewhere(url: str, **changes: Any) -> Callable[[str | None, Opened | None], Resume]:
    """Go on at *url*."""
    return lambda position, _: Resume(url=url, last_event_id=position, **changes)


@pytest.mark.parametrize("url", ["https://other/next", "http://host/next", "https://host:8443/next"])
async def test_a_resumed_url_carries_nothing_to_another_origin(url):
    """P57, 3.4: as with redirects, headers, credentials, cookies and the client's defaults stay at home."""
    script = Script()
    script.play(Reply(*numbered(1), headers={"Set-Cookie": "session=1"}).drop(), dropped(2), hanging(3))
    ways = {1: elsewhere(url, headers={"X-Key": "k"}), 2: elsewhere("/back")}
    client = script.client(headers={"X-Default": "d"}, params={"key": "k"})
    async with make(
        script,
        "https://user:secret@host/stream",
        client=client,
        headers={"Authorization": "Bearer t", "X-Own": "o"},
        resume=lambda position, answer: ways[answer.connection](position, answer),
    ) as stream:
        await take(stream, 3)
    secrets = {"authorization", "cookie", "x-own", "x-key", "x-default"}
    assert script.requests[1].url == url
    assert secrets & set(script.requests[1].headers) == set()
    assert script.requests[1].last_event_id == "1"
    assert script.requests[2].url.startswith("https://host/back")
    assert {"authorization", "cookie", "x-own"} <= set(script.requests[2].headers)


@pytest.mark.parametrize(
    "way, error, words",
    [
        # A body is the caller's, too.
        ({"resume": elsewhere("https://other/", content="x")}, HandshakeError, "another origin"),
        # What a server names to go on at is no error of the program.
        *(
            ({"resume": elsewhere(url)}, HandshakeError, "resume: ")
            for url in ("ftp://host/", "https://host:99999/", "http://[", "a b")
        ),
        # What is no `Resume` is one (P52).
        ({"resume": lambda position, answer: {"url": "x"}}, TypeError, "resume must return"),
    ],
    ids=range(6),
)
async def test_where_it_cannot_go_on(script, way, error, words):
    """P57: the error is raised instead of the request."""
    script.respond(*numbered(1)).drop()
    async with make(script, method="POST", json=BODY, **way) as stream:
        await anext(stream)
        with pytest.raises(error, match=words):
            await anext(stream)


async def test_what_the_next_request_changes(script):
    """P57: URL, method, parameters, headers and body; what is left out stays; no body goes with another method."""
    changes = iter(
        [
            Resume(params={"n": 1}, headers={"x-a": "new"}, json={"b": 1}),
            Resume(method="PUT", content="text"),
            Resume(method="GET", url="?only"),
            Resume(),
        ]
    )

    async def later(_position: str | None, _answer: Opened | None) -> Resume:
        return next(changes)

    script.always(lambda _: Reply(event("x")).drop())
    request = {"method": "POST", "json": {"a": 1}, "params": {"n": 0, "m": 2}}
    await read(script, 5, headers={"X-A": "old", "X-B": "b"}, resume=later, **request)
    assert [
        (each.method, each.url.removeprefix(URL), each.headers["x-a"], each.headers["x-b"], each.content)
        for each in script.requests
    ] == [
        ("POST", "?n=0&m=2", "old", "b", b'{"a":1}'),
        ("POST", "?n=1&m=2", "new", "b", b'{"b":1}'),
        ("PUT", "?n=0&m=2", "old", "b", b"text"),
        ("GET", "?only", "old", "b", b""),
        ("POST", "?n=0&m=2", "old", "b", b'{"a":1}'),
    ]


async def test_the_answer_is_the_last_one_that_was_a_stream(script):
    """P57: refused attempts are no answers; behind a redirect the URL is the one that has answered."""
    asked: list[tuple[str | None, int, str, str | None]] = []

    def ask(position: str | None, answer: Opened | None) -> Resume:
        assert answer is not None
        asked.append((position, answer.connection, answer.url, answer.headers.get("x-n")))
        return Resume()

    script.redirect("https://host/moved")
    script.respond(*numbered(1), headers={"X-N": "1"}).drop()
    script.reject(503, headers={"X-N": "2"})
    script.play(Reply(*numbered(2), headers={"X-N": "3"}).drop(), hanging(3))
    await read(script, 3, resume=ask)
    first = ("1", 1, "https://host/moved", "1")
    assert asked == [first, first, ("2", 2, URL, "3")]
