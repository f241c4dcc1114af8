"""
The demo's server, a process of its own: the reference server, told to do wrong on the way, once in each way.

It listens on a free port of the loopback interface and reports each deed as a line of JSON on standard output.
It stops when its standard input ends, which is when the demo is over or its process has died in whatever
manner, and in any case after two minutes.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from resilient_sse.cli.demo.script import MESSAGES, OVERLAP, REPLY, RETRY_AFTER, Deed, Fault, Plan
from resilient_sse.cli.exits import end_with_stdin
from resilient_sse.testing import server as reference
from resilient_sse.testing.wire import comment, event

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from resilient_sse.testing.server import Block, Peer

_PACE = 0.12  # seconds between messages: about as fast as people read
_LIFE = 120.0
_HEARTBEAT_EVERY = 6
_COMMENT_EVERY = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network(reference.Fault):
    """
    The server's moods and the bad network before it, as a fault that strikes every request.

    Args:
        plan: Where what goes wrong.
        todo: What has still to go wrong, in this order.
    """

    plan: Plan
    todo: deque[Fault]

    def answer(self, request: Request) -> Response | None:
        """Answer 503 to the first request after the clean end."""
        received = int(request.headers.get("last-event-id", "0"))
        if self._fault is not Fault.UNAVAILABLE or received < self.plan.end_after:
            return None
        self._done(f"answers 503, Retry-After: {RETRY_AFTER}")
        return reference.Status(503, retry_after=RETRY_AFTER, body="restarting\n").answer(request)

    def shape(self, blocks: AsyncIterator[Block], peer: Peer, user: str) -> AsyncGenerator[Block]:
        """Send the reply up to where it is time for the next fault."""
        del user
        match self._fault:
            case Fault.RESET:
                return self._until_reset(blocks, peer)
            case Fault.SILENCE:
                return self._until_silence(blocks)
            case Fault.UNAVAILABLE:
                return self._until_restart(blocks)
            case Fault.REPLAY:
                return self._with_replay(blocks)
            case None:
                return self._paced(blocks)

    @property
    def _fault(self) -> Fault | None:
        return self.todo[0] if self.todo else None

    async def _until_reset(self, blocks: AsyncIterator[Block], peer: Peer) -> AsyncGenerator[Block]:
        """Send a part of the last message, give it time to arrive, and reset the connection."""
        async for block in self._paced(blocks, self.plan.reset_after):
            yield block
        number, whole = await anext(blocks)
        part = whole[: max(int(len(whole) * self.plan.cut), 1)]
        yield None, part
        await anyio.sleep(_PACE)
        peer.reset()
        self._done(
            f"resets the connection inside message {number}, after {len(part)} of its {len(whole)} bytes"
        )

    async def _until_silence(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Block]:
        """Send nothing any more until the client has had enough, and its going away cancels this."""
        async for block in self._paced(blocks, self.plan.silent_after):
            yield block
        since = time.monotonic() - _PACE  # when the last message was sent
        _report(Deed(text=f"falls silent after message {self.plan.silent_after}"))
        try:
            async for _ in blocks:
                pass
        finally:
            seconds = time.monotonic() - since
            self._done(f"was silent for {seconds:.1f} s", seconds=seconds)

    async def _until_restart(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Block]:
        """End the response; the next request finds the server starting."""
        async for block in self._paced(blocks, self.plan.end_after):
            yield block
        _report(Deed(text=f"restarts: ends the response after message {self.plan.end_after}"))

    async def _with_replay(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Block]:
        """Send again what was sent before the restart, and go on to the end."""
        last = self.plan.end_after
        first = last - OVERLAP + 1
        async for block in self._paced(self._again(first, last)):
            yield block
        self._done(f"has sent messages {first} to {last} once more", messages=OVERLAP)
        async for block in self._paced(blocks):
            yield block

    async def _again(self, first: int, last: int) -> AsyncGenerator[Block]:
        for number in range(first, last + 1):
            data = _data(number, altered=self.plan.sabotage == "repeat")
            yield number, event(data, id=str(number))

    async def _paced(self, blocks: AsyncIterator[Block], last: int | None = None) -> AsyncGenerator[Block]:
        """Send messages at a steady pace up to *last*, with signs of life between them that no reader must see."""
        async for number, data in blocks:
            if number is None or number == self.plan.never_sent:
                continue
            yield number, data
            if number % _COMMENT_EVERY == 0:
                yield None, comment("still here")
            if number % _HEARTBEAT_EVERY == 0:
                yield None, event("", event="heartbeat")
            await anyio.sleep(_PACE)
            if number == last:
                return

    def _done(self, text: str, *, messages: int = 0, seconds: float = 0.0) -> None:
        _report(Deed(text=text, fault=self.todo.popleft(), messages=messages, seconds=seconds))


def _data(number: int, *, altered: bool = False) -> str:
    word = REPLY[number - 1]
    return json.dumps({"text": word.upper() + "!" if altered else word})


def _report(deed: Deed) -> None:
    with suppress(OSError):  # if nobody is left to read it, the end is near
        print(deed.to_json(), flush=True)


def run() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sabotage")
    given = parser.parse_args()
    ended = threading.Event()
    end_with_stdin(ended)
    plan = Plan.of(given.seed, given.sabotage)
    todo = deque(fault for fault in Fault if plan.sabotage != "calm" or fault is not Fault.RESET)
    faults = reference.Faults(then=Network(plan=plan, todo=todo))
    with reference.serving(
        reference.ReferenceServer(heartbeat=None, retry=None, start="first", faults=faults)
    ) as running:
        for number in range(1, MESSAGES + 1):
            running.publish(_data(number))
        running.complete()
        _report(Deed(text=f"listens on {running.host}:{running.port}", url=running.url))
        ended.wait(_LIFE)


if __name__ == "__main__":
    run()
