"""The scripted server: plays the answers of a plan and writes down the truth."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from resilient_sse.testing.script import Script
from resilient_sse.testing.steps import RecordedRequest, Refusal, Reply, Step
from resilient_sse.testing.wire import Pause, comment, pause
from resilient_sse.testing.wire import event as written
from tests.simulation.plan import Answer, Plan
from tests.simulation.redirects import Chain
from tests.simulation.sending import Piece, Told, cut
from tests.simulation.truth import TYPES, EventKind, Published, Sent, Truth

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SimulatedServer"]

_CLOSING_EVENTS = 3
_LARGE = 400  # characters of an event: reads of several are parsed by columns
_GONE = 410
_THEN = datetime(2024, 1, 1, tzinfo=UTC)
_PUBLISHED: dict[str, EventKind] = {
    "event": "event",
    "twice": "event",
    "skip": "event",
    "vanish": "event",
    "hint": "event",
    "other": "other",
    "plain": "plain",
    "beat": "beat",
}


class SimulatedServer:
    """
    One server for one run.

    Args:
        plan: What to play.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        options = plan.options
        size = _LARGE if options.unwatched else 0
        self.truth: Truth = Truth(integers=options.sequence, rising=options.rising, size=size)
        self.process = 0
        """Which process of the consumer is running, from 1."""
        self.start: Published | None = None
        """The event behind which that process began."""
        self.script: Script = Script()
        self.script.always(self.answer)
        self._finished = False
        self._chain: Chain | None = None

    def answer(self, request: RecordedRequest) -> Step:
        """Play the next answer of the plan, or be well again; first its redirects, one for each request."""
        if self._chain is None or not self._chain.continues(request):
            self._attempt(request)
        sent = self.truth.requests[-1]
        sent.hops.append(request)
        if self._chain is not None and (redirect := self._chain.next(request)) is not None:
            return redirect
        self._chain, sent.met = None, True
        return self._play(sent.answer, sent, done=len(self.truth.requests) > len(self.plan.answers))

    def _attempt(self, request: RecordedRequest) -> None:
        index = len(self.truth.requests)
        planned = index < len(self.plan.answers)
        answer = self.plan.answers[index] if planned else self._well()
        cursor = request.last_event_id
        sent = Sent(
            at=request.at,
            answer=answer,
            cursor=cursor,
            meant=self.truth.meant(cursor),
            process=self.process,
            start=self.start,
        )
        self.truth.requests.append(sent)
        self._chain = Chain(answer.redirects) if answer.redirects else None
        self._meanwhile(answer)

    def _play(self, answer: Answer, sent: Sent, *, done: bool) -> Step:
        match answer.kind:
            case "refuse":
                return Refusal()
            case "connect-timeout":
                return Refusal(after=math.inf)
            case "no-headers":
                return Reply(after=math.inf)
            case "status":
                return self._refusal(answer, sent)
            case "stream" | "slow-headers":
                return self._stream(answer, sent, done=done)

    def _well(self) -> Answer:
        live = () if self._finished else ("event",) * _CLOSING_EVENTS
        return Answer(live=live, end="stall")

    def _meanwhile(self, answer: Answer) -> None:
        if answer.restart:
            self.truth.forget()
        for _ in range(answer.away):
            self.truth.publish("event")

    def _refusal(self, answer: Answer, sent: Sent) -> Reply:
        headers: dict[str, str] = {}
        if answer.retry_after is not None:
            sent.retry_after = float(answer.retry_after)
            headers["Retry-After"] = str(answer.retry_after)
            if answer.as_date:
                # Against the answer's own date: the clock of this machine has no part in a run.
                headers["Date"] = format_datetime(_THEN, usegmt=True)
                then = _THEN + timedelta(seconds=answer.retry_after)
                headers["Retry-After"] = format_datetime(then, usegmt=True)
        sent.status = answer.status
        sent.unresumable = answer.status == _GONE and sent.cursor is not None
        return Reply(b"not now", status=answer.status, headers=headers, content_type="text/plain")

    def _stream(self, answer: Answer, sent: Sent, *, done: bool) -> Reply:
        replay, headers = self._replay(answer, sent)
        pieces: list[Piece | Pause] = [self._event(event) for event in replay[: answer.page]]
        sent.paged = answer.page is not None and answer.page < len(replay)
        if not sent.paged:
            pieces += self._live(answer, sent, replay)
            if done and (self._is_back(sent) or not any(event.kind == "done" for event in replay)):
                # Also to a client that has passed the end without knowing, by the same number of an old numbering.
                self._finished = True
                pieces.append(self._event(self.truth.publish("done")))
        parts, marks = cut(pieces, answer, seed=self.plan.seed)
        sent.size = sum(len(part) for part in parts if isinstance(part, bytes))
        sent.severed = any(mark.piece is None for mark in marks)
        sent.status = 200
        reply = Told(
            *parts,
            sent=sent,
            marks=marks,
            truth=self.truth,
            headers=headers,
            gzip=answer.gzip,
            after=answer.after,
            close_takes=answer.close_takes,
        )
        endings = {"drop": reply.drop, "cut": reply.cut, "eof": reply.end, "stall": reply.hang}
        return endings[answer.end]()

    def _is_back(self, sent: Sent) -> bool:
        """Whether the process has read an end before, and did not take it for one."""
        before = [each for each in self.truth.requests[:-1] if each.process == sent.process]
        return any(event.kind == "done" for each in before for event in each.events)

    def _replay(self, answer: Answer, sent: Sent) -> tuple[list[Published], dict[str, str]]:
        """Return what is sent again, and what the headers say of it."""
        truth = self.truth
        replay, understood = truth.after(sent.cursor)
        if sent.cursor is not None and understood:
            lost, replay = replay[: answer.expire], replay[answer.expire :]
            for event in lost:
                event.gone = True
            sent.expired = len(lost)
            understood = not lost
            if len(replay) > answer.omit:
                sent.omitted, replay = answer.omit, replay[answer.omit :]
        sent.unresumable = answer.announce and not understood
        repeated = truth.before(sent.cursor, answer.overlap)
        sent.repeated = len(repeated)
        return repeated + replay, {"Last-Event-ID": "0"} if sent.unresumable else {}

    def _live(self, answer: Answer, sent: Sent, replay: list[Published]) -> Iterator[Piece | Pause]:
        last = replay[-1].id if replay else sent.cursor
        for token in answer.live:
            word, _, number = token.partition(" ")
            if word == "pause":
                yield pause(float(number))
            elif word == "retry":
                yield Piece(f"retry: {number}\n\n".encode(), retry=int(number))
            elif word == "comment":
                yield Piece(comment("still here"), comment=True)
            elif word in ("heartbeat", "echo"):
                echo = last if word == "echo" else None
                yield Piece(written("beat", event="heartbeat", id=echo), heartbeat=True)
            else:
                event = self.truth.publish(_PUBLISHED[word])
                event.gone |= word == "vanish"
                if word == "hint":
                    event.hint = int(number)
                    yield Piece(f"retry: {number}\n".encode(), retry=event.hint)
                if word not in ("skip", "vanish"):
                    last = event.id or last
                    yield from [self._event(event, hinted=word == "hint")] * (2 if word == "twice" else 1)

    @staticmethod
    def _event(event: Published, *, hinted: bool = False) -> Piece:
        data = written(event.data, id=event.id, event=TYPES[event.kind])
        return Piece(data, event, hinted=hinted)
