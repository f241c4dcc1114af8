"""The server of a run: plays the answers of a plan and writes the log."""

import math
from dataclasses import replace
from functools import partial
from itertools import accumulate
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx

from resilient_sse.testing import Refusal, Reply, Script, comment, pause
from tests.simulation.log import Log, Sent, What
from tests.simulation.plan import Answer, Dialect, Does, End, Kind, Live
from tests.simulation.wire import Piece, beat, cut, written

URL = "https://simulation.example/stream"
"""What the consumer asks for."""
MADE = "https://simulation.example/made/1"
"""Where a stream is that a POST has made."""
HOP = "https://simulation.example/hop/"
"""Where redirects lead."""
PARAM = "since"
"""The query parameter of those dialects."""

_GONE = 410
_PUBLISHED = {
    **dict.fromkeys((Does.EVENT, Does.TWICE, Does.SKIP, Does.VANISH), What.EVENT),
    Does.OTHER: What.OTHER,
    Does.PLAIN: What.PLAIN,
    Does.BEAT: What.BEAT,
}
_WELL = Answer(live=(Live(Does.EVENT),) * 3, end=End.STALL)


def position_of(request, dialect):
    """Return the position that a request asks for."""
    if dialect in (Dialect.HEADER, Dialect.LOCATION):
        return request.last_event_id
    return parse_qs(urlsplit(request.url).query).get(PARAM, [None])[0]


class Server:
    """One server for one run."""

    def __init__(self, plan):
        self.plan = plan
        self.log = Log(plan.options)
        self.script = Script()
        self.script.always(self.answer)
        self._json_ids = plan.options.dialect is Dialect.JSON
        self._finished = False
        self._bodies = {}

    def client(self):
        """Return a client that leads here."""
        return httpx.AsyncClient(transport=_Wiretap(self))

    def answer(self, request):
        """Play the next answer of the plan, or be well again; first its redirects, one for each request."""
        if not request.url.startswith(HOP):
            self._attempt(request)
        sent = self.log.requests[-1]
        sent.hops.append(request)
        if sent.met:
            return self._play(sent)
        count = len(sent.hops)
        headers = {"Location": f"{HOP}{count}"}
        return Reply(status=sent.answer.redirects[count - 1], headers=headers, content_type=None)

    def _attempt(self, request):
        log, options, index = self.log, self.plan.options, len(self.log.requests)
        well = Answer(end=End.STALL) if self._finished else _WELL
        answer = self.plan.answers[index] if index < len(self.plan.answers) else well
        if options.dialect is not Dialect.HEADER:
            answer = replace(answer, redirects=())
        cursor = position_of(request, options.dialect)
        log.requests.append(
            Sent(
                at=request.at,
                answer=answer,
                cursor=cursor,
                meant=log.meant(cursor),
                process=log.process,
                start=log.start,
            )
        )
        if answer.restart:
            log.forget()
        for _ in range(answer.away):
            log.publish(What.EVENT)

    def _play(self, sent):
        match sent.answer.kind:
            case Kind.REFUSED:
                return Refusal()
            case Kind.CONNECT_TIMEOUT:
                return Refusal(after=math.inf)
            case Kind.NO_HEADERS:
                return Reply(after=math.inf)
            case Kind.STATUS:
                return self._refusal(sent)
            case Kind.STREAM:
                return self._stream(sent)

    def _refusal(self, sent):
        answer, headers = sent.answer, {}
        if answer.retry_after is not None:
            headers["Retry-After"] = str(answer.retry_after)
        sent.unresumable = answer.status == _GONE and sent.cursor is not None
        return Reply(b"not now", status=answer.status, headers=headers, content_type="text/plain")

    def _stream(self, sent):
        answer, number = sent.answer, len(self.log.requests)
        replay, headers = self._replay(sent)
        pieces = [self.write(event) for event in replay[: answer.page]]
        if answer.page is None or answer.page >= len(replay):
            pieces += self._live(sent, replay)
            done = number > len(self.plan.answers)
            if done and (self._is_back(sent) or not any(event.what is What.DONE for event in replay)):
                # Also to a client that has passed the end without knowing, by the same number of an old numbering.
                self._finished = True
                pieces.append(self.write(self.log.publish(What.DONE)))
        chunk = answer.chunk * (1 if self.plan.options.watched else 60)  # those events are large
        parts, _ = self._bodies[number] = cut(pieces, answer, chunk=chunk, seed=self.plan.seed)
        headers["X-Answer"] = str(number)
        if self.plan.options.dialect is Dialect.LOCATION and sent.hops[-1].method == "POST":
            headers["Location"] = MADE
        reply = Reply(
            *parts, headers=headers, gzip=answer.gzip, after=answer.after, close_takes=answer.close_takes
        )
        endings = {End.DROP: reply.drop, End.CUT: reply.cut, End.EOF: reply.end, End.STALL: reply.hang}
        return endings[answer.end]()

    def _is_back(self, sent):
        """Whether the process has read an end before, and did not take it for one."""
        before = (each for each in self.log.requests[:-1] if each.process == sent.process)
        return any(event.what is What.DONE for each in before for event in each.events)

    def _replay(self, sent):
        """Return what is sent again, and what the headers say of it."""
        log, answer = self.log, sent.answer
        replay, understood = log.after(sent.cursor)
        if sent.cursor is not None and understood:
            lost, replay = replay[: answer.expire], replay[answer.expire :]
            for event in lost:
                event.gone = True
            understood = not lost
            replay = replay[answer.omit :] if len(replay) > answer.omit else replay
        sent.unresumable = answer.announce and not understood
        headers = {"Last-Event-ID": "0"} if sent.unresumable else {}
        return log.before(sent.cursor, answer.overlap) + replay, headers

    def _live(self, sent, replay):
        last = replay[-1].id if replay else sent.cursor
        for live in sent.answer.live:
            match live.does:
                case Does.PAUSE:
                    yield pause(live.value)
                case Does.RETRY:
                    data = f"retry: {live.value}\n\n".encode()
                    yield Piece(data, retry=live.value, alone=True)
                case Does.COMMENT:
                    yield Piece(comment("still here"), alone=True)
                case Does.HEARTBEAT | Does.ECHO:
                    yield beat(last if live.does is Does.ECHO else None, json_ids=self._json_ids)
                case does:
                    event = self.log.publish(_PUBLISHED[does])
                    event.gone |= does is Does.VANISH
                    if does not in (Does.SKIP, Does.VANISH):
                        last = event.id or last
                        yield from [self.write(event)] * (2 if does is Does.TWICE else 1)

    def write(self, event):
        """Write an event."""
        return written(event, json_ids=self._json_ids)

    def opened(self, number):
        """Note that the client has got the head of an answer; return what notes each read of its body."""
        sent, (parts, marks) = self.log.requests[number - 1], self._bodies[number]
        sent.opened = True
        return partial(next, self._reading(sent, parts, marks), None)

    def _reading(self, sent, parts, marks):
        for read in accumulate(len(part) for part in parts if isinstance(part, bytes) and part):
            while marks and marks[0][0] <= read:
                _, piece = marks.pop(0)
                sent.brought = True
                sent.heartbeats += piece.heartbeat
                if piece.retry is not None:
                    sent.retries.append((anyio.current_time(), piece.retry))
                if piece.event is not None:
                    sent.events.append(piece.event)
                    self.log.heard(piece.event)
            yield


class _Wiretap(httpx.AsyncBaseTransport):
    """The way to the server, which tells it what has come over."""

    def __init__(self, server):
        self._inner, self._server = server.script.transport(), server

    async def handle_async_request(self, request):
        response = await self._inner.handle_async_request(request)
        if number := response.headers.get("X-Answer"):
            response.stream = Tapped(response.stream, self._server.opened(int(number)))
        return response

    async def aclose(self):
        await self._inner.aclose()


class Tapped(httpx.AsyncByteStream):
    """A body that tells of each read."""

    def __init__(self, stream, tell):
        self._stream, self._chunks, self._tell = stream, aiter(stream), tell

    def __aiter__(self):
        return self

    async def __anext__(self):
        chunk = await anext(self._chunks)
        self._tell()
        return chunk

    async def aclose(self):
        await self._stream.aclose()
