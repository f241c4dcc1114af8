"""Positions in Redis or Valkey: shared by machines, each save one step of a script."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from resilient_sse._client.backends import on_asyncio
from resilient_sse._client.log import logger
from resilient_sse._core.checks import check_seconds
from resilient_sse._core.errors import CheckpointError
from resilient_sse._core.ports import Checkpoint
from resilient_sse.checkpoints.moved import moved

if TYPE_CHECKING:
    import redis
    import redis.asyncio

__all__ = ["RedisCheckpoint"]

# A save whose answer was lost is sent again: what it finds then is what it has written itself.
# A server that failed over, or restarted without its last second, has an older version than we know, or none.
_SAVE = """
local found = redis.call('HMGET', KEYS[1], 'id', 'version')
local id, version = found[1], tonumber(found[2] or 0)
local known, saved = tonumber(ARGV[2]), tonumber(ARGV[2]) + 1
if version == saved and id == ARGV[1] and ARGV[4] == 'again' then return 'saved' end
if version > known or (version == known and known > 0 and id ~= ARGV[3]) then return 'moved' end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'version', saved)
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
        retry_for: Seconds for which a server that does not answer is tried again.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: *client* is neither.
        ValueError: The URL makes no sense, or a number is out of its range.
    """

    def __init__(
        self,
        client: str | redis.Redis | redis.asyncio.Redis,
        *,
        prefix: str = "resilient_sse:position:",
        retry_for: float = 20.0,
    ) -> None:
        try:
            import redis  # noqa: PLC0415 - wanted by those only who use this store
            import redis.asyncio  # noqa: PLC0415
            import redis.exceptions  # noqa: PLC0415
        except ModuleNotFoundError as error:
            text = "RedisCheckpoint needs redis: pip install 'resilient-sse[redis]'"
            raise ModuleNotFoundError(text, name=error.name) from error
        self._url = client if isinstance(client, str) else None
        self._client: Any = client  # typed for sync and async at once, its methods say next to nothing
        if isinstance(client, str):
            self._client = redis.Redis.from_url(client, socket_timeout=5.0, socket_connect_timeout=5.0)
        elif not isinstance(client, redis.Redis | redis.asyncio.Redis):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"client must be a URL or a client of redis-py, not {client!r}")
        self._asyncio = isinstance(self._client, redis.asyncio.Redis)
        self._failures = (redis.RedisError, OSError)
        # What a server says that restarts or fails over, next to what is said by one that is not there.
        self._passing = (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.MasterDownError,
            OSError,
        )
        self._lasting = redis.AuthenticationError
        self._prefix = prefix
        check_seconds("retry_for", retry_for, optional=False)
        self._retry_for = retry_for
        self._save = self._client.register_script(_SAVE)

    async def load(self, key: str) -> Checkpoint | None:
        """
        Return the position saved under *key*, or `None`.

        Raises:
            CheckpointError: The server did not answer, or what it holds is no position.
        """
        last_event_id, version = await self._ask(
            key, lambda _again: self._client.hmget(self._prefix + key, "id", "version")
        )
        if version is None:
            return None
        return Checkpoint(_text(last_event_id), int(version))

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        """
        Save a position over *expected*.

        Raises:
            CheckpointError: Another consumer has saved in between, or the server did not answer or refused: it is
                out of memory, say.
        """
        version = 0 if expected is None else expected.version
        known = "" if expected is None else expected.last_event_id

        def save(again: str) -> Any:  # noqa: ANN401 - sync or async
            return self._save(keys=[self._prefix + key], args=[last_event_id, version, known, again])

        outcome = _text(await self._ask(key, save))
        if outcome == "moved":
            raise moved(key)
        if outcome == "rewound":
            logger.warning("the position under the key %r had gone back in Redis; it was written anew", key)
        return Checkpoint(last_event_id, version + 1)

    async def aclose(self) -> None:
        """Close the connections, if they are the store's own."""
        if self._url is not None:
            await to_thread.run_sync(self._client.close)

    def __repr__(self) -> str:
        """Show what the keys begin with; a URL may hold a password."""
        return f"<RedisCheckpoint {self._prefix!r}>"

    async def _ask(self, key: str, command: Callable[[str], Any]) -> Any:  # noqa: ANN401 - what redis-py returns
        if self._asyncio and not on_asyncio():
            raise CheckpointError(
                "redis.asyncio runs on asyncio only: give RedisCheckpoint a URL, or a redis.Redis", key=key
            )
        attempts = AsyncRetrying(
            retry=retry_if_exception(self._passes),
            stop=stop_after_delay(self._retry_for),
            wait=wait_random_exponential(0.05, max=1.0),
            sleep=anyio.sleep,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                again = "again" if attempt.retry_state.attempt_number > 1 else ""
                with attempt:
                    if not self._asyncio:
                        return await to_thread.run_sync(functools.partial(command, again))
                    answer = command(again)
                    return await answer if inspect.isawaitable(answer) else answer
        except self._failures as exc:
            raise CheckpointError(f"Redis did not take or give the position: {exc}", key=key) from exc
        raise AssertionError("an attempt returns or raises")

    def _passes(self, error: BaseException) -> bool:
        return isinstance(error, self._passing) and not isinstance(error, self._lasting)


def _text(value: Any) -> str:  # noqa: ANN401 - bytes, or text from a client that decodes
    return value.decode() if isinstance(value, bytes) else str(value)
