"""
Servers in memory that keep events by id and replay them: handlers for `Script.always`.

`ReplayServer` knows its events beforehand and says them in one reply.  `MemoryServer` is live, behind a network.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise
from operator import itemgetter
from typing import TypeVar

import anyio
import httpx

from resilient_sse.testing.checks import check_whole
from resilient_sse.testing.proxy.link import Link, Way, shape
from resilient_sse.testing.proxy.toxics import Profile
from resilient_sse.testing.proxy.toxics import profile as known_profile
from resilient_sse.testing.script import CUT_SHORT, RecordedRequest, Refusal, Reply, ScriptedConnection, Step
from resilient_sse.testing.wire import Pause, event

ContentT = TypeVar("ContentT")

_REQUEST_BYTES = 320
_HEADER_BYTES = 290
_CHUNK_BYTES = 6
"""What the headers and the framing of a chunk take on a real wire, as measured on the reference server."""

_HEARTBEAT = event("{}", event="heartbeat")


def _after(
    events: Sequence[tuple[int, ContentT]], cursor: str | None, overlap: int
) -> Sequence[tuple[int, ContentT]]:
    """Return the *events* behind the id that is *cursor*, and the last *overlap* that the client has already."""
    known = bisect_right(events, int(cursor), key=itemgetter(0)) if cursor else 0
    return events[max(0, known - overlap) :]


class ReplayServer:
    """
    A handler for `Script.always` that sends numbered events and resumes after the one the client names.

    `script.always(ReplayServer([(1, "a"), (2, "b"), (3, "c")], drop_after=2))`

    Args:
        events: The events, as pairs of id and data; the ids rise.
        overlap: How many events the client already has are sent again at a resume.
        drop_after: After how many events each connection is reset; `None` (the default) never.
        live: What follows the last event: silence, as on a live stream (`True`, the default), or a clean end.
        every: Seconds between two events of a connection.
        param: The query parameter that may carry the id instead of the header.
    """

    def __init__(
        self,
        events: Iterable[tuple[int, str]],
        *,
        overlap: int = 0,
        drop_after: int | None = None,
        live: bool = True,
        every: float = 0.0,
        param: str = "last_event_id",
    ) -> None:
        self.events: tuple[tuple[int, str], ...] = tuple(events)
        for number, _ in self.events:
            check_whole("an id in events", number)
        if any(later <= earlier for (earlier, _), (later, _) in pairwise(self.events)):
            raise ValueError("events must have rising ids")
        check_whole("overlap", overlap)
        if drop_after is not None:
            check_whole("drop_after", drop_after)
        self._overlap = overlap
        self._drop_after = drop_after
        self._live = live
        self._gap = Pause(every)
        self._param = param

    def __call__(self, request: RecordedRequest) -> Reply:
        """Answer *request*; a last event id that is no number is answered with 400."""
        cursor = request.last_event_id or httpx.URL(request.url).params.get(self._param)
        try:
            events = _after(self.events, cursor, self._overlap)
        except ValueError:
            return Reply(b"no such id", status=HTTPStatus.BAD_REQUEST, content_type="text/plain")
        parts: list[bytes | Pause] = []
        for number, data in events[: self._drop_after]:
            parts += [event(data, id=str(number)), self._gap]
        reply = Reply(*parts[:-1])
        if self._drop_after is not None and len(events) >= self._drop_after:
            return reply.drop()
        return reply.hang() if self._live else reply.end()


# --- A server that is live


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request gets: all that its client lacks, unless something else is said here."""

    status: int = HTTPStatus.OK  # any other is an error
    retry_after: int | None = None  # seconds for which an error asks to be left alone
    withhold: frozenset[int] = (
        frozenset()
    )  # ids of events that are not sent, as if the server had dropped them
    at_most: float = math.inf  # events; then none is sent until the connection breaks

    @property
    def headers(self) -> dict[str, str]:
        """What an error says besides."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Orders:
    """What a server is to answer, request by request; what comes of it is told to *record*."""

    def __init__(self, record: Callable[..., None]) -> None:
        self._record = record
        self._answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._requests: Counter[str] = Counter()

    def add(self, stream: str, *answers: Answer) -> None:
        """Give these answers to the next requests of *stream*, one after the other."""
        self._answers[stream].extend(answers)

    def take(self, stream: str, header: str | None, query: Sequence[tuple[str, str]]) -> Order:
        """Record a request, with its `Last-Event-ID` and its query, and return what is to come of it."""
        self._requests[stream] += 1
        number = self._requests[stream]
        answer = self._answers[stream].popleft() if self._answers[stream] else Answer()
        facts = {
            "query": [value for name, value in query if name == "last_event_id"],
            "params": [[*pair] for pair in query if pair[0] != "last_event_id"],
            "status": int(answer.status),
        }
        self._record("request", stream, number=number, header=header, **facts)
        return Order(self._record, stream, number, answer)


@dataclass(slots=True)
class Order:
    """What is to come of one request, the *number*-th of its stream."""

    record: Callable[..., None]
    stream: str
    number: int
    answer: Answer
    sent: int = 0

    def passes(self, event_id: int) -> bool:
        """Tell whether an event is to be sent, and record that it is, or that it is withheld."""
        if self.sent >= self.answer.at_most:
            return False
        if event_id in self.answer.withhold:
            self.record("fault", self.stream, name="withhold", id=event_id)
            return False
        self.record("sent", self.stream, number=self.number, id=event_id)
        self.sent += 1
        return True


class MemoryServer:
    """
    A live server and the network before it: a handler for `Script.always`.

    Each stream, named by the query parameter `user_id`, has events of its own, and a client resumes by header or
    query parameter.  *random* is where the network's chance comes from, and *record* is told, by kind, stream and
    facts, of each event that is `"published"`, `"sent"` or withheld (a `"fault"`), and of each `"request"`.
    """

    def __init__(
        self,
        *,
        profile: str | Profile = "clean",
        first_id: int = 1,
        overlap: int = 0,
        random: Callable[[], float],
        record: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        self.max_live: int = 0
        """How many connections of one stream were open at once, at most."""
        self._profile = known_profile(profile)
        self._first_id = first_id
        self._overlap = overlap
        self._random = random
        self._record = record
        self._refusing = False
        self._dark = False  # whether nothing passes
        self._events: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.orders: Orders = Orders(record)
        self._lines: defaultdict[str, list[_Line]] = defaultdict(list)

    # --- What a test does with the server

    def publish(self, stream: str, data: str, *, event_type: str | None = None) -> int:
        """Publish an event of *stream*, send it over its open connections, and return its id."""
        events = self._events[stream]
        number = self._first_id + len(events)
        events.append((number, event(data, id=str(number), event=event_type)))
        self._record("published", stream, id=number, data=data, event=event_type)
        for line in self._open(stream):
            line.send_event(*events[-1])
        return number

    def beat(self) -> None:
        """Send a heartbeat over every connection."""
        for line in self._open():
            line.send(_HEARTBEAT)

    # --- And with the network: the words are those of `FaultProxy`

    def use(self, profile: str | Profile) -> None:
        """Exchange the network; what is under way keeps its time."""
        self._profile = known_profile(profile)
        for line in self._open():
            line.down.shape = shape(self._profile)

    def refuse(self) -> None:
        """Accept no new connection."""
        self._refusing = True

    def accept(self) -> None:
        """Accept connections again."""
        self._refusing = False

    def black_hole(self) -> None:
        """Let nothing pass and nothing end."""
        self._darken(dark=True)

    def flow(self) -> None:
        """Let everything pass again."""
        self._darken(dark=False)

    def reset_all(self) -> int:
        """Reset every connection, and return how many there were."""
        return self._break_all(httpx.ReadError(""))

    def close_all(self) -> int:
        """End every connection in mid-body, and return how many there were."""
        return self._break_all(httpx.RemoteProtocolError(CUT_SHORT))

    @property
    def dropped(self) -> int:
        """How many segments the network lost once."""
        return sum(line.down.dropped for lines in self._lines.values() for line in lines)

    # --- What a request gets

    def __call__(self, request: RecordedRequest) -> Step:
        """Answer *request*."""
        if self._refusing:
            return Refusal()
        params = httpx.URL(request.url).params
        stream = params["user_id"]
        order = self.orders.take(stream, request.last_event_id, params.multi_items())
        if (answer := order.answer).status != HTTPStatus.OK:
            return Reply(b"busy", status=answer.status, headers=answer.headers, content_type="text/plain")
        return _Line(self, order, self._link("down"), request.last_event_id or params.get("last_event_id"))

    def connect(self, line: _Line, connection: ScriptedConnection) -> float:
        """Send over *line* from now on, first what its client has missed; return when the headers arrive."""
        stream = line.order.stream
        line.connection = connection
        connection.dark = self._dark
        self._lines[stream].append(line)
        self.max_live = max(self.max_live, len(self._open(stream)))
        for number, block in _after(self._events[stream], line.cursor, self._overlap):
            line.send_event(number, block)
        asked = self._link("up").schedule(_REQUEST_BYTES, anyio.current_time())[-1][0]
        return line.down.schedule(_HEADER_BYTES, asked)[-1][0]

    def _darken(self, *, dark: bool) -> None:
        self._dark = dark
        for line in self._open():
            line.connection.dark = dark
            line.connection.wake()

    def _break_all(self, error: Exception) -> int:
        broken = self._open()
        for line in broken:
            line.connection.fail(error)
        return len(broken)

    def _open(self, stream: str | None = None) -> list[_Line]:
        every = self._lines.values() if stream is None else [self._lines[stream]]
        return [line for lines in every for line in lines if line.connection.is_open]

    def _link(self, direction: Way) -> Link:
        return Link(self._profile, self._random, direction=direction)


class _Line(Reply):
    """A stream that is sent live, over one direction of the network, to a client that has it up to *cursor*."""

    connection: ScriptedConnection

    def __init__(self, server: MemoryServer, order: Order, down: Link, cursor: str | None) -> None:
        super().__init__()
        self.order = order
        self.down = down
        self.cursor = cursor
        self._server = server

    async def play(self, connection: ScriptedConnection) -> httpx.Response:
        await connection.head(self._server.connect(self, connection))
        return httpx.Response(self.status, headers=self.headers, stream=connection)

    def send_event(self, number: int, block: bytes) -> None:
        """Put an event on the way, if it is to be sent."""
        if self.order.passes(number):
            self.send(block)

    def send(self, block: bytes) -> None:
        """Put a block on the way."""
        arrivals = self.down.schedule(len(block) + _CHUNK_BYTES, anyio.current_time())
        self.connection.send(arrivals[-1][0], block)
