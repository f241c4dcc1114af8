"""
One stream to many browsers.

Events are kept once, as the bytes that every browser is sent, in a ring; a browser is a place in it, and pulls.
So a slow one costs no memory and holds up nobody: when the ring has moved on without it, it is told how many
events it has missed, and goes on with what is kept.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

import anyio

from resilient_sse._client.stream import undecoded
from resilient_sse._core.checks import check_choice, check_count, check_seconds
from resilient_sse._core.cursor import usable_as_cursor
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.wire import event as wire_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from resilient_sse._client.stream import ResilientStream
    from resilient_sse._core.states import StateChange

__all__ = ["Broadcast"]

_STATES = 16
"""So many changes of state a browser may lag behind; older ones are no news."""

_IDS = 1000
"""So many ids are remembered beyond the events: to count what is missing, and to see an id that comes again."""

_CHUNK_BYTES = 16_384
"""About so much is handed over at once: a replay in few writes, and little that is copied for a slow browser."""

_GAP: Final = "stream_gap"
_HEARTBEAT: Final = wire_event("{}", event="heartbeat")


@dataclass(slots=True)
class _Subscription:
    """
    One browser's place among the events and states, by the numbers of those that come next.

    No generator: servers leave one behind that was cancelled at a `yield`, and trio complains about that.
    """

    more: Callable[[_Subscription], Awaitable[bytes]]
    opening: bytes
    position: int
    state: int
    last_event_id: str | None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return what comes next, as soon as there is something."""
        return await self.more(self)


class Broadcast:
    """
    Hands the events of a stream on to many browsers, and tells them what the stream goes through.

    Besides the events it sends three types of its own: `stream_state` at each change of state, with the text for
    people, and to each browser that comes; `stream_gap` where something is missing, with the fields of a `Gap`;
    and `heartbeat` when there is nothing else.

    Args:
        history: How many events are kept, for browsers that come back or are slow.
        history_bytes: How many bytes of events are kept; the newest one always is.
        start: Where a browser begins that names no id: at the first event that is kept, or `"live"`.
        heartbeat: Seconds of silence after which a browser is sent a heartbeat; `None` sends none.
        retry: Milliseconds after which browsers come back, 20 % more or less, for not all to come at once; `None`
            leaves it to them.

    Raises:
        TypeError: A value is of the wrong kind.
        ValueError: A value is out of its range; the message names it.
    """

    def __init__(
        self,
        *,
        history: int = 1000,
        history_bytes: int = 16 * 2**20,
        start: Literal["first", "live"] = "live",
        heartbeat: float | None = 15.0,
        retry: int | None = 2000,
    ) -> None:
        check_count("history", history, least=1, optional=False)
        check_count("history_bytes", history_bytes, least=1, optional=False)
        check_choice("start", start, ("first", "live"))
        check_seconds("heartbeat", heartbeat, positive=True)
        check_count("retry", retry, least=0)
        self._history = history
        self._history_bytes = history_bytes
        self._start = start
        self._heartbeat = heartbeat
        self._retry = retry
        self._ring: deque[tuple[str, bytes]] = deque()  # id and block
        self._bytes = 0
        self._next = 0  # the number of the event that comes next
        self._uncounted = 0  # what lies before this number has a gap of the upstream among it
        self._numbers: dict[str, int] = {}  # of the events with these ids, the newest last
        self._ambiguous = False
        self._epoch = f"{random.getrandbits(40):x}"
        self._states: deque[tuple[int, int, bytes]] = deque(maxlen=_STATES)  # number, the next event's, block
        self._closed = False
        self._changed = anyio.Event()

    async def run(self, stream: ResilientStream) -> None:
        """
        Hand *stream* on until it ends: events, changes of state and gaps.

        Raises:
            Exception: What the stream raises.  Browsers have been told before, and wait for what comes next: run a
                stream again, or `close`.
        """
        undecoded(stream)  # browsers get events as they came
        tell = stream.on_state_change(self.tell)

        @stream.on_gap
        def lost(gap: Gap) -> None:
            self.publish(ServerSentEvent(event=_GAP, data=json.dumps(asdict(gap))))

        try:
            async for event in stream:
                self.publish(event)
        finally:
            stream.remove_callback(tell)
            stream.remove_callback(lost)

    def publish(self, event: ServerSentEvent) -> str:
        """
        Send an event to all, and return the id it is sent with.

        That is its own, unless it has none, or one that would not come back unchanged in a header: then one is
        made, since a browser resumes by id.  Once an id has come again, ids do not name events here, and all are
        made.

        Raises:
            ValueError: *event* cannot be written: its type contains a line end.
        """
        sent_id = event.id
        self._ambiguous = self._ambiguous or sent_id in self._numbers
        # Browsers send UTF-8, which frameworks read as Latin-1; servers refuse control characters for good.
        if self._ambiguous or not (sent_id and sent_id.isascii() and usable_as_cursor(sent_id)):
            sent_id = f"{self._epoch}.{self._next}"
        kind = None if event.event == "message" else event.event
        block = wire_event(event.data, id=sent_id, event=kind)
        self._ring.append((sent_id, block))
        self._numbers[sent_id] = self._next
        self._next += 1
        self._bytes += len(block)
        while len(self._ring) > self._history or (len(self._ring) > 1 and self._bytes > self._history_bytes):
            _, dropped = self._ring.popleft()
            self._bytes -= len(dropped)
            if dropped.startswith(b"event: %s\n" % _GAP.encode()):
                self._uncounted = self._next - len(self._ring)
        if len(self._numbers) > self._history + _IDS:
            del self._numbers[next(iter(self._numbers))]
        self._wake()
        return sent_id

    def tell(self, change: StateChange) -> None:
        """Send a change of state to all."""
        facts = {
            "state": change.new.value,
            "reason": change.reason.value,
            "attempt": change.attempt,
            "max_retries": change.max_retries,
            "delay": change.delay,
            "message": change.message,
        }
        number = self._states[-1][0] + 1 if self._states else 1
        self._states.append((number, self._next, wire_event(json.dumps(facts), event="stream_state")))
        self._wake()

    def close(self) -> None:
        """End the responses behind what they wait for; nothing comes any more.  Harmless when closed."""
        self._closed = True
        self._wake()

    def subscribe(self, last_event_id: str | None = None) -> AsyncIterator[bytes]:
        """
        Return the body of one response, as for a `StreamingResponse`; it ends behind `close`.

        Args:
            last_event_id: What the browser has sent, in the header `Last-Event-ID` or as your page sends it.  One
                that is not known here is answered with a `stream_gap` of the kind `"unresumable"`, and with all
                that is kept.
        """
        opening = b":\n\n"
        if self._retry is not None:
            opening = b"retry: %d\n\n" % (self._retry * random.uniform(0.8, 1.2))  # noqa: S311
        position = self._next if self._start == "live" else 0
        if last_event_id:
            known = self._numbers.get(last_event_id)
            position = self._next - len(self._ring) if known is None else known + 1
            if known is None:
                opening += _lost(Gap(kind="unresumable", after_id=last_event_id))
        # The newest state is news for one that comes; those before it are not.
        state = self._states[-1][0] if self._states else 0
        return _Subscription(self._more, opening, position, state, last_event_id)

    async def _more(self, reader: _Subscription) -> bytes:
        """Wait for what comes next for a reader."""
        opening, reader.opening = reader.opening, b""
        while not (chunk := opening + self._take(reader)):
            if self._closed:
                raise StopAsyncIteration
            with anyio.move_on_after(self._heartbeat) as silence:
                await self._changed.wait()
            if silence.cancelled_caught:
                return _HEARTBEAT
        return chunk

    def _take(self, reader: _Subscription) -> bytes:
        """Return what a reader has not been told yet, about a chunk of it, and count it as told."""
        blocks: list[bytes] = []
        size, oldest = 0, self._next - len(self._ring)
        if reader.position < oldest:
            first = self._ring[0][0]
            missing = oldest - reader.position if reader.position >= self._uncounted else None
            gap = Gap(kind="hole", after_id=reader.last_event_id, before_id=first, missing=missing)
            blocks.append(_lost(gap))
            reader.position = oldest
        states = [state for state in self._states if state[0] >= reader.state]
        while True:
            while states and states[0][1] <= reader.position:
                number, _, block = states.pop(0)
                reader.state = number + 1
                blocks.append(block)
            if reader.position == self._next or size >= _CHUNK_BYTES:
                break
            reader.last_event_id, block = self._ring[reader.position - oldest]  # islice() would walk there
            reader.position += 1
            blocks.append(block)
            size += len(block)
        return b"".join(blocks)

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _lost(gap: Gap) -> bytes:
    return wire_event(json.dumps(asdict(gap)), event=_GAP)
