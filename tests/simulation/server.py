"""The server of a run: plays the answers of a plan and writes the log."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx

from resilient_sse.testing import Refusal, Reply, Script, pause
from tests.simulation.log import Log, Sent, What
from tests.simulation.plan import Answer, Dialect, Does, End, Kind, Live
from tests.simulation.wire import Wiretap, beat, cut, remark, retry, written

URL = "https://simulation.example/stream"
"""What the consumer asks for."""
MADE = "https://simulation.example/made/1"
"""Where a stream is that a POST has made."""
PARAM = "since"
"""The query parameter of those dialects."""
MOST_REDIRECTS = 10

_GONE = 410
_THEN = datetime(2024, 1, 1, tzinfo=UTC)
_PUBLISHED = {
    **dict.fromkeys((Does.EVENT, Does.TWICE, Does.SKIP, Does.VANISH, Does.HINT), What.EVENT),
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
        self.breaks = 0
        """How many attempts have ended, or were broken off: then no redirect is followed any more."""
        self._finished = False
        self._redirects, self._followed, self._expected = [], 0, None
        self._bodies = {}

    def client(self):
        """Return a client that leads here."""
        return httpx.AsyncClient(transport=Wiretap(self.script, self._opened, self._arrived))

    def answer(self, request):
        """Play the next answer of the plan, or be well again; first its redirects, one for each request."""
        follows = (
            request.url,
            request.at,
            self.breaks,
        ) == self._expected and self._followed <= MOST_REDIRECTS
        if not follows:
            self._attempt(request)
        sent = self.log.requests[-1]
        sent.hops.append(request)
        self._expected = None
        if self._redirects:
            redirect = self._redirects.pop(0)
            self._followed += 1
            url = redirect.url(self._followed, request.url)
            self._expected = url, request.at, self.breaks
            return Reply(status=redirect.status, headers={"Location": url}, content_type=None)
        sent.met = True
        return self._play(sent, done=len(self.log.requests) > len(self.plan.answers))

    def _attempt(self, request):
        log, index = self.log, len(self.log.requests)
        answer = self.plan.answers[index] if index < len(self.plan.answers) else self._well()
        if self.plan.options.dialect is not Dialect.HEADER:
            answer = replace(answer, redirects=())
        cursor = position_of(request, self.plan.options.dialect)
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
        self._redirects, self._followed = list(answer.redirects), 0
        if answer.restart:
            log.forget()
        for _ in range(answer.away):
            log.publish(What.EVENT)

    def _well(self):
        return Answer(end=End.STALL) if self._finished else _WELL

    def _play(self, sent, *, done):
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
                return self._stream(sent, done=done)

    def _refusal(self, sent):
        answer, headers = sent.answer, {}
        if answer.retry_after is not None:
            sent.retry_after = float(answer.retry_after)
            headers["Retry-After"] = str(answer.retry_after)
            if answer.as_date:
                # Against the answer's own date: the clock of this machine has no part in a run.
                then = _THEN + timedelta(seconds=answer.retry_after)
                headers |= {"Date": format_datetime(_THEN, usegmt=True)}
                headers |= {"Retry-After": format_datetime(then, usegmt=True)}
        sent.status = answer.status
        sent.unresumable = answer.status == _GONE and sent.cursor is not None
        return Reply(b"not now", status=answer.status, headers=headers, content_type="text/plain")

    def _stream(self, sent, *, done):
        answer, index = sent.answer, len(self.log.requests) - 1
        replay, headers = self._replay(sent)
        pieces = [self.write(event) for event in replay[: answer.page]]
        if answer.page is None or answer.page >= len(replay):
            pieces += self._live(sent, replay)
            if done and (self._is_back(sent) or not any(event.what is What.DONE for event in replay)):
                # Also to a client that has passed the end without knowing, by the same number of an old numbering.
                self._finished = True
                pieces.append(self.write(self.log.publish(What.DONE)))
        chunk = answer.chunk * (1 if self.plan.options.watched else 60)  # those events are large
        parts, marks = cut(pieces, answer, chunk=chunk, seed=self.plan.seed)
        self._bodies[index] = parts, marks
        sent.status = 200
        headers["X-Answer"] = str(index)
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
        return log.before(sent.cursor, answer.overlap) + replay, (
            {"Last-Event-ID": "0"} if sent.unresumable else {}
        )

    def _live(self, sent, replay):
        json_ids = self.plan.options.dialect is Dialect.JSON
        last = replay[-1].id if replay else sent.cursor
        for live in sent.answer.live:
            match live.does:
                case Does.PAUSE:
                    yield pause(live.value)
                case Does.RETRY:
                    yield retry(live.value)
                case Does.COMMENT:
                    yield remark()
                case Does.HEARTBEAT | Does.ECHO:
                    yield beat(last if live.does is Does.ECHO else None, json_ids=json_ids)
                case does:
                    event = self.log.publish(_PUBLISHED[does])
                    event.gone |= does is Does.VANISH
                    if does is Does.HINT:
                        event.hint = live.value
                        yield retry(live.value, within=True)
                    if does not in (Does.SKIP, Does.VANISH):
                        last = event.id or last
                        yield from [self.write(event, hinted=does is Does.HINT)] * (
                            2 if does is Does.TWICE else 1
                        )

    def write(self, event, *, hinted=False):
        """Write an event."""
        return written(event, json_ids=self.plan.options.dialect is Dialect.JSON, hinted=hinted)

    # What the client has got

    def _opened(self, index):
        self.log.requests[index].opened = True
        return [len(part) for part in self._bodies[index][0] if isinstance(part, bytes) and part]

    def _arrived(self, index, size):
        sent, (_, marks) = self.log.requests[index], self._bodies[index]
        while marks and marks[0][0] <= size:
            _, piece = marks.pop(0)
            sent.brought = True
            sent.heartbeats += piece.heartbeat
            if piece.retry is not None:
                sent.retries.append((anyio.current_time(), piece.retry))
            if piece.event is not None:
                sent.events.append(piece.event)
                if piece.hinted:
                    sent.hinted.append(piece.event)
                self.log.heard(piece.event)
