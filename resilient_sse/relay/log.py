"""Where a relay appends: a Redis Stream, with the position beside the data, both moved by one script."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from resilient_sse._core.checks import check_count
from resilient_sse.checkpoints.redis_server import Client, RedisServer, text

if TYPE_CHECKING:
    from resilient_sse._core.events import ServerSentEvent

__all__ = ["Log", "Position", "RedisLog", "position_of"]

# Check, append and move in one step: whatever is killed when, the position tells what the log holds.
# An append whose answer was lost is sent again, also by redis-py itself; it knows what it has written by its mark.
_APPEND = """
local found = redis.call('HMGET', KEYS[2], 'id', 'ordinal', 'by')
local id, ordinal = found[1] or '', tonumber(found[2] or 0)
local known, source, count = tonumber(ARGV[2]), ARGV[6], tonumber(ARGV[7])
if found[3] == ARGV[5] then return {'done', id, ordinal} end
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return {'fenced', id, ordinal} end
if ordinal ~= known or id ~= ARGV[1] then
    return {ordinal < known and 'rewound' or 'moved', id, ordinal}
end
local kind = known > 0 and 'none' or redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and (kind ~= 'stream' or redis.call('XLEN', KEYS[1]) > 0) then
    return {'foreign', id, ordinal}
end
for n = 0, count - 1 do
    local at = 8 + 3 * n
    local entry = {'id', ARGV[at], 'event', ARGV[at + 1], 'data', ARGV[at + 2], 'ordinal', known + n + 1}
    if ARGV[3] == '' then
        redis.call('XADD', KEYS[1], '*', unpack(entry))
    else
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(entry))
    end
end
id = ARGV[8 + 3 * (count - 1)]
redis.call('HSET', KEYS[2], 'id', id, 'ordinal', known + count, 'by', ARGV[5], 'source', source)
return {'done', id, known + count}
"""


_PIPELINE_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far a log goes.

    Attributes:
        last_event_id: The id in force of the last event in it, `""` before the first and where there are no ids.
        ordinal: The number of the last event, counted from 1; 0 before the first.
        source: Where the events came from, `""` if that is not known.
    """

    last_event_id: str = ""
    ordinal: int = 0
    source: str = field(default="", compare=False)


class Log(Protocol):
    """What a relay needs of the place it appends to."""

    async def load(self, name: str) -> Position:
        """Return how far the log *name* goes."""
        ...

    async def append(
        self, name: str, events: Sequence[ServerSentEvent], *, behind: Position, lease: str = ""
    ) -> tuple[str, Position]:
        """
        Append events in one step, if the log goes just as far as *behind*, and the lease, if any, is held.

        Returns:
            How it went, and how far the log goes.  It is `"done"`; nothing was appended for `"moved"` (another has
            appended), `"rewound"` (the log has lost its end), `"fenced"` (the lease is another's) and `"foreign"`
            (the name holds what no relay has written).
        """
        ...

    async def aclose(self) -> None:
        """Close the connections, if they are the log's own."""
        ...


def position_of(fields: Sequence[Any]) -> Position:
    """Return the position that lies in Redis as these fields: `id`, `ordinal` and `source`."""
    last_event_id, ordinal, source = fields
    return Position(text(last_event_id or ""), int(ordinal or 0), text(source or ""))


@dataclass(slots=True, eq=False)
class _Append:
    """One call of the script."""

    keys: list[str]
    arguments: list[str | int]
    size: int
    """Characters."""
    answer: Any = None
    sent: anyio.Event | None = None
    """Set when it is no longer under way."""


class RedisLog:
    """
    Redis Streams, one for each name; the position lies beside the stream in `{name}:position`.

    An entry has the fields `id` (the id in force), `event`, `data` and `ordinal`.  Ordinals rise by one, so a
    consumer sees what a fail-over took back and what came again.

    Args:
        client: A URL, `redis://...`, or a client of redis-py, sync or asyncio, that stays yours to close.
        maxlen: About how many entries of each stream are kept; `None` keeps all.
        retry_for: Seconds for which a server that does not answer is tried again; `None` for no limit.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: *client* is neither.
        ValueError: The URL makes no sense, or a number is out of its range.

    Attributes:
        appended: How many events Redis has accepted.
    """

    def __init__(self, client: Client, *, maxlen: int | None = None, retry_for: float | None = None) -> None:
        check_count("maxlen", maxlen, least=1)
        if maxlen is not None and maxlen >= 2**63:
            raise ValueError(f"maxlen must be less than 2**63, as Redis counts, not {maxlen}")
        self.server: RedisServer = RedisServer(client, retry_for=retry_for, wanted_by="a relay")
        self._maxlen = "" if maxlen is None else str(maxlen)
        self._waiting: deque[_Append] = deque()
        self._turn = anyio.Lock()
        self.appended: int = 0

    async def load(self, name: str) -> Position:
        """Return how far the log *name* goes."""
        return position_of(
            await self.server.ask(
                lambda: self.server.client.hmget(f"{{{name}}}:position", "id", "ordinal", "source")
            )
        )

    async def append(
        self, name: str, events: Sequence[ServerSentEvent], *, behind: Position, lease: str = ""
    ) -> tuple[str, Position]:
        """Append events in one step, see `Log`."""
        keys = [name, f"{{{name}}}:position", f"{{{name}}}:lease"]
        mark = uuid.uuid4().hex
        head = (behind.last_event_id, behind.ordinal, self._maxlen, lease, mark, behind.source, len(events))
        own = _Append(keys, [*head], sum(len(event.data) for event in events))
        for event in events:
            own.arguments += (event.last_event_id or "", event.event, event.data)
        self._waiting.append(own)
        try:
            async with self._turn:
                while own.answer is None:
                    await self._send()
        finally:
            with anyio.CancelScope(shield=True):
                while own.sent is not None:  # cancelled, while another's turn has taken it along
                    await own.sent.wait()
            if own in self._waiting:
                self._waiting.remove(own)
            answer: Any = own.answer
            if answer.__class__ is list and text(answer[0]) == "done":  # if it is cancelled, too
                self.appended += len(events)
        if isinstance(answer, Exception):
            raise answer
        outcome, last_event_id, ordinal = answer
        return text(outcome), Position(text(last_event_id), int(ordinal), behind.source)

    async def _send(self) -> None:
        """Send what waits, of all streams, in one go: a step into a thread costs more than the append."""
        batch: list[_Append] = []
        size = 0
        sent = anyio.Event()
        while self._waiting and size < _PIPELINE_CHARACTERS:
            batch.append(each := self._waiting.popleft())
            each.sent = sent
            size += each.size

        answers: list[Any] = [None] * len(batch)
        try:
            answers = await self.server.run(_APPEND, *((each.keys, each.arguments) for each in batch))
        except self.server.errors as error:
            answers = [error] * len(batch)
        finally:
            for each, answer in zip(batch, answers, strict=True):
                each.sent, each.answer = None, answer
                if answer is None:  # whose turn it was is cancelled; another will send it
                    self._waiting.append(each)
            sent.set()

    async def aclose(self) -> None:
        """Close the connections, if they are the log's own."""
        await self.server.aclose()
