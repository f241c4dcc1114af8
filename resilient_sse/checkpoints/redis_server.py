"""A server of Redis or Valkey, asked again while it restarts or fails over."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio import to_thread
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, stop_never, wait_random_exponential

from resilient_sse._client.backends import in_thread, on_asyncio, outlive
from resilient_sse._client.log import logger
from resilient_sse._core.checks import check_seconds

if TYPE_CHECKING:
    import redis
    import redis.asyncio
    from tenacity import RetryCallState

__all__ = ["Call", "Client", "RedisServer", "check_options", "redis_py", "text"]

Client: TypeAlias = "str | redis.Redis | redis.asyncio.Redis"
"""A URL, `redis://...`, or a client of redis-py, sync or asyncio."""
Call: TypeAlias = "tuple[Sequence[str], Sequence[str | int]]"
"""The keys and the arguments of a script."""

_SECONDS = 5.0

# Said by a server whose replicas are away, or that is held up; and READONLY as Redis 6.2 words it for a script.
_PASSING = re.compile("(?:^|-)(?:NOREPLICAS|BUSY|READONLY|MASTERDOWN) ")


class RedisServer:
    """
    Runs commands by a client of redis-py: in a thread, or in the event loop if the client is for asyncio.

    Args:
        client: A URL, or a client, which stays the caller's to close.
        retry_for: Seconds for which a server that does not answer is tried again; `None` for no limit.
        wanted_by: Who needs redis-py, for the error without it.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: *client* is neither.
        ValueError: The URL makes no sense, or *retry_for* is out of its range.
    """

    def __init__(self, client: Client, *, retry_for: float | None, wanted_by: str) -> None:
        redis = redis_py(wanted_by)
        self._own = isinstance(client, str)
        self.client: Any = client  # typed for sync and async at once, its methods say next to nothing
        if isinstance(client, str):
            self.client = redis.Redis.from_url(
                client, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
            )
            check_options(self.client.connection_pool)
        elif not isinstance(client, redis.Redis | redis.asyncio.Redis):
            raise TypeError(f"client must be a URL or a client of redis-py, not {client!r}")
        self._asyncio = isinstance(self.client, redis.asyncio.Redis)
        self.errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
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
        self._unknown = redis.exceptions.NoScriptError
        self._elsewhere = (redis.exceptions.AskError, redis.exceptions.ClusterCrossSlotError)
        self._refusal = redis.ResponseError
        check_seconds("retry_for", retry_for)
        self._retry_for = retry_for
        self._waiting = False

    async def ask(self, command: Callable[[], Any]) -> Any:  # noqa: ANN401 - what redis-py returns
        """
        Run a command until the server has answered it.

        Args:
            command: Calls the client; again, if the answer was lost, so that it must be harmless to repeat.

        Raises:
            RuntimeError: A client for asyncio is used on trio.
            Exception: One of `errors`: the server did not answer in time, or refused.
        """
        if self._asyncio and not on_asyncio():
            raise RuntimeError("redis.asyncio runs on asyncio only: give a URL, or a redis.Redis")
        limit = stop_never if self._retry_for is None else stop_after_delay(self._retry_for)
        attempts = AsyncRetrying(
            retry=retry_if_exception(self._passes),
            stop=limit,
            wait=wait_random_exponential(0.05, max=1.0),
            sleep=anyio.sleep,
            before_sleep=self._say,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    answer = await self._asked(command)
                    self._check(answer)
                    self._waiting = False
                    return answer
        except self._elsewhere as error:
            raise self._refusal(
                "this Redis is a node of a cluster, and keys lie on another; give one Redis that is no cluster: "
                f"{type(error).__name__} {error}"
            ) from error
        raise AssertionError("an attempt returns or raises")

    async def run(self, script: str, *calls: Call) -> list[Any]:
        """
        Run a script in Lua, once for each call, in one go; it must be harmless to repeat, as for `ask`.

        It is sent by its digest, and in full to a server that does not know it: one that has restarted, or a proxy
        that keeps none.

        Args:
            script: Its text.
            calls: The keys and the arguments of each call.

        Returns:
            The answer to each call; of several, an error may be one.

        Raises:
            Exception: As `ask` does.
        """

        def send(command: str, name: str) -> Any:  # noqa: ANN401 - sync or async
            if len(calls) == 1:
                ((keys, arguments),) = calls
                return self.client.execute_command(command, name, len(keys), *keys, *arguments)
            pipeline = self.client.pipeline(transaction=False)
            for keys, arguments in calls:
                pipeline.execute_command(command, name, len(keys), *keys, *arguments)
            return pipeline.execute(raise_on_error=False)

        try:
            answer = await self.ask(lambda: send("EVALSHA", _digest(script)))
        except self._unknown:
            answer = await self.ask(lambda: send("EVAL", script))
        return [answer] if len(calls) == 1 else answer

    async def _asked(self, command: Callable[[], Any]) -> Any:  # noqa: ANN401
        if not self._asyncio:
            return await in_thread(command)

        async def ask() -> Any:  # noqa: ANN401
            answer = command()
            return await answer if inspect.isawaitable(answer) else answer

        return await outlive(ask)  # as in a thread: what was sent may be done

    def _check(self, answer: Any) -> None:  # noqa: ANN401
        """Raise what is about the server and not about one call, if it is among the answers to a pipeline."""
        for each in answer if answer.__class__ is list else ():
            if isinstance(each, Exception) and (
                self._passes(each) or isinstance(each, (self._unknown, *self._elsewhere))
            ):
                raise each

    async def aclose(self) -> None:
        """Close the connections, if they are our own."""
        if self._own:
            await to_thread.run_sync(self.client.close)

    def _passes(self, error: BaseException) -> bool:
        if isinstance(error, self._refusal) and _PASSING.search(str(error)):
            return True
        return isinstance(error, self._passing) and not isinstance(error, self._lasting)

    def _say(self, state: RetryCallState) -> None:
        if not self._waiting:
            self._waiting = True
            error = None if state.outcome is None else state.outcome.exception()
            logger.warning("Redis does not answer and is tried again: %s", error)


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def redis_py(wanted_by: str) -> Any:  # noqa: ANN401 - typed for sync and async at once, it says next to nothing
    """
    Import redis-py, which those only need who use Redis.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        redis = import_module("redis")
        for name in ("redis.asyncio", "redis.exceptions"):
            import_module(name)
    except ModuleNotFoundError as error:
        text = f"{wanted_by} needs redis: pip install 'resilient-sse[redis]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    return redis


def check_options(pool: Any) -> None:  # noqa: ANN401 - sync or async
    """
    Check the options in the URL of a pool, which redis-py does when it connects.

    Raises:
        ValueError: One is not known.
    """
    try:
        pool.connection_class(**pool.connection_kwargs)  # which connects to nothing
    except TypeError as error:
        raise ValueError(f"the URL of Redis has an option that is not known: {error}") from error


def text(value: Any) -> str:  # noqa: ANN401 - bytes, or text from a client that decodes
    """Return what Redis holds as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
