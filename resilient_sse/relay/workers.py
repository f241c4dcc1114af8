"""
Many streams, shared by many workers.

A worker holds one lease, its own: a key in Redis that runs out unless the worker renews it.  With it stand or fall
the streams it owns.  So the traffic grows with the workers, not with the streams.  One script does all of a
renewal: it registers the worker, gathers the streams of workers whose lease ran out, gives up what is above the
worker's share and claims what is missing.  There is no leader.

A stream's fencing token, owner and epoch, lies in `{name}:lease`; every append compares it for equality.  A
counter would not do: a fail-over takes it back.  The worker's clock and the server's are never compared.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse._client.log import logger
from resilient_sse._core.backoff import Backoff
from resilient_sse._core.checks import check, check_callable, check_count, check_seconds
from resilient_sse.checkpoints.redis_server import Client, RedisServer, text
from resilient_sse.relay.log import RedisLog, position_of
from resilient_sse.relay.relay import BATCH, Relay, RelayError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from resilient_sse._client.stream import ResilientStream

__all__ = ["Worker", "WorkerStats"]

SHORTEST_LEASE = 1.0
"""Seconds.  A third of it must be more than what an event loop and Redis are late at times."""

LONGEST_LEASE = 86_400.0

_CLAIMS = 1000
_WAKE_SECONDS = 4.0  # less than the timeout of a socket
_RETRY = Backoff(initial=1.0, maximum=60.0)

# Tells the names of all streams; those that nobody has told before are free.
_NAMES = """
for n = 2, #ARGV do
    redis.call('SADD', KEYS[1] .. ':names:' .. ARGV[1], ARGV[n])
    if redis.call('HSETNX', KEYS[1] .. ':epochs', ARGV[n], 0) == 1 then
        redis.call('SADD', KEYS[1] .. ':free', ARGV[n])
    end
end
"""

# A worker renews (the last argument is how many streams it may claim) or leaves (it is below 0).
_RENEW = """
local group, me, lease, claims = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local function key(kind, id) return group .. ':' .. kind .. ':' .. id end
local workers, free, mine, names = group .. ':workers', group .. ':free', key('owned', me), key('names', ARGV[3])
local leaving, joined, mixed = claims < 0, false, false
-- A full memory refuses nothing behind a first write that was allowed, so leases go on, and nothing is half done.
redis.call('DEL', key('wake', me))
if leaving then
    redis.call('SREM', workers, me)
    redis.call('DEL', key('alive', me))
else
    if redis.call('PEXPIRE', names, 10 * lease) == 0 then return {'names'} end
    redis.call('SET', key('alive', me), ARGV[3], 'PX', lease)
    joined = redis.call('SADD', workers, me) == 1
end

local given = 0
local function give(id, some)
    for _, name in ipairs(some) do
        redis.call('HDEL', key('owned', id), name)
        redis.call('SADD', free, name)
        redis.call('DEL', '{' .. name .. '}:lease')
        given = given + 1
    end
end
local positions = {}
local others, living, soonest = {}, leaving and 0 or 1, lease
for _, id in ipairs(redis.call('SMEMBERS', workers)) do
    local left = id ~= me and redis.call('PTTL', key('alive', id))
    if left and left > 0 then
        others[id] = redis.call('HLEN', key('owned', id))
        living, soonest = living + 1, math.min(soonest, left)
        mixed = mixed or redis.call('GET', key('alive', id)) ~= ARGV[3]
    elseif left then
        give(id, redis.call('HKEYS', key('owned', id)))
        redis.call('SREM', workers, id)
    end
end

-- Everybody has the low share, and as few as possible the high one.  Beside workers with other streams that could
-- leave some to nobody: what is owned stays where it is, and what is free is taken by and by.
local total = redis.call('SCARD', names)
local low, high = math.floor(total / math.max(living, 1)), math.ceil(total / math.max(living, 1))
local lacking = 0
for _, count in pairs(others) do lacking = lacking + math.max(0, low - count) end
local found = redis.call('SCARD', free) > 0 and redis.call('SINTER', free, names) or {}
local have, want = redis.call('HLEN', mine), 0
local surplus = leaving and have or mixed and 0 or math.max(0, have - high)
if not (leaving or mixed) and have - surplus > low and lacking > #found + surplus then surplus = surplus + 1 end
if surplus > 0 then
    give(me, redis.call('HRANDFIELD', mine, surplus))
elseif not leaving then
    want = math.max(0, math.min(low - have, #found))
    want = want + math.max(0, math.min(high - math.max(have, low), #found - want - lacking))
    if mixed then want = want + math.ceil((#found - want) / living) end
    for n = 1, math.min(want, claims) do
        local token = me .. ':' .. redis.call('HINCRBY', group .. ':epochs', found[n], 1)
        redis.call('SREM', free, found[n])
        redis.call('HSET', mine, found[n], token)
        redis.call('SET', '{' .. found[n] .. '}:lease', token)
        -- A key of another type is an error of its log, told by the append, and not of them all.
        local at = redis.pcall('HMGET', '{' .. found[n] .. '}:position', 'id', 'ordinal', 'source')
        for _, part in ipairs({found[n], at[1] or '', at[2] or 0, at[3] or ''}) do
            table.insert(positions, part)
        end
    end
end

for id, count in pairs(others) do
    local wanted = given > 0 and (mixed or count < high) or joined and count > low
    if wanted and redis.call('EXISTS', key('wake', id)) == 0 then
        redis.call('LPUSH', key('wake', id), 1)
        redis.call('PEXPIRE', key('wake', id), lease)
    end
end
local more = (want > claims or mixed and want < #found) and 1 or 0
return {'held', soonest, more, redis.call('HGETALL', mine), positions}
"""


# Wakes a worker from its wait; the key runs out, for it may be there no longer.
_WAKE = """
local key = KEYS[1] .. ':wake:' .. ARGV[1]
redis.call('LPUSH', key, 1)
redis.call('PEXPIRE', key, 10000)
"""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """
    What a worker does, and has done since it was made.

    Attributes:
        owned: The names of its streams, sorted.
        failing: Streams that cannot be read or appended now, and why.
        taken: How many streams it took over.
        given: How many it handed over, or lost.
        appended: How many events it has appended.
        late: How many renewals came more than half a lease behind the one before.
        paused: How often it stopped reading, because two thirds of the lease had gone without a renewal.
    """

    owned: tuple[str, ...]
    failing: Mapping[str, str]
    taken: int
    given: int
    appended: int
    late: int
    paused: int


@dataclass(slots=True)
class _Copy:
    """One stream being copied."""

    token: str
    relay: Relay
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    error: str = ""
    failed_at: int = -1


class Worker:
    """
    Copies its share of many streams into Redis Streams, one copy of each event, whoever stops or dies when.

    Every worker of a group is given the same streams.  Each owns at most `ceil(streams / workers)` of them; when
    one joins or leaves, no more than that move.

    Args:
        streams: For each name of a log, what opens its stream behind an id, see `Relay`.
        client: The one Redis, with replicas if you like, but no cluster: a URL, or a client of redis-py.
        group: The name the workers have in common, and the prefix of their keys.
        lease: Seconds within which a worker must renew, or others take its streams.
        batch: The most events appended in one step.
        maxlen: About how many entries of each log are kept; `None` keeps all.
        check_source: Whether a log that was copied from elsewhere is refused, see `Relay`.

    Raises:
        ModuleNotFoundError: redis-py is not installed.
        TypeError: A value is of another type.
        ValueError: A value is out of its range, or a name is empty or one of the workers' own keys.
    """

    def __init__(
        self,
        streams: Mapping[str, Callable[[str | None], ResilientStream]],
        client: Client,
        *,
        group: str = "relay",
        lease: float = 15.0,
        batch: int = BATCH,
        maxlen: int | None = None,
        check_source: bool = True,
    ) -> None:
        check_seconds("lease", lease, optional=False)
        check_count("batch", batch, least=1, optional=False)
        check("check_source", check_source, bool, "True or False")
        if lease < SHORTEST_LEASE:
            raise ValueError(
                f"lease must be {SHORTEST_LEASE:g} s or more, not {lease!r}: a third of it must outlast the"
                " delays of the event loop and of Redis"
            )
        if lease > LONGEST_LEASE:
            raise ValueError(f"lease must be {LONGEST_LEASE:g} s, a day, or less, not {lease!r}")
        if not isinstance(group, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"group must be a string, not {group!r}")
        if not group:
            raise ValueError("group must not be empty: it is the prefix of the workers' keys")
        if not streams:
            raise ValueError("streams must not be empty")
        for name, open_stream in streams.items():
            check_callable(f"streams[{name!r}]", open_stream)
            if not name or name.startswith(f"{group}:"):
                raise ValueError(f"streams: {name!r} cannot be the name of a log of the group {group!r}")
        self._streams = dict(streams)
        self._names = sorted(streams)
        self._digest = hashlib.sha256("\0".join(self._names).encode()).hexdigest()[:16]
        self._log = RedisLog(client, maxlen=maxlen)
        self._server = RedisServer(client, retry_for=0.0, wanted_by="a worker")
        self._group = group
        self._lease = float(lease)
        self._options: dict[str, Any] = {"batch": batch, "check_source": check_source}
        self.id: str = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._copies: dict[str, _Copy] = {}
        self._latest: dict[str, _Copy] = {}
        self._deadline = 0.0
        self._stopped = anyio.Event()
        self._begun = False
        self._taken = self._given = self._late = self._paused = 0

    @property
    def ready(self) -> bool:
        """Whether its lease was renewed in time: it reads what it owns."""
        return time.monotonic() < self._deadline

    @property
    def relays(self) -> Mapping[str, Relay]:
        """The relays of the streams that it owns, for their positions and the figures of their streams."""
        return {name: copy.relay for name, copy in self._copies.items()}

    @property
    def stats(self) -> WorkerStats:
        """Return what it does, and has done."""
        failing = {
            name: copy.error for name, copy in self._copies.items() if copy.failed_at == copy.relay.appended
        }
        done = (self._taken, self._given, self._log.appended, self._late, self._paused)
        return WorkerStats(tuple(sorted(self._copies)), failing, *done)

    def stop(self) -> None:
        """Have `run` hand its streams over and return; for good, and from the event loop only."""
        self._stopped.set()

    async def run(self) -> None:
        """
        Copy what falls to this worker, until it is stopped or cancelled; then others have it at once.

        Raises:
            RelayError: Redis does not answer, or refuses, at the start.  Later it is waited for, without limit.
            RuntimeError: It has run before.
        """
        if self._begun:
            raise RuntimeError("a worker runs once; make another")
        self._begun = True
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    with anyio.CancelScope() as renewing:
                        tasks.start_soon(self._end_with, renewing)
                        tasks.start_soon(self._watch)
                        await self._keep(tasks)
                except Exception as exc:  # noqa: BLE001 - out of the group as it is, not in a group of its own
                    failure = exc
                finally:
                    # Before the streams are closed: others need not wait for that.
                    with anyio.CancelScope(shield=True):
                        if failure is None:
                            await self._leave()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._log.aclose()
                await self._server.aclose()
        if isinstance(failure, self._server.errors):
            raise RelayError(f"Redis cannot keep the leases of {self._group!r}: {failure}") from failure
        if failure is not None:
            raise failure
        logger.info("the worker %s has ended: %d events appended", self.id, self._log.appended)

    async def _end_with(self, scope: anyio.CancelScope) -> None:
        """Cancel all when it is told to stop; and whatever ended it, a wait in Redis, in a thread, ends too."""
        try:
            await self._stopped.wait()
        finally:
            scope.cancel()
            if self._deadline:
                with anyio.CancelScope(shield=True), suppress(*self._server.errors):
                    await self._run(_WAKE, self.id)

    async def _keep(self, tasks: TaskGroup) -> None:
        """Renew at a third of the lease, or as soon as there is something to take or to give."""
        sent = 0.0
        waiting = False
        while True:
            before, sent = sent, time.monotonic()
            try:
                answer = await self._renew(_CLAIMS)
            except self._server.errors as error:
                if not self._deadline:
                    raise
                if not waiting:
                    logger.warning("the lease of the worker %s cannot be renewed now: %s", self.id, error)
                waiting, sent = True, before
                await anyio.sleep(self._lease / 30)
                continue
            if before and sent - before > self._lease / 2:
                self._late += 1
                if not waiting:
                    logger.warning(
                        "a renewal came %.1f s behind the one before: the lease of %g s is short for this machine",
                        sent - before,
                        self._lease,
                    )
            waiting = False
            soonest, more, owned, positions = answer
            self._deadline = sent + self._lease * 2 / 3
            self._settle(tasks, owned, positions)
            # Who dies is missed at once; a renewal in time lies a third behind the last, two before the end.
            await self._wait(sent + min(self._lease / 3, soonest + 0.01, 1.0 if more else self._lease))

    async def _renew(self, claims: int) -> tuple[float, bool, dict[str, str], dict[str, list[Any]]]:
        """
        Renew.

        Returns:
            When another's lease ends, whether there is more to claim, what is owned, with its tokens, and what
            tells how far the logs go that were claimed now.
        """
        lease = round(self._lease * 1000)
        while True:
            status, *rest = await self._run(_RENEW, self.id, lease, self._digest, claims)
            if text(status) == "held":
                soonest, more, owned, positions = rest
                parts: Iterator[str] = map(text, owned)
                behind = {text(positions[n]): positions[n + 1 : n + 4] for n in range(0, len(positions), 4)}
                return soonest / 1000, bool(more), dict(zip(parts, parts, strict=True)), behind
            await self._run(_NAMES, self._digest, *self._names)

    async def _run(self, script: str, *arguments: str | int) -> Any:  # noqa: ANN401 - what redis-py returns
        (answer,) = await self._server.run(script, ([self._group], arguments))
        return answer

    async def _wait(self, until: float) -> None:
        """Wait until it is time to renew, or until another worker has something to give or wants something."""

        def pop() -> Any:  # noqa: ANN401 - sync or async
            seconds = max(0.01, min(until - time.monotonic(), _WAKE_SECONDS))
            return self._server.client.blpop([f"{self._group}:wake:{self.id}"], timeout=seconds)

        while time.monotonic() < until:
            try:
                if await self._server.ask(pop):
                    return
            except self._server.errors:
                await anyio.sleep(self._lease / 30)
                return

    async def _leave(self) -> None:
        """Hand over what it owns."""
        self._given += len(self._copies)
        self._copies.clear()
        self._deadline = 0.0
        try:
            await self._renew(-1)
        except self._server.errors as error:
            logger.warning(
                "the streams of the worker %s are free only when its lease ends: %s", self.id, error
            )

    async def _watch(self) -> None:
        """Stop reading when two thirds of the lease have gone: before others can have the streams."""
        while True:
            await anyio.sleep(max(self._deadline - time.monotonic(), self._lease / 30))
            if self._copies and not self.ready:
                self._paused += 1
                logger.warning("the worker %s stops reading: its lease could not be renewed", self.id)
                for copy in self._copies.values():
                    copy.scope.cancel()
                self._copies.clear()

    def _settle(self, tasks: TaskGroup, owned: Mapping[str, str], positions: Mapping[str, list[Any]]) -> None:
        """Stop what is no longer owned, and start what is owned now."""
        for name, copy in list(self._copies.items()):
            if owned.get(name) != copy.token:
                copy.scope.cancel()
                del self._copies[name]
                self._given += 1
        for name, token in owned.items():
            if name not in self._copies:
                self._taken += 1
                relay = Relay(self._streams[name], self._log, name, **self._options)
                copy = self._copies[name] = _Copy(token, relay)
                tasks.start_soon(self._copy, name, copy, positions.get(name), self._latest.get(name))
                self._latest[name] = copy

    async def _copy(self, name: str, copy: _Copy, found: list[Any] | None, before: _Copy | None) -> None:
        """Copy one stream, again after an error, until it ends."""
        try:
            with copy.scope:
                if before is not None:  # its last append may still be under way
                    await before.done.wait()
                failures = 0
                while True:
                    appended = copy.relay.appended
                    try:
                        behind = None if found is None else position_of(found)
                        await copy.relay.run(lease=copy.token, behind=behind)
                    except Exception as error:  # noqa: BLE001 - one stream's failure is not the others'
                        found = None
                        failures = 1 if copy.relay.appended > appended else failures + 1
                        copy.error, copy.failed_at = str(error), copy.relay.appended
                        # A hand-over may end like that, once.
                        is_handed = isinstance(error, RelayError) and failures == 1
                        level = logging.INFO if is_handed else logging.WARNING
                        if self.ready:
                            logger.log(level, "the stream %r is tried again: %s", name, error)
                    else:
                        logger.info("the stream %r has ended", name)
                        return
                    await anyio.sleep(random.uniform(*_RETRY.band(failures)))  # noqa: S311 - jitter, no secret
        finally:
            copy.done.set()
