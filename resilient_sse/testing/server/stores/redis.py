"""Events in Redis or Valkey: they outlive the process, and several servers may share them."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse.checkpoints.redis_server import check_options, redis_py, text
from resilient_sse.testing.checks import shown
from resilient_sse.testing.server.stores.protocol import Announce, StoredEvent, StoreError, check_bounds

if TYPE_CHECKING:
    from redis.asyncio import Redis

_RETRY_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_CONNECTIONS = 32
_WAIT_SECONDS = 30.0

# Number, store and announce in one step.  The message carries the event, so that nobody has to ask for it.
_APPEND = """
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SET', KEYS[2], ARGV[1] - 1) end
local id = redis.call('INCR', KEYS[2])
if ARGV[2] == '' then
    redis.call('XADD', KEYS[1], '1-' .. id, 'e', ARGV[3], 'd', ARGV[4])
else
    redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[2], '1-' .. id, 'e', ARGV[3], 'd', ARGV[4])
end
redis.call('SADD', KEYS[3], ARGV[6])
redis.call('PUBLISH', ARGV[5], id .. ' ' .. ARGV[7])
return id
"""


class RedisStore:
    """
    A store in Redis or Valkey: one Redis stream for each of ours, and a counter beside it.

    Server processes that share it deliver each other's events at once: each listens on a channel.

    Args:
        url: Where it is, `redis://...`, or a client of redis-py's asyncio kind, which stays yours to close.
        first_id: The id of a stream's first event.
        history: How many events of each stream are kept; `None` (the default) keeps all.
        prefix: What all keys begin with.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: A value is of the wrong kind.
        ValueError: A number is out of its range, or the URL makes no sense.
    """

    def __init__(
        self,
        url: str | Redis,
        *,
        first_id: int = 1,
        history: int | None = None,
        prefix: str = "resilient_sse",
    ) -> None:
        check_bounds(first_id, history)
        redis = redis_py("RedisStore")
        _check_url(url, redis.asyncio.Redis)
        self._failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._url = url if isinstance(url, str) else None
        # Its methods are typed for sync and async at once, and say next to nothing.
        self._client: Any = url
        if isinstance(url, str):
            # The usual pool fails when all its connections are busy; this one waits.
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_WAIT_SECONDS,
                socket_connect_timeout=_CONNECT_SECONDS,
            )
            check_options(pool)
            self._client = redis.asyncio.Redis.from_pool(pool)
        self.first_id: int = first_id
        self._history = history
        self._prefix = prefix
        self._channel = f"{prefix}:stored"

    async def append(self, stream: str, event: str | None, data: str) -> StoredEvent:
        """Store an event under the next id of *stream*."""
        StoredEvent(stream, 0, event or None, data)  # raises what is wrong with it before it is stored
        history = "" if self._history is None else str(self._history)
        told = json.dumps([stream, event or "", data])
        keys = [self._events(stream), f"{self._prefix}:{{{stream}}}:id", f"{self._prefix}:streams"]
        arguments = [str(self.first_id), history, event or "", data, self._channel, stream, told]
        number = await self._ask(self._client.eval(_APPEND, len(keys), *keys, *arguments))
        return StoredEvent(stream, int(number), event or None, data)

    async def after(self, stream: str, id: int, limit: int) -> list[StoredEvent]:  # noqa: A002 - the standard's name
        """Return the first *limit* events with a larger id, in order."""
        start = f"1-{max(id + 1, 0)}"
        rows = await self._ask(self._client.xrange(self._events(stream), min=start, count=limit))
        return [_stored(stream, row) for row in rows]

    async def first(self, stream: str) -> int | None:
        """Return the id of the oldest event that is still there, or `None` if there is none."""
        rows = await self._ask(self._client.xrange(self._events(stream), count=1))
        return _number(rows[0]) if rows else None

    async def last(self, stream: str) -> int | None:
        """Return the id of the newest event, or `None` if there is none."""
        rows = await self._ask(self._client.xrevrange(self._events(stream), count=1))
        return _number(rows[0]) if rows else None

    async def clear(self) -> None:
        """Forget all streams of this prefix; numbering begins anew."""
        known = f"{self._prefix}:streams"
        members = await self._ask(self._client.smembers(known))
        keys = [known]
        for member in members:
            stream = text(member)
            keys += [self._events(stream), f"{self._prefix}:{{{stream}}}:id"]
        await self._ask(self._client.delete(*keys))

    async def listen(self, announce: Announce) -> None:
        """Tell *announce* what is stored by any process, until cancelled; connects again as often as needed."""
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._channel)
                    announce(None)
                    async for message in channel.listen():
                        announce(_announced(text(message["data"])))
            except self._failures:
                await anyio.sleep(_RETRY_SECONDS)

    async def aclose(self) -> None:
        """Close the connections, if they are not yours; the next use opens them again."""
        if self._url is not None:
            await self._client.aclose()

    def _events(self, stream: str) -> str:
        return f"{self._prefix}:{{{stream}}}:events"

    async def _ask(self, answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - see the client
        try:
            return await answer
        except self._failures as error:
            raise StoreError(f"Redis: {error}") from error

    def __repr__(self) -> str:
        """Show the prefix; the URL may hold a password."""
        return f"<RedisStore {self._prefix!r}>"


def _check_url(url: object, client: type[Redis]) -> None:
    if not isinstance(url, str | client):
        raise TypeError(f"url must be redis://HOST:PORT/DB or a client of redis.asyncio, not {shown(url)}")


def _number(row: Any) -> int:  # noqa: ANN401 - redis-py does not say
    return int(text(row[0]).partition("-")[2])


def _stored(stream: str, row: Any) -> StoredEvent:  # noqa: ANN401 - redis-py does not say
    fields = {text(name): text(value) for name, value in row[1].items()}
    return StoredEvent(stream, _number(row), fields["e"] or None, fields["d"])


def _announced(message: str) -> StoredEvent:
    number, _, told = message.partition(" ")
    stream, event, data = json.loads(told)
    return StoredEvent(stream, int(number), event or None, data)
