"""The scenarios in virtual time: a server and a network in memory, exact to the millisecond, over at once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

import anyio
import httpx

from resilient_sse.testing.proxy.profiles import profile as known_profile
from resilient_sse.testing.scenarios.log import RunLog
from resilient_sse.testing.scenarios.memory import Line, LiveReply, Network, Stored
from resilient_sse.testing.scenarios.stage import Answer, Busy, Form, HoldAfter, Setup, Withhold
from resilient_sse.testing.script import Script
from resilient_sse.testing.steps import RecordedRequest, Refusal, Reply, Step

__all__ = ["VirtualDriver", "VirtualStage"]

HEARTBEAT = Stored(None, "{}", "heartbeat")


class VirtualStage:
    """
    A server and a network in memory; see `Stage`.

    Args:
        log: Where the server's side is noted.
        setup: What it is to be.
        random: Where chance comes from.
    """

    def __init__(self, log: RunLog, setup: Setup, random: Random) -> None:
        self._log = log
        self._setup = setup
        self._network = Network(known_profile(setup.profile), random.random)
        self._events: defaultdict[str, list[Stored]] = defaultdict(list)
        self._answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._requests: defaultdict[str, int] = defaultdict(int)
        self._numbers: dict[Line, int] = {}
        self._max_live = 0
        self._script = Script()
        self._script.always(self._respond)
        self.client: httpx.AsyncClient | None = self._script.client()

    def url(self, stream: str) -> str:
        """Return the address of *stream*."""
        return f"https://stage.test/api/v1/stream?user_id={stream}"

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        """Publish an event and return its id."""
        events = self._events[stream]
        number = self._setup.first_id + len(events)
        stored = Stored(number, data, event)
        events.append(stored)
        self._log.published(stream, number, data, event)
        for line in self._network.lines(stream):
            if line.open:
                self._send(line, stored)
        return number

    async def answer(self, stream: str, *answers: Answer) -> None:
        """Have the server do wrong with the next requests."""
        self._answers[stream].extend(answers)

    async def use(self, profile: str) -> None:
        """Exchange the network."""
        self._network.use(known_profile(profile))

    async def refuse(self) -> None:
        """Accept no new connection."""
        self._network.refusing = True

    async def accept(self) -> None:
        """Accept connections again."""
        self._network.refusing = False

    async def black_hole(self) -> None:
        """Let nothing pass and nothing end."""
        self._network.set_dark(dark=True)

    async def flow(self) -> None:
        """Let everything pass again."""
        self._network.set_dark(dark=False)

    async def reset(self) -> int:
        """Reset every connection."""
        return self._network.break_all(reset=True)

    async def close(self) -> int:
        """End every connection in good form."""
        return self._network.break_all(reset=False)

    async def beat(self, every: float) -> None:
        """Send a heartbeat over every connection, again and again."""
        while True:
            await anyio.sleep(every)
            for line in self._network.lines():
                if line.open:
                    line.send(HEARTBEAT)

    async def finish(self) -> None:
        """Note what the network has counted."""
        self._log.add("network", part=self._setup.part, drops=self._network.dropped, max_live=self._max_live)
        if self.client is not None:
            await self.client.aclose()
        self._script.verify()

    def _respond(self, request: RecordedRequest) -> Step:
        if self._network.refusing:
            return Refusal()
        url = httpx.URL(request.url)
        stream = url.params["user_id"]
        self._requests[stream] += 1
        number = self._requests[stream]
        answer = self._answers[stream].popleft() if self._answers[stream] else None
        self._note(stream, number, request.last_event_id, url, answer)
        if isinstance(answer, Busy):
            return Reply(b"busy", status=answer.status, content_type="text/plain")
        line = Line(self._network, stream)
        self._max_live = max(self._max_live, self._network.join(line))
        self._numbers[line] = number
        self._replay(line, request.last_event_id or url.params.get("last_event_id"), answer)
        return LiveReply(line)

    def _note(
        self, stream: str, number: int, header: str | None, url: httpx.URL, answer: Answer | None
    ) -> None:
        pairs = list(url.params.multi_items())
        self._log.add(
            "request",
            stream,
            number=number,
            header=header,
            query=[value for name, value in pairs if name == "last_event_id"],
            params=[[name, value] for name, value in pairs if name != "last_event_id"],
            status=answer.status if isinstance(answer, Busy) else 200,
        )

    def _replay(self, line: Line, cursor: str | None, answer: Answer | None) -> None:
        """Send what is stored after *cursor*, and so many before it as the overlap wants."""
        line.remaining = answer.events if isinstance(answer, HoldAfter) else None
        line.withheld = answer.ids if isinstance(answer, Withhold) else frozenset[int]()
        events = self._events[line.stream]
        known = 0 if cursor is None else sum(x.id is not None and x.id <= int(cursor) for x in events)
        for event in events[max(0, known - self._setup.overlap) :]:
            self._send(line, event)

    def _send(self, line: Line, event: Stored) -> None:
        if line.remaining == 0:
            return
        if event.id in line.withheld:
            self._log.add("fault", line.stream, name="withhold", id=event.id)
            return
        self._log.add("sent", line.stream, number=self._numbers[line], id=event.id)
        line.send(event)


class VirtualDriver:
    """
    Makes stages in memory.  Use it inside `run_in_virtual_time`, or a test on a virtual backend.

    Args:
        seed: Where randomness starts.
    """

    form: Form = Form.VIRTUAL

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def now(self) -> float:
        """Return the loop's time."""
        return anyio.current_time()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[VirtualStage]:
        """Set up a stage for the time of a block."""
        stage = VirtualStage(log, setup, Random(f"{self.seed} {log.name}"))  # noqa: S311 - a network is no secret
        try:
            async with anyio.create_task_group() as tasks:
                if setup.heartbeat is not None:
                    tasks.start_soon(stage.beat, setup.heartbeat)
                yield stage
                tasks.cancel_scope.cancel()
        finally:
            await stage.finish()
