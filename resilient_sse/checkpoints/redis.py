"""Positions in Redis or Valkey: shared by machines, each save one step of a script."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Any

from resilient_sse._client.log import logger
from resilient_sse._core.errors import CheckpointError, moved
from resilient_sse._core.ports import Checkpoint
from resilient_sse.checkpoints.redis_server import Client, RedisServer, text

__all__ = ["RedisCheckpoint"]

# A save whose answer was lost is sent again, also by redis-py itself; it knows what it has written by its mark.
# A server that failed over, or restarted without its last second, has an older version than we know, or none.
_SAVE = """
local found = redis.call('HMGET', KEYS[1], 'id', 'version', 'by')
local id, version = found[1], tonumber(found[2] or 0)
if not found[2] and redis.call('EXISTS', KEYS[1]) == 1 then return 'foreign' end
local known, saved = tonumber(ARGV[2]), tonumber(ARGV[2]) + 1
if found[3] == ARGV[4] then return 'saved' end
if version > known or (version == known and known > 0 and id ~= ARGV[3]) then return 'moved' end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'version', saved, 'by', ARGV[4])
if version < known then return 'rewound' end
return 'saved'
"""


class RedisCheckpoint:
    """
    A store in Redis or Valkey, for consumers on several machines.

    A server that restarts or fails over is waited for.  When it comes back with an older position than the one it
    had accepted, or with none, the stream that knows better writes it anew, and a WARNING says so; a stream that
    starts then begins at the older one, and events come again.  Set `maxmemory-policy` to `noeviction`: a position
    that is evicted is lost.

    Args:
        client: A URL, `redis://...`, or a client of redis-py, sync or asyncio, that stays yours to close.  All but
            the asyncio kind work on trio as well.
        prefix: What the keys begin with.
        retry_for: Seconds for which a server that does not answer is tried again; `None` for no limit.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: *client* is neither.
        ValueError: The URL makes no sense, or a number is out of its range.
    """

    def __init__(
        self, client: Client, *, prefix: str = "resilient_sse:position:", retry_for: float | None = 20.0
    ) -> None:
        self._server = RedisServer(client, retry_for=retry_for, wanted_by="RedisCheckpoint")
        self._prefix = prefix

    async def load(self, key: str) -> Checkpoint | None:
        """
        Return the position saved under *key*, or `None`.

        Raises:
            CheckpointError: The server did not answer, or what it holds is no position.
        """
        name = self._prefix + key
        asked = self._server.ask(lambda: self._server.client.hmget(name, "id", "version"))
        last_event_id, version = await self._told(key, asked)
        if last_event_id is version is None:
            return None
        if last_event_id is None or not text(version).isdecimal():
            raise self._foreign(key)
        return Checkpoint(text(last_event_id), int(version))

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position over *expected*.

        Raises:
            CheckpointError: Another consumer has saved in between, or the server did not answer or refused: it is
                out of memory, say.
        """
        version = 0 if expected is None else expected.version
        known = "" if expected is None else expected.last_event_id

        arguments: list[str | int] = [last_event_id, version, known, uuid.uuid4().hex]
        call = self._server.run(_SAVE, ([self._prefix + key], arguments))
        (answer,) = await self._told(key, call)
        outcome = text(answer)
        if outcome == "moved":
            raise moved(key)
        if outcome == "foreign":
            raise self._foreign(key)
        if outcome == "rewound":
            logger.warning("the position under the key %r had gone back in Redis; it was written anew", key)
        return Checkpoint(last_event_id, version + 1)

    async def aclose(self) -> None:
        """Close the connections, if they are the store's own."""
        await self._server.aclose()

    def __repr__(self) -> str:
        """Show what the keys begin with; a URL may hold a password."""
        return f"<RedisCheckpoint {self._prefix!r}>"

    def _foreign(self, key: str) -> CheckpointError:
        return CheckpointError(
            f"{self._prefix + key!r} in Redis is another program's, and no position: choose another prefix",
            key=key,
        )

    async def _told(self, key: str, answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - what redis-py returns
        try:
            return await answer
        except Exception as exc:
            if not isinstance(exc, (*self._server.errors, RuntimeError)):
                raise
            raise CheckpointError(f"Redis did not take or give the position: {exc}", key=key) from exc
